"""Recurrent layers: the products of all inputs at once, to gates in Q3.12, then a sequence with an int16 state."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Array, Node, Value, arg, constant
from graphopt.ops import (
    GRU,
    LSTM,
    RNN,
    GruSequenceInteger,
    IntegerSequence,
    Linear,
    LinearInteger,
    LstmSequenceInteger,
    Recurrent,
    Reshape,
    RnnSequenceInteger,
    overflowing,
    sigmoid_table,
    tanh_table,
)
from graphopt.ops.integer_recurrent import COPY_BITS, GATE_BITS, STATE_BITS
from graphopt.ops.recurrent import pick
from graphopt.passes.quantize.form import (
    Operand,
    Quantized,
    Wanted,
    fixed_points,
    integer_rule,
    quantized,
    reals_of,
    rescaled,
)
from graphopt.passes.quantize.rules.products import product
from graphopt.rewrite import Decline

CELL_REACH = 16.0
"""tanh of anything larger is 1 in every format; beyond it, cells only take longer to return."""


def fixed(bits: int) -> Wanted:
    """The form int16 with ``bits`` bits of fraction."""
    return Wanted(2.0**-bits, 0, "int16", -(1 << 15), (1 << 15) - 1)


@integer_rule(
    LSTM,
    GRU,
    RNN,
    weights=(
        (1, 1),
        (2, 1),
    ),
    states=(4, 1),
)
def recurrent(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """One result of the layer, requantized from its sequences; ``IntegerSequence`` defines their arithmetic."""
    op = node.op
    assert isinstance(op, Recurrent)
    x, w, r, bias = quantized(operands[0], "its input"), *operands[1:3], reals_of(operands[3])
    if not (isinstance(w, Quantized) and isinstance(r, Quantized)) or w.array is None or r.array is None:
        raise Decline("its weights are not constant")
    if r.zero_point or r.dtype != "int8" or bias is None:
        raise Decline("its recurrent weights are not symmetric integers, or its bias is not constant")
    formats = [fixed(STATE_BITS), fixed(cell_bits(operands[5:]))]
    states = [rescaled(within(s, f), f, node) for s, f in zip(operands[4:], formats, strict=False)]
    steps, n, size = node.inputs[0].type.shape
    assert isinstance(steps, int)
    flat = Quantized(Reshape(shape=(steps * n, size))(x.value), x.scale, x.zero_point)
    sequences = []
    for d, backward in enumerate(op.reversed):
        name = f"{node.name or op.name}.{'backward' if backward else 'forward'}"
        early, late = op.biases(constant(bias[d].astype("float32")))
        weight = Quantized(constant(w.array[d], f"{name}.w"), w.scale, w.zero_point, 0)
        gates = product(
            linear_node(weight, early, flat, name), LinearInteger, (flat, weight, early), fixed(GATE_BITS), 1
        )
        parts = Reshape(shape=(steps, n, gates.type.shape[1]))(gates), constant(r.array[d], f"{name}.r")
        initial = [pick(s, d) for s in states]
        sequence = sequence_of(op, backward, cell_bits(operands[5:]))
        biases = [b for v in late if (b := v.constant) is not None]
        extra = scaled_operands(sequence, r.array[d], r.scale, biases, name)
        sequences.append(sequence(*parts, *extra, *initial, name=name, origins=node.origins))
    result = op.assembled(sequences, steps)[wanted.result]
    form = formats[wanted.result == 2]
    return rescaled(Quantized(result, np.asarray(form.scale), 0), wanted, node)


def sequence_of(op: Recurrent, reverse: bool, cell: int) -> IntegerSequence:
    """The sequence that computes a layer of this kind; declines if there is none."""
    match op:
        case LSTM():
            return LstmSequenceInteger(reverse=reverse, cell=cell)
        case GRU():
            return GruSequenceInteger(reverse=reverse, linear_before_reset=op.linear_before_reset)
        case RNN(activation="tanh"):
            return RnnSequenceInteger(reverse=reverse)
    raise Decline("the state of an RNN with relu has no bounds")


def reach(state: Operand) -> float:
    """The largest possible magnitude of an initial state, from its values or its integers."""
    reals = reals_of(state)
    if reals is None:
        s = quantized(state, "an initial state")
        limits = np.iinfo(s.dtype)
        reals = (np.array([limits.min, limits.max], np.float64) - s.zero_point) * s.scale
    return float(np.abs(reals).max(initial=0.0))


def within(state: Operand, form: Wanted) -> Operand:
    """An initial state limited to what the integers of the state can hold; 1 loses one step."""
    limit = -form.low * form.scale
    if reach(state) > 1.01 * limit:
        raise Decline(f"an initial state goes beyond {limit:g}")
    return state


def cell_bits(cells: tuple[Operand, ...]) -> int:
    """The bits of fraction of a cell state, whose range goes to 16, or to the reach of an initial one if larger."""
    most = max([CELL_REACH, *(reach(c) for c in cells)])
    bits = STATE_BITS - math.ceil(math.log2(most))
    if bits < 0:
        raise Decline(f"an initial cell state of up to {most:.3g} is too large")
    return bits


def linear_node(weight: Quantized, bias: Value, flat: Quantized, name: str) -> Node:
    """The float operator whose integer form is the product of inputs and weights."""
    float_x = arg("x", "float32", flat.value.type.shape)
    return Linear().apply(float_x, constant(weight.reals.astype("float32")), bias, name=f"{name}.gates")


def scaled_operands(op: IntegerSequence, r: Array, scale: Array, late: list[Array], name: str) -> list[Value]:
    """Multiplier, shift, tables and bias of a sequence, from the weights and float biases of one direction."""
    unit = np.broadcast_to(scale * 2.0**-COPY_BITS, len(r))
    multiplier, shift = fixed_points(unit * 2.0**GATE_BITS)
    hidden = r.shape[1]
    biases = [np.rint(b.astype(np.float64) / unit[-hidden:]) for b in late]
    whole = np.concatenate([np.zeros(len(r) - hidden * len(biases)), *biases])
    if (row := overflowing(r, whole, "int8")) is not None:
        raise Decline(f"the accumulator of row {row} of its recurrent weights may overflow")
    tables = [constant(sigmoid_table(), "sigmoid"), constant(tanh_table(), "tanh")]
    return [
        constant(multiplier, f"{name}.multiplier"),
        constant(shift, f"{name}.shift"),
        *tables[-op.tables :],
        *(constant(b.astype("int32"), f"{name}.bias") for b in biases),
    ]
