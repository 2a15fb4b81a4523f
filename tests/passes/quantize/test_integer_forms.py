"""Integer lowering keeps, to one step of the result, what the QDQ graph computes in float64, whatever is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from forms import FORMS, graph_of
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt import compile
from graphopt.ir import Array, Constant, Graph, Input, Node, QParams, Value, cast_floats, rebuild
from graphopt.ops import Clip, Conv, ConvTranspose, Dequantize, Linear, Quantize, Relu
from graphopt.passes import Context, Fuse, InsertQuantization, LowerInteger
from graphopt.passes.contract import random_inputs
from graphopt.passes.quantize.insert import choose, insert
from graphopt.passes.quantize.scheme import Scheme
from graphopt.passes.quantize.splits import without_splits

Draw = Callable[[int, int], int]


def calibrated(graph: Graph, draw: Draw, activations: str) -> Graph:
    """The QDQ graph by the ranges of data of a drawn size."""
    size = 2.0 ** draw(-8, 6)
    data = [{k: (v * size).astype(v.dtype) for k, v in random_inputs(graph, seed).items()} for seed in (0, 1)]
    return InsertQuantization(calibration=data, activations=activations)(graph)


def wild(graph: Graph, draw: Draw, activations: str) -> Graph:
    """The QDQ graph by drawn scales and zero points, the extremes among them."""
    scheme = Scheme(activations=activations, per_channel=bool(draw(0, 1)))
    layout = choose(without_splits(graph), scheme)
    parameters = {}
    for value in layout.values:
        rule = layout.rules.get(value.node)
        bits = scheme.activation_bits("")
        dtype, most = ("int8", 127) if bits == 8 else ("int16", 32767)
        if rule and rule.fixed and bits == 8 and draw(0, 1):
            parameters[value] = QParams(np.asarray(np.float32(1 / 256)), np.asarray(-128, dtype), bits)
            continue
        scale = np.float32(2.0 ** draw(-16, 8) * (1 + draw(0, 99) / 100))
        zero = np.asarray((-most - 1, 0, most, draw(-128, 127))[draw(0, 3)], dtype)
        parameters[value] = QParams(np.asarray(scale), zero, bits)
    return insert(layout, parameters, scheme)


def quantization_of(graph: Graph, value: Value) -> tuple[float, int, str] | None:
    """Scale, zero point and dtype by which a value is quantized."""
    for node in graph.uses[value]:
        if isinstance(node.op, Quantize):
            scale, zero = (v.constant for v in node.inputs[1:])
            assert scale is not None and zero is not None
            return float(scale), int(zero), str(zero.dtype)
    return None


def grid_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """Inputs that are steps of their scales exactly, some beyond the range, so that no rounding tells dtypes apart."""
    rng, arrays = np.random.default_rng(seed), {}
    for value in graph.inputs:
        found = quantization_of(graph, value)
        assert found is not None, value
        scale, zero, dtype = found
        limits = np.iinfo(dtype)
        q = rng.integers(limits.min - 20, limits.max + 21, value.type.static_shape)
        q = np.where(rng.random(q.shape) < 0.1, rng.choice([limits.min, limits.max, zero], q.shape), q)
        arrays[graph.names[value.node]] = ((q - zero) * scale).astype(np.float32)
    return arrays


def lowered(qdq: Graph) -> tuple[Graph, list[str]]:
    """The integer graph, and why nodes of it stayed float."""
    context = Context()
    return LowerInteger().run(qdq, context), [n.text for n in context.notes if n.declined]


def float_work(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if not isinstance(node.op, Input | Constant | Quantize | Dequantize) and node.types[0].is_float:
            yield node.op.name


def integer_results(graph: Graph) -> Graph:
    """The graph with the integers for results that its last dequantizes read."""
    outputs = tuple(v.node.inputs[0] if isinstance(v.op, Dequantize) else v for v in graph.outputs)
    return replace(graph, outputs=outputs)


def hold(qdq: Graph, integer: Graph) -> None:
    """Each output within one step, or what the bias of a product may move it by."""
    exact, small = cast_floats(integer_results(qdq), "float64"), integer_results(integer)
    for seed in range(3):
        inputs = grid_inputs(qdq, seed)
        got, want = small(**inputs), exact(**{k: v.astype(np.float64) for k, v in inputs.items()})
        for value, g, w in zip(qdq.outputs, got, want, strict=True):
            assert g.dtype == w.dtype and np.dtype(g.dtype).kind == "i"
            assert np.abs(g.astype(np.int64) - w).max() <= allowed_steps(value)


def allowed_steps(value: Value) -> int:
    """One; more where the accumulator has larger steps than the result, for it holds the bias to half a step."""
    node = value.node.inputs[0].node.inputs[0].node
    while isinstance(node.op, Relu | Clip):
        node = node.inputs[0].node
    if not isinstance(node.op, Conv | ConvTranspose | Linear):
        return 1
    x, w = (np.asarray(v.node.inputs[1].constant, np.float64) for v in node.inputs[:2])
    step = float(np.asarray(value.node.inputs[1].constant))
    return int(1 + 0.5 * (x * w).max() / step)


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_calibrated_forms_are_integer_and_within_a_step(name: str, data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    qdq = calibrated(graph_of(name, draw), draw, "int8")
    integer, declined = lowered(qdq)
    assert not declined
    assert not list(float_work(integer))
    hold(qdq, integer)


REFUSALS = ("operand is not quantized", "may overflow", "too far apart", "above 2^14", "too large", "not finite")
WIDE_REFUSALS = (*REFUSALS, "65,536", "int8 only", "8-bit operand")


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_scales_are_within_a_step_or_refused(name: str, activations: str, data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    qdq = wild(graph_of(name, draw), draw, activations)
    integer, declined = lowered(qdq)
    known = REFUSALS if activations == "int8" else WIDE_REFUSALS
    assert all(any(r in text for r in known) for text in declined), declined
    hold(qdq, integer)


def forms_program(activations: str) -> tuple[Graph, dict[str, Array]]:
    """A graph of all forms side by side, each drawn once, and inputs on its grids."""
    inputs: list[Value] = []
    outputs: list[Value] = []
    arrays: dict[str, Array] = {}
    for position, name in enumerate(FORMS):
        rng = np.random.default_rng(position)

        def draw(low: int, high: int, rng: np.random.Generator = rng) -> int:
            return int(rng.integers(low, high + 1))

        graph = graph_of(name, draw)
        graph = rename_inputs(graph, f"{name}_")
        qdq = calibrated(graph, draw, activations)
        integer, _ = lowered(qdq)
        arrays |= grid_inputs(qdq, position)
        inputs += integer.inputs
        outputs += integer.outputs
    return integer_results(Graph(tuple(inputs), tuple(outputs))), arrays


def rename_inputs(graph: Graph, prefix: str) -> Graph:
    def renamed(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return (node.op(name=f"{prefix}{node.name}"),) if isinstance(node.op, Input) else None

    return rebuild(graph, renamed)


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_compiled_forms_are_the_evaluator_bit_for_bit(target: str, activations: str) -> None:
    graph, arrays = forms_program(activations)
    (got,) = compile(Fuse()(graph), target, io="float32").measure(arrays, count=False).outputs
    for name, g, w in zip(graph.output_names, got, graph(**arrays), strict=True):
        np.testing.assert_array_equal(g, w, name)
