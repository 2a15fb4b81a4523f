"""Shapes in ONNX models: what computes them folds away, and what is dynamic is the batch, or bound, or refused."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from frontends.onnx_models import IMAGE, check, flattening, ints, make, node
from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import load
from graphopt.ir import Batch


def test_shape_computation_folds_away() -> None:
    nodes = flattening(helper.make_node("Reshape", ["x", "target"], ["y"]))
    graph = check(make(nodes, {"x": IMAGE}, {"axes": ints(0), "minus": ints(-1)}))
    assert [n.op for n in graph.nodes[1:]] == [ops.Reshape(shape=(Batch(), 256))]


def test_shape_arithmetic() -> None:
    """Sizes multiplied, divided, compared and chosen."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "i0", "i1"], ["n"]),
        helper.make_node("Slice", ["shape", "i2", "i4"], ["hw"]),
        helper.make_node("ReduceProd", ["hw"], ["area"], keepdims=1),
        helper.make_node("Mul", ["n", "two"], ["n2"]),
        helper.make_node("Div", ["n2", "two"], ["n1"]),
        helper.make_node("Cast", ["n1"], ["n64"], to=TensorProto.INT64),
        helper.make_node("Concat", ["n64", "minus", "area"], ["first"], axis=0),
        helper.make_node("Equal", ["first", "minus"], ["unknown"]),
        helper.make_node("ConstantOfShape", ["three"], ["ones"], value=helper.make_tensor("v", 7, [1], [4])),
        helper.make_node("Where", ["unknown", "ones", "first"], ["chosen"]),
        helper.make_node("Reshape", ["x", "chosen"], ["y"]),
    ]
    constants = {"i0": ints(0), "i1": ints(1), "i2": ints(2), "i4": ints(4), "two": ints(2), "minus": ints(-1)}
    graph = check(make(nodes, {"x": IMAGE}, {**constants, "three": ints(3)}))
    assert graph.nodes[-1].op == ops.Reshape(shape=(Batch(), 4, 64))


def test_escaping_batch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    nodes = flattening(
        helper.make_node("Add", ["row", "one"], ["more"]),
        helper.make_node("Sub", ["more", "one"], ["same"]),
        helper.make_node("Concat", ["same", "minus"], ["back"], axis=0),
        helper.make_node("Reshape", ["x", "back"], ["y"]),
    )
    graph = load(make(nodes, {"x": IMAGE}, {"axes": ints(0), "minus": ints(-1), "one": ints(1)}))
    assert graph.inputs[0].type.shape == (1, 4, 8, 8)
    assert "fixed-batch graph of 1" in caplog.text and "N + 1 is not a multiple" in caplog.text


def test_batch_and_shapes() -> None:
    model = make([node("Relu")], {"x": ["N", "seq", 4]})
    assert load(model, shapes={"seq": 16}).inputs[0].type.shape == (Batch(), 16, 4)
    assert load(model, batch=2, shapes={"seq": 16}).inputs[0].type.shape == (2, 16, 4)
    assert load(model, shapes={"seq": 16, "N": 3}).inputs[0].type.shape == (3, 16, 4)
    assert load(model, shapes={"x": (1, 5, 4)}).inputs[0].type.shape == (1, 5, 4)
    with pytest.raises(Unsupported, match=r"input 'x': dimension 1 is dynamic \('seq'\)\n  bind it: shapes="):
        load(model)
    with pytest.raises(InvalidInput, match="shapes names sq\n  the model has N, seq, x"):
        load(model, shapes={"sq": 1, "seq": 16})
    with pytest.raises(InvalidInput, match="the model has"):
        load(model, shapes={"x": (1, 5, 5)})
    with pytest.raises(InvalidInput, match="at least 1"):
        load(model, batch=0)
    with pytest.raises(InvalidInput, match="bound to 0"):
        load(model, shapes={"seq": 0})


def test_dynamic_dimensions_refused() -> None:
    with pytest.raises(Unsupported, match="input 'x': dimension 2 is dynamic"):
        load(make([node("Relu")], {"x": [None, 4, None]}))
    with pytest.raises(Unsupported, match=r"input 'z': dimension 0 is dynamic .'M'., and another one than the batch"):
        load(make([node("Add", ["x", "z"])], {"x": ["N", 4], "z": ["M", 4]}))
    assert load(make([node("Relu")], {"x": [None, 4]})).is_symbolic


SHAPES = {
    "named": (
        {"x": ["N", "seq", "width"], "z": ["N", "seq", 4]},
        "shapes={'seq': 16, 'width': 16}, or --shape seq=16 --shape width=16",
    ),
    "unnamed": ({"x": ["N", None, 4], "z": [None, 3, None]}, "--shape x=1,16,4 --shape z=1,3,16"),
    "empty": ({"x": ["", "", 4]}, "shapes={'x': (1, 16, 4)}, or --shape x=1,16,4"),
    "one_anonymous_name": ({"x": ["unk__0", "unk__0"], "z": [3, "unk__0"]}, "--shape x=1,16 --shape z=3,16"),
    "mixed": (
        {"x": ["N", "seq"], "z": ["M", None]},
        "shapes={'seq': 16, 'z': (1, 16)}, or --shape seq=16 --shape z=1,16",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_all_unbound_dimensions_are_named_at_once(case: str) -> None:
    shapes, advice = SHAPES[case]
    model = make([node("Identity"), *(node("Identity", [n], [f"{n}_y"]) for n in shapes if n != "x")], shapes)
    with pytest.raises(Unsupported) as caught:
        load(model)
    assert advice in str(caught.value)
    bindings = eval(str(caught.value).split("shapes=")[1].split(", or")[0])
    load(model, shapes=bindings)


def test_dimensions_of_one_anonymous_name_may_differ() -> None:
    """A batch called ``unk__0`` makes no other dimension of that name the batch."""
    graph = load(make([node("Relu")], {"x": ["unk__0", "unk__0"]}), shapes={"x": (2, 5)})
    assert graph.inputs[0].type.shape == (2, 5)
    graph = load(make([node("Add", ["x", "z"])], {"x": ["unk__0", 4], "z": ["unk__0", 4]}))
    assert [v.type.shape for v in graph.inputs] == [(Batch(), 4)] * 2
