"""int8 by words of four elements, VPDPBUSD and SDOT: the integers of the evaluator, by instructions and by twins."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from compiling import NATIVE, check_program, in_long_runs
from test_x86_int8 import Integers, called
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import LinearInteger, MatMulInteger, Requantize, Transpose
from graphopt.passes import Fuse
from graphopt.targets import Target, get_target
from graphopt.targets.instructions.dotprod import ADD_FOUR_SIGNED_PRODUCTS
from graphopt.targets.instructions.vectors import VectorInstruction
from graphopt.targets.instructions.vnni import ADD_FOUR_PRODUCTS

INSTRUCTIONS = {"vnni": ADD_FOUR_PRODUCTS, "dotprod": ADD_FOUR_SIGNED_PRODUCTS}
ANY = get_target(NATIVE[0])


def without_instruction(isa: str) -> Target:
    """This machine with the rules of an instruction set, and for its instruction the twin; small tiles compile fast."""
    return replace(ANY, name=f"{isa} by twins", isa=(isa, *ANY.isa), registers=8)


def summed(one: VectorInstruction, target: Target, lanes: int, operands: list[Array]) -> Array:
    """What the instruction gives of int32 [n] and of products of 8 bits [4n] twice."""
    size = len(operands[0])

    def kernel() -> tirx.PrimFunc:
        with IRBuilder() as made, builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            given = [
                builder.arg(name, builder.buffer(data.shape, str(data.dtype)))
                for name, data in zip("tab", operands, strict=True)
            ]
            out = builder.arg("z", builder.buffer((size,), "int32"))
            with builder.serial(0, size // lanes) as i:
                vectors = [
                    each[tirx.Ramp(i * n, 1, n)] for each, n in zip(given, (lanes, 4 * lanes, 4 * lanes), strict=True)
                ]
                builder.buffer_store(out, one.call(target, lanes, *vectors), [tirx.Ramp(i * lanes, 1, lanes)])
        return made.get()

    return called(kernel(), target, *operands, np.zeros(size, np.int32))


def drawn_operands(isa: str) -> list[Array]:
    """Every pair of extreme factors, and random ones; totals such that sums in between may wrap around."""
    rng, left = np.random.default_rng(0), np.uint8 if isa == "vnni" else np.int8
    extremes = np.array(list(product((0, 1, 127, 128, 255), (-128, -127, -1, 0, 127))))
    a, b = np.repeat(extremes, 4, axis=0).T
    a, b = a.astype(np.uint8).view(left), b.astype(np.int8)
    size = 1024 - len(a)
    a = np.concatenate([a, rng.integers(0, 256, size).astype(np.uint8).view(left)])
    b = np.concatenate([b, rng.integers(-128, 128, size, np.int8)])
    return [rng.integers(-(1 << 30), 1 << 30, 256, np.int32), a, b]


@pytest.mark.parametrize("isa", INSTRUCTIONS)
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_twins_mean_the_same(isa: str, lanes: int) -> None:
    operands, one = drawn_operands(isa), INSTRUCTIONS[isa]
    assert (summed(one, without_instruction(isa), lanes, operands) == one.meaning(*operands)).all()


@pytest.mark.skipif("x86-64-v4-vnni" not in NATIVE, reason="no AVX-512 VNNI here")
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_instruction_means_the_same(lanes: int) -> None:
    operands = drawn_operands("vnni")
    found = summed(ADD_FOUR_PRODUCTS, get_target("x86-64-v4-vnni"), lanes, operands)
    assert (found == ADD_FOUR_PRODUCTS.meaning(*operands)).all()


def test_the_sum_wraps_around() -> None:
    a, b = np.full(4, 255, np.uint8), np.full(4, 127, np.int8)
    total = ADD_FOUR_PRODUCTS.meaning(np.array([(1 << 31) - 1], np.int32), a, b)
    assert total.item() == (1 << 31) - 1 + 4 * 255 * 127 - (1 << 32)


def layers_of(dtype: str, zero_point: int) -> Graph:
    """Layers whose channels are multiples of nothing: windows, strides, dilations, groups, padding; a linear layer."""
    layers = Integers(2, 6, 7, 9, dtype=dtype)
    x, ends = layers.x, list[Value]()
    pads: dict[str, Any] = {"pads": (1, 2, 0, 1)}
    first = layers.conv(x, 21, (3, 3), zero_point, **pads)
    ends += [layers.conv(x, 5, (2, 3), zero_point, strides=(2, 3), **pads), layers.conv(x, 3, (1, 1), zero_point)]
    ends.append(layers.conv(x, 6, (3, 2), zero_point, dilations=(2, 1), group=3, **pads))
    ends += [layers.conv(first, 17, (3, 3), dilations=(1, 2)), layers.conv(first, 7, (2, 2), group=7)]
    windows: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((3, 3), {}),
        ((5, 2), {"strides": (2, 1)}),
        ((2, 3), {"dilations": (2, 2)}),
    ]
    for kernel, window in windows:
        deep = layers.conv(first, 21, kernel, group=21, **{**pads, **window})
        ends.append(layers.conv(deep, 2))
    return layers.graph(*ends)


def products() -> Graph:
    """Products of run-time operands, one as it is and one transposed, and a linear layer of rows."""
    rows = Integers(3, 5, 31)
    weight = constant(rows.rng.integers(-128, 128, (37, 31)).astype(np.int8))
    linear = LinearInteger(zero_point=-7)(rows.x, weight, constant(np.arange(37, dtype=np.int32)))
    ends, operands = [rows.scaled(linear, (37,))], [rows.x]
    for i, (m, k, n) in enumerate(((7, 21, 19), (34, 4, 3), (3, 37, 40), (2, 2, 5))):
        dtype, zeros = ("int8", (-128, 7)) if i % 2 else ("uint8", (255, 0))
        a = arg(f"a{i}", dtype, (2, m, k))
        plain, turned = arg(f"b{i}", dtype, (2, k, n)), arg(f"c{i}", dtype, (2, n, k))
        for b in (plain, Transpose(perm=(0, 2, 1))(turned)):
            sums = MatMulInteger(a_zero_point=zeros[0], b_zero_point=zeros[1])(a, b)
            ends.append(Requantize(zero_point=9)(sums, constant(np.int32(1 << 30)), constant(np.int32(43))))
        operands += [a, plain, turned]
    return Fuse()(Graph(tuple(operands), tuple(ends)))


GRAPHS = {"int8": lambda: layers_of("int8", 5), "uint8": lambda: layers_of("uint8", 251), "products": products}


@pytest.mark.parametrize("isa", ["vnni", *in_long_runs("dotprod")])
@pytest.mark.parametrize("kind", ["int8", "products", *in_long_runs("uint8")])
def test_programs_by_twins(kind: str, isa: str) -> None:
    check(kind, without_instruction(isa))


@pytest.mark.parametrize("kind", ["int8", "products", *in_long_runs("uint8")])
@pytest.mark.parametrize("target", ["x86-64-v4-vnni", "aarch64-dotprod"])
def test_programs_by_instructions(kind: str, target: str) -> None:
    if target.startswith("x86") and target not in NATIVE:
        pytest.skip("no AVX-512 VNNI here")
    check(kind, get_target(target))


def check(kind: str, target: Target) -> None:
    program = check_program(GRAPHS[kind](), target)
    rules = [row["rule"] for row in program.manifest["kernels"]]
    assert all("_products." in rule and "fours" in rule for rule in rules), rules
