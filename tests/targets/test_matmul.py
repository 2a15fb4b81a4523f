"""Matrix products of two run-time operands: any shape and strides, and moves around them without copies."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from compiling import NATIVE, Weights, assert_close, check_program, in_long_runs

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    Expand,
    Fused,
    MatMul,
    MatMulInteger,
    Mul,
    Relu,
    Requantize,
    Reshape,
    Slice,
    Split,
    Transpose,
)
from graphopt.passes import Fuse
from graphopt.runtime import Program

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from nets import MiniLM, ViT

X86 = [name for name in NATIVE if name.startswith("x86")]
TARGETS = [*NATIVE[:2], *in_long_runs(*NATIVE[2:], "aarch64", "armv7")]
PAIRS = [
    ((5, 7), (7, 9)),
    ((1, 19), (19, 37)),
    ((23, 19), (19, 1)),
    ((17, 5), (5, 3)),
    ((1, 1), (1, 1)),
    ((1, 41), (41, 1)),
    ((13, 1), (1, 18)),
    ((2, 3, 1, 8), (8, 21)),
    ((6, 8), (2, 3, 8, 21)),
    ((2, 1, 5, 4), (1, 3, 4, 6)),
    ((2, 3, 5, 4), (2, 1, 4, 6)),
    ((2, 29, 6), (2, 6, 33)),
    ((31, 13), (13, 43)),
    ((1, 2, 37, 16), (1, 2, 16, 37)),
    ((211, 521), (521, 5)),
]
"""Single rows, columns and elements; batches that are broadcast on each side; primes; several strips."""
TURNED = [(False, False), (False, True), (True, False), (True, True)]


def stored(g: Weights, shape: tuple[int, ...], turned: bool, dtype: str) -> Value:
    """An operand of a shape, which is an input or the transpose of one."""
    if not turned:
        return g.x(*shape, dtype=dtype)
    *lead, rows, columns = shape
    return Transpose(perm=(*range(len(lead)), len(lead) + 1, len(lead)))(g.x(*lead, columns, rows, dtype=dtype))


def products(dtype: str, step: int) -> Graph:
    """Each pair of operands, stored in the next of the four ways, or the next after that."""
    g, ends = Weights(), list[Value]()
    for i, shapes in enumerate(PAIRS):
        ways = TURNED[(i + step) % len(TURNED)]
        left, right = (stored(g, shape, way, dtype) for shape, way in zip(shapes, ways, strict=True))
        ends.append(float_end(g, left, right, i) if dtype == "float32" else integer_end(left, right, i))
    return Fuse()(g.graph(*ends))


def float_end(g: Weights, left: Value, right: Value, i: int) -> Value:
    product = MatMul()(left, right)
    return Relu()(Add()(product, g.x(*product.type.static_shape))) if i % 2 else product


def integer_end(left: Value, right: Value, i: int) -> Value:
    sums = MatMulInteger(a_zero_point=-128, b_zero_point=7)(left, right)
    return Requantize(zero_point=9)(sums, constant(np.int32(1 << 30)), constant(np.int32(42 + i % 2)))


def kernels(program: Program, what: str) -> set[str]:
    """The rules, or the operators, of the kernels of a program."""
    return {row[what].split()[0].rsplit(".", 1)[-1] for row in program.manifest["kernels"]}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("step", [0, *in_long_runs(1, 2, 3)])  # type: ignore[arg-type]
def test_any_shape(target: str, step: int) -> None:
    program = check_program(products("float32", step), target)
    assert kernels(program, "rule") == {"matmul_by_tiles"}


@pytest.mark.parametrize("target", [*X86[:1], *in_long_runs(*X86[1:])])
@pytest.mark.parametrize("step", [1, *in_long_runs(0, 2, 3)])  # type: ignore[arg-type]
def test_any_shape_of_integers(target: str, step: int) -> None:
    program = check_program(products("int8", step), target)
    assert kernels(program, "rule") == {"matmul_by_pairs"}


def heads(x: Value, count: int) -> Value:
    """Of [n, tokens, width], the heads [n, count, tokens, depth]."""
    n, tokens, width = x.type.static_shape
    return Transpose(perm=(0, 2, 1, 3))(Reshape(shape=(n, tokens, count, width // count))(x))


def attention(g: Weights) -> list[Value]:
    """Queries, which are scaled, keys and values are parts of one value; the result is brought back side by side."""
    joined = g.x(1, 7, 54)
    q, k, v = (heads(part, 3) for part in Split(axis=2, sizes=(18, 18, 18)).apply(joined).results)
    scores = MatMul()(Mul()(q, constant(np.float32(0.25))), Transpose(perm=(0, 1, 3, 2))(k))
    mixed = Transpose(perm=(0, 2, 1, 3))(MatMul()(Relu()(scores), v))
    return [Reshape(shape=(1, 7, 18))(mixed)]


def columns_of_rows(g: Weights) -> list[Value]:
    """The result is stored by columns, its residual too; parts begin within a row, and skip every other."""
    residual, a, b = Relu()(g.x(3, 6, 6)), g.x(3, 6, 6), g.x(3, 6, 13)
    part = Slice(axis=2, start=1, stop=13, step=2)(b)
    return [Transpose(perm=(0, 2, 1))(Add()(residual, MatMul()(a, part)))]


def both_ways(g: Weights) -> list[Value]:
    """A value is an operand as it is and transposed, and is added behind; the transpose is read elsewhere too."""
    x = Relu()(g.x(5, 5))
    turned = Transpose(perm=(1, 0))(x)
    return [Add()(MatMul()(x, turned), x), Add()(MatMul()(turned, turned), turned)]


def batch_inside(g: Weights) -> list[Value]:
    """The leading axis of the result goes between rows and columns, or behind both."""
    product = MatMul()(g.x(4, 3, 5), g.x(5, 6))
    other = MatMul()(g.x(4, 3, 5), g.x(4, 5, 6))
    return [Transpose(perm=(1, 0, 2))(product), Transpose(perm=(2, 1, 0))(other)]


def no_view(g: Weights) -> list[Value]:
    """Heads that are shared by groups of others have no strides, and are copied."""
    shared = Expand(shape=(1, 2, 2, 7, 4))(Reshape(shape=(1, 2, 1, 7, 4))(heads(g.x(1, 7, 8), 2)))
    return [MatMul()(Reshape(shape=(1, 4, 7, 4))(shared), g.x(1, 4, 4, 3))]


JOINED = "slice, reshape, transpose, "
MOVED = {
    attention: [JOINED + rest for rest in ("mul", "transpose, matmul, relu", "matmul, transpose")],
    columns_of_rows: ["relu", "slice, matmul, add, transpose"],
    both_ways: ["relu", "transpose, matmul, add", "transpose", "matmul, add"],
    batch_inside: ["matmul, transpose", "matmul", "transpose"],
    no_view: ["rearrange", "expand", "matmul"],
}
"""By graph, the operators of its kernels."""


@pytest.mark.parametrize("target", [NATIVE[-1], *in_long_runs("aarch64", "armv7", "cortex-m4")])
@pytest.mark.parametrize("make", MOVED, ids=lambda make: make.__name__)
def test_moves_around_products(make: Callable[[Weights], list[Value]], target: str) -> None:
    g = Weights()
    program = check_program(Fuse()(g.graph(*make(g))), target)
    if target != "cortex-m4":
        assert [row["operators"] for row in program.manifest["kernels"]] == MOVED[make]


def test_a_fused_move_without_strides_is_refused() -> None:
    x = arg("x", "float32", (4, 6))
    inner = arg("x", "float32", (4, 6))
    body = Graph((inner,), (Relu()(Reshape(shape=(24,))(Transpose(perm=(1, 0))(inner))),))
    with pytest.raises(Unsupported, match="do not fuse it"):
        graphopt.compile(Graph((x,), (Fused(body=body)(x),)))


@pytest.mark.parametrize("net", ["minilm", *in_long_runs("vit")])
def test_transformers_as_torch_and_onnxruntime(net: str) -> None:
    torch.manual_seed(0)
    if net == "vit":
        model, inputs = ViT(24, 3, 1, 5).eval(), (torch.randn(1, 3, 224, 224),)
    else:
        mask = torch.tensor([[1.0] * 8 + [0.0] * 3])
        model, inputs = MiniLM(24, 3, 1).eval(), (torch.randn(1, 11, 24), mask)
    traced = graphopt.trace(model, inputs)
    program = graphopt.compile(graphopt.optimize(traced))
    arrays = [x.numpy() for x in inputs]
    (got,) = program.measure(arrays, count=False).outputs
    with torch.no_grad():
        assert_close([model(*inputs).numpy()], got)
    session = onnxruntime.InferenceSession(graphopt.to_onnx(traced).SerializeToString())
    assert_close(session.run(None, {p.name: x for p, x in zip(session.get_inputs(), arrays, strict=True)}), got)
    copies = [row["operators"] for row in program.manifest["kernels"]].count("transpose")
    assert copies == (1 if net == "vit" else 0), "only the patches of the image are brought side by side"
