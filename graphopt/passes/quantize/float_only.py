"""Built-in operators without an integer form, with the reason that users read."""

from __future__ import annotations

from graphopt import ops
from graphopt.ir import Constant, Input, Op

ORDER = "it gives positions or truths, which follow from an order of reals"
PICK = "it picks by positions that are computed, and shares no scale with what it picks from"
STATE = "it is half of a layer, of which only the whole has an integer form"

FLOAT_ONLY: dict[type[Op], str] = {
    **dict.fromkeys((ops.ArgMax, ops.ArgMin, ops.TopKIndices), ORDER),
    **dict.fromkeys((ops.Equal, ops.Less, ops.LessOrEqual, ops.Greater, ops.GreaterOrEqual), ORDER),
    **dict.fromkeys((ops.IsInf, ops.IsNan), "no integer stands for infinity or NaN"),
    **dict.fromkeys((ops.GatherElements, ops.GatherNd, ops.ScatterElements, ops.ScatterNd), PICK),
    **dict.fromkeys((ops.LstmSequence, ops.GruSequence, ops.RnnSequence), STATE),
    ops.CumProd: "products of many factors have no common scale",
    ops.ReduceProd: "products of many factors have no common scale",
    ops.CumSum: "its sums grow along the axis and need more range than its operand",
    ops.Mod: "the rest of a division does not carry over to another scale",
    ops.TopK: "it gives values and their positions at once",
}
"""From an operator to why it stays float."""

STRUCTURAL: frozenset[type[Op]] = frozenset(
    {
        *(Input, Constant, ops.Cast, ops.Fused, ops.Quantize, ops.Dequantize, ops.Requantize, ops.Lookup),
        *(ops.ConvInteger, ops.ConvTransposeInteger, ops.LinearInteger, ops.MatMulInteger, ops.SumPool),
        *(ops.Binarize, ops.PackSigns, ops.ConvXnor),
        *(ops.IntegerSqrt, ops.MulInteger, ops.WeightedSum, ops.Decompress),
        *(ops.LstmSequenceInteger, ops.GruSequenceInteger, ops.RnnSequenceInteger),
        *(ops.And, ops.Or, ops.Xor, ops.Not, ops.BitwiseAnd, ops.BitwiseOr, ops.BitwiseXor, ops.BitwiseNot),
        *(ops.ShiftLeft, ops.ShiftRight),
        ops.Split,
    }
)
"""Operators that compute nothing with reals, or become others before the rules meet them (``Split``)."""
