"""Matrix products of two run-time operands: any shape and strides, moves around them without copies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from compiling import NATIVE, Weights, assert_close, check_program, in_long_runs

import graphopt
from graphopt import compile
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, Expand, MatMul, MatMulInteger, Mul, Relu, Requantize, Reshape, Slice, Split, Transpose
from graphopt.passes import Fuse
from graphopt.runtime import Program

TARGETS = [*NATIVE[:2], "aarch64", *in_long_runs(*NATIVE[2:], "armv7")]
PAIRS = {
    "alone": ((5, 7), (7, 9)),
    "one row": ((1, 19), (19, 37)),
    "one column": ((23, 19), (19, 1)),
    "three columns": ((17, 5), (5, 3)),
    "one of all": ((1, 1), (1, 1)),
    "a row by a column": ((1, 41), (41, 1)),
    "outer product": ((13, 1), (1, 18)),
    "a batch of one right operand": ((2, 3, 1, 8), (8, 21)),
    "a batch of one left operand": ((6, 8), (2, 3, 8, 21)),
    "batches across": ((2, 1, 5, 4), (1, 3, 4, 6)),
    "a batch inside": ((2, 3, 5, 4), (2, 1, 4, 6)),
    "many rows": ((2, 29, 6), (2, 6, 33)),
    "primes": ((31, 13), (13, 43)),
    "attention": ((1, 2, 37, 16), (1, 2, 16, 37)),
    "strips": ((211, 521), (521, 5)),
}


def stored(g: Weights, shape: tuple[int, ...], turned: bool) -> Value:
    """An operand of a shape, which is an input or a transpose of one."""
    if not turned:
        return g.x(*shape)
    *lead, rows, columns = shape
    return Transpose(perm=(*range(len(lead)), len(lead) + 1, len(lead)))(g.x(*lead, columns, rows))


def rules(program: Program) -> set[str]:
    return {row["rule"].split()[0].rsplit(".", 1)[-1] for row in program.manifest["kernels"]}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_any_shape(target: str, turned: tuple[bool, bool]) -> None:
    g = Weights()
    ends = []
    for i, shapes in enumerate(PAIRS.values()):
        left, right = (stored(g, shape, turn) for shape, turn in zip(shapes, turned, strict=True))
        product = MatMul()(left, right)
        ends.append(Relu()(Add()(product, g.x(*product.type.static_shape))) if i % 2 else product)
    program = check_program(Fuse()(g.graph(*ends)), target)
    assert rules(program) == {"matmul_by_tiles"}
