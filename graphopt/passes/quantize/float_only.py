"""Built-in operators without an integer form, with the reason that users read."""

from __future__ import annotations

from graphopt import ops
from graphopt.passes.quantize.form import INTEGER_RULES

INTEGER_RULES.unsupported(
    "it gives positions or truths, which follow from an order of reals",
    *(ops.ArgMax, ops.ArgMin, ops.TopKIndices),
    *(ops.Equal, ops.Less, ops.LessOrEqual, ops.Greater, ops.GreaterOrEqual),
)
INTEGER_RULES.unsupported("no integer stands for infinity or NaN", ops.IsInf, ops.IsNan)
INTEGER_RULES.unsupported(
    "it picks by positions that are computed, and shares no scale with what it picks from",
    *(ops.GatherElements, ops.GatherNd, ops.ScatterElements, ops.ScatterNd),
)
INTEGER_RULES.unsupported(
    "it is half of a layer, of which only the whole has an integer form",
    *(ops.LstmSequence, ops.GruSequence, ops.RnnSequence),
)
INTEGER_RULES.unsupported("products of many factors have no common scale", ops.CumProd, ops.ReduceProd)
INTEGER_RULES.unsupported("its sums grow along the axis and need more range than its operand", ops.CumSum)
INTEGER_RULES.unsupported("the rest of a division does not carry over to another scale", ops.Mod)
INTEGER_RULES.unsupported("it gives values and their positions at once", ops.TopK)

# operators that compute nothing on reals, or are replaced before the rules see them
INTEGER_RULES.unsupported(
    "it computes with integers already",
    *(ops.ConvInteger, ops.ConvTransposeInteger, ops.LinearInteger, ops.MatMulInteger, ops.SumPool),
    *(ops.IntegerSqrt, ops.MulInteger, ops.WeightedSum, ops.Requantize, ops.Lookup, ops.ChannelLookup, ops.FlipSign),
    *(ops.LstmSequenceInteger, ops.GruSequenceInteger, ops.RnnSequenceInteger),
)
INTEGER_RULES.unsupported("it computes with signs already", ops.Binarize, ops.PackSigns, ops.ConvXnor)
INTEGER_RULES.unsupported(
    "it computes with truths or bits, not with reals",
    *(ops.And, ops.Or, ops.Xor, ops.Not, ops.BitwiseAnd, ops.BitwiseOr, ops.BitwiseXor, ops.BitwiseNot),
    *(ops.ShiftLeft, ops.ShiftRight),
)
INTEGER_RULES.unsupported("it goes between reals and integers", ops.Quantize, ops.Dequantize)
INTEGER_RULES.unsupported("it goes from one dtype to another, which have no scale", ops.Cast)
INTEGER_RULES.unsupported("its weights are compressed already: quantize first", ops.Decompress)
INTEGER_RULES.unsupported("it is fused already: quantize first", ops.Fused)
INTEGER_RULES.unsupported("only splits of float32 become slices, which have an integer form", ops.Split)
