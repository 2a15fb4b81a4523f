"""Weights in every form: what is stored is what reports say, and every core reads the numbers of the evaluator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from compiling import Weights
from hypothesis import given
from hypothesis import strategies as st

import graphopt
from graphopt import compile
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, arg, constant, parse
from graphopt.ops import (
    Add,
    Conv,
    ConvInteger,
    ConvTranspose,
    Linear,
    LinearInteger,
    Relu,
    Reshape,
    StoredForm,
    least_form,
    rounded_to_half,
    stored_bytes,
    stored_form,
)
from graphopt.ops.two_level import two_level
from graphopt.passes import CommonSubexpressions, CompressWeights, Fuse, LowerInteger, Quantize
from graphopt.passes.contract import random_inputs
from graphopt.passes.quantize.layers import packed_weights
from graphopt.report import cost_of, layers_of
from graphopt.targets import get_target
from graphopt.targets.weights import STORAGES
from graphopt.upgrades import Upgrading

OLD = Path(__file__).parents[1] / "data" / "old_weights.gopt"
CORES = ("host", "cortex-m4")


def steps(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype("int8")


DRAWN: dict[StoredForm, Callable[[np.random.Generator, int], Array]] = {
    StoredForm.WHOLE: lambda rng, size: steps(rng, 3, size, 2),
    StoredForm.HALF: lambda rng, size: rounded_to_half(rng.standard_normal((3, size, 2)).astype("float32")),
    StoredForm.NIBBLES: lambda rng, size: rng.integers(-7, 8, (3, size, 2)).astype("int8"),
    StoredForm.GROUPED: lambda rng, size: two_level(rng.uniform(-127, 127, (3, 16 + size, 2))),
    StoredForm.BITS: lambda rng, size: rng.choice([-1, 1], (3, size, 2)).astype("int8"),
}


@given(st.sampled_from(sorted(DRAWN, key=str)), st.integers(1, 9), st.integers(0, 99))
def test_a_form_has_the_bytes_that_are_packed(form: StoredForm, size: int, seed: int) -> None:
    weight = DRAWN[form](np.random.default_rng(seed), size)
    form = least_form(weight)
    packed = STORAGES[form].pack(weight)
    assert sum(data.nbytes for data in packed.values()) == stored_bytes(constant(weight, compact=True))
    assert stored_bytes(constant(weight)) == weight.nbytes
    assert stored_form(constant(weight)) is StoredForm.WHOLE


@pytest.mark.parametrize("form", DRAWN)
def test_numbers_have_the_form_they_fit(form: StoredForm) -> None:
    assert least_form(DRAWN[form](np.random.default_rng(5), 40)) is form


def test_the_lowest_int8_needs_all_its_bits() -> None:
    """It has no magnitude in int8; with 7 beside it, four bits once seemed enough."""
    for others in (1, 7):
        assert least_form(np.array([[-128, others]], "int8")) is StoredForm.WHOLE
    x, bias = arg("x", "int8", (1, 2)), constant(np.zeros(1, "int32"))
    weight = constant(np.array([[-128, 7]], "int8"), compact=True)
    graph = Graph((x,), (LinearInteger()(x, weight, bias),))
    given = np.array([[3, 5]], "int8")
    assert compile(graph, "host").run(given) == graph(given)[0] == -349


def net() -> Graph:
    """A layer of every kind that has weights, over one, two and three axes; no size is a multiple of another."""
    g = Weights(3)
    x = Relu()(Conv(pads=(1, 1, 1, 1))(g.x(1, 3, 5, 6), g.w(19, 3, 3, 3), g.w(19), name="stem"))
    x = Relu()(Conv(pads=(1, 1, 1, 1), group=19)(x, g.w(19, 1, 3, 3), g.w(19), name="depth"))
    y = Conv(pads=(1, 0, 1, 1))(x, g.w(7, 19, 3, 3), g.w(7), name="inner")
    up = ConvTranspose(strides=(2, 2))(x, g.w(19, 17, 2, 2), g.w(17), name="up")
    rows = Linear()(Reshape(shape=(30, 19))(x), g.w(5, 19), g.w(5), name="fc")
    deep = Conv()(Reshape(shape=(1, 19, 5, 3, 2))(x), g.w(3, 19, 2, 2, 1), g.w(3), name="deep")
    return g.graph(y, up, rows, deep)


WIDTHS = {
    "first": {"stem": "int4", "depth": "binary", "up": "int4-grouped", "fc": "int4-grouped", "deep": "binary"},
    "second": {"stem": "binary", "depth": "int4", "inner": "int4-grouped", "up": "int4", "deep": "int4-grouped"},
}
"""The widths of weights by layer; others have int8."""


@cache
def quantized(widths: str | None) -> Graph:
    overrides = WIDTHS[widths] if widths else {}
    return Quantize(overrides=overrides, calibration=[random_inputs(net(), seed) for seed in range(4)])(net())


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("core", CORES)
def test_integer_programs_are_the_evaluator(core: str, widths: str) -> None:
    graph = Fuse()(quantized(widths))
    inputs = random_inputs(net(), 9)
    for data, want in zip(compile(graph, core, io="float32").run(**inputs), graph(**inputs), strict=True):
        np.testing.assert_array_equal(data, want)


@pytest.mark.parametrize("widths", WIDTHS)
def test_what_is_reported_is_stored(widths: str) -> None:
    """The bytes of weights and factors in the C, by layer, and all of them."""
    graph, wide = quantized(widths), quantized(None)
    general = replace(get_target("cortex-m0"), isa=())  # routines have weights in an order, and fillings, of their own
    program = compile(Fuse()(graph), general)
    c = program.files["model_weights.c"].decode()
    arrays = re.findall(r"^const u?int8_t model__(\w+)_(weight|factors)\[(\d+)\]", c, re.MULTILINE)
    stored: Counter[str] = Counter()
    for layer, _, size in arrays:
        stored[layer] += int(size)
    reported = {name.removesuffix(".acc"): size for name, (_, size) in packed_weights(graph).items()}
    assert {layer: stored[layer] for layer in WIDTHS[widths]} == {layer: reported[layer] for layer in WIDTHS[widths]}
    saved = sum(size for _, size in packed_weights(wide).values()) - sum(reported.values())
    assert cost_of(wide).parameter_bytes - cost_of(graph).parameter_bytes == saved
    biases = sum(graph.node(name).inputs[2].type.nbytes for name in packed_weights(graph))
    layers = [layer for layer in layers_of(graph) if layer.operator.endswith("_integer")]
    assert sum(layer.parameter_bytes for layer in layers) == sum(reported.values()) + biases


def sparse_layer() -> Graph:
    weight = np.zeros((4, 64), "int8")
    weight[:, ::32] = 5
    x = arg("x", "int8", (1, 64))
    bias = constant(np.zeros(4, "int32"))
    return Graph((x,), (LinearInteger()(x, constant(weight, "w", compact=True), bias, name="fc"),))


def test_compressed_weights_are_reported_as_they_are_stored() -> None:
    graph = sparse_layer()
    assert packed_weights(graph) == {"fc": (4, 128)}
    small = CompressWeights()(graph)
    assert packed_weights(small) == {"fc": (8, 4 * 64 // 8 + 8)}
    assert compile(small, "cortex-m0").manifest["weight_bytes"] == 4 * 64 // 8 + 8 + 16


def test_the_form_survives_text_files_passes_and_torch(tmp_path: Path) -> None:
    graph = quantized("first")
    assert "{compact = True}" in str(graph)
    assert str(parse(str(graph), graph.constants)) == str(graph)
    graphopt.save(graph, tmp_path / "net.gopt")
    stored = packed_weights(graph)
    assert packed_weights(graphopt.load(tmp_path / "net.gopt")) == stored
    assert packed_weights(LowerInteger()(CommonSubexpressions()(graph))) == stored
    module = graphopt.to_torch(graph)
    assert packed_weights(graphopt.with_parameters(graph, module)) == stored


def test_training_keeps_what_may_be_half() -> None:
    x, bias = arg("x", "float32", (2, 3)), constant(np.zeros(2, "float32"), "b")
    weight = constant(np.full((2, 3), 0.5, "float32"), "w", compact=True)
    graph = Graph((x,), (Linear()(x, weight, bias, name="fc"),))
    module = graphopt.to_torch(graph)
    with torch.no_grad():
        module.get_parameter("w").mul_(3.0)
    half = graphopt.with_parameters(graph, module)
    assert stored_form(half.node("w").results[0]) is StoredForm.HALF
    with torch.no_grad():
        module.get_parameter("w").mul_(0.1)
    assert stored_form(graphopt.with_parameters(graph, module).node("w").results[0]) is StoredForm.WHOLE


def test_constants_of_two_forms_stay_apart() -> None:
    x = arg("x", "float32", (1, 2))
    ones, zeros = np.ones((2, 2), "float32"), constant(np.zeros(2, "float32"))
    pair = [Linear()(x, constant(ones, compact=form), zeros) for form in (True, False)]
    graph = CommonSubexpressions()(Graph((x,), (Add()(*pair),)))
    assert [stored_form(n.inputs[1]).value for n in graph.nodes if n.op.name == "linear"] == ["float16", "whole"]


@pytest.mark.parametrize("attributes", ["{compact = 1}", "{value = True}", "{half = True}"])
def test_other_attributes_of_a_constant_are_refused(attributes: str) -> None:
    text = f"graph g() {{\n  %w = constant [1, 2] {attributes} : int8[2]\n  return y: %w\n}}"
    with pytest.raises(InvalidInput, match="line 2 of the graph text"):
        parse(text)


def test_files_in_which_layers_said_how_weights_are_stored() -> None:
    """Of version 1, fused: its results, and its program, are those of before."""
    graph = graphopt.load(OLD)
    forms = {}
    for node in graph.nodes:
        body = node.op.body.nodes if node.op.name == "fused" else (node,)  # type: ignore[attr-defined]
        if any(isinstance(n.op, Conv | Linear | ConvInteger | LinearInteger) for n in body):
            forms[graph.names[node]] = stored_form(node.inputs[1]).value
    assert forms == {"stem": "whole", "depth": "binary", "point": "int4-grouped", "half": "float16", "fc": "int4"}
    inputs = random_inputs(graph, 9)
    want = [[3, 3], [-62, -3], [-20, 73], [38, 7], [-31, -4], [24, 80], [-2, 72], [60, 50], [6, 17], [-26, -6]]
    (got,) = graph(**inputs)
    scale = graph.outputs[0].node.inputs[1].constant
    np.testing.assert_array_equal(got, np.array([*want, [-45, 70], [72, 59]], "float32") * scale)
    assert compile(graph, "cortex-m0").manifest["weight_bytes"] == 1005


def test_texts_in_which_layers_said_it() -> None:
    text = """graph g(%x: float32[1, 2], %q: int8[1, 2]) {
      %w = constant [[0.5, 2.0]] : float32[1, 2]
      %b = constant [0.0] : float32[1]
      %y = linear(%x, %w, %b) {half = True} : float32[1, 1]
      %whole = constant [[1, 2]] : int8[1, 2]
      %few = constant [[2, 1]] : int8[1, 2]
      %zero = constant [0] : int32[1]
      %u = linear_integer(%q, %whole, %zero) {zero_point = 3, bits = 8} : int32[1, 1]
      %v = linear_integer(%q, %few, %zero) {bits = 4, grouped = False} : int32[1, 1]
      return y: %y, u: %u, v: %v
    }"""
    upgrading = Upgrading({"linear": 1, "linear_integer": 1})
    graph = upgrading.finish(parse(text, upgrade=upgrading))
    forms = [stored_form(v.node.inputs[1]).value for v in graph.outputs]
    assert forms == ["float16", "whole", "int4"]
    assert graph.node("u").op == LinearInteger(zero_point=3) and graph.node("v").op == LinearInteger()
    with pytest.raises(InvalidInput, match="no attribute 'half'"):
        parse(text)
