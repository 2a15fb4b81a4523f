"""int8 on x86-64: exactly the evaluator's integers, by the instructions that are meant, for every shape alike."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from compiling import NATIVE, check_program, in_long_runs
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import Concat, ConvInteger, LinearInteger, MatMulInteger, MaxPool, Requantize, WeightedSum
from graphopt.passes import Fuse
from graphopt.runtime import Program
from graphopt.targets import Target, builtin_targets
from graphopt.targets.codegen_llvm import compile_object
from graphopt.targets.instructions.vectors import VectorInstruction
from graphopt.targets.instructions.x86 import MULTIPLY_ADD_BYTES, MULTIPLY_ADD_PAIRS
from graphopt.targets.kernels.built import Built
from graphopt.targets.target import X86_HOSTS

HOSTS = [name for name in X86_HOSTS if name in NATIVE]
KINDS = [name for name in HOSTS if name != "x86-64-v4"]
"""A target for each width of vectors, and for each instruction."""
FORMS = [*KINDS, *in_long_runs(*(name for name in HOSTS if name not in KINDS))]
pytestmark = pytest.mark.skipif(not HOSTS, reason="it is about x86-64")
LANES = {name: builtin_targets()[name].lanes for name in X86_HOSTS}


class Integers:
    """Layers of random integers, and a graph of all of them on one input of int8."""

    def __init__(self, *shape: int, dtype: str = "int8") -> None:
        self.rng = np.random.default_rng(0)
        self.x = arg("x", dtype, shape)
        self.made: list[Value] = []

    def scaled(self, y: Value, shape: tuple[int, ...], low: int = -128) -> Value:
        """Requantized by channel; the shifts are such that both limits are met."""
        multiplier = self.rng.integers(1 << 30, (1 << 31) - 1, shape).astype(np.int32)
        shift = self.rng.integers(37, 42, shape).astype(np.int32)
        return Requantize(zero_point=-3, low=low)(y, constant(multiplier), constant(shift))

    def conv(
        self, x: Value, out: int, kernel: tuple[int, ...] = (1, 1), zero_point: int = 5, **window: object
    ) -> Value:
        """A convolution with the extreme weights, requantized."""
        depth = int(str(x.type.shape[1])) // int(str(window.get("group", 1)))
        weight = self.rng.choice(np.array([-128, -127, -1, 0, 1, 99, 127], np.int8), (out, depth, *kernel))
        bias = self.rng.integers(-9999, 9999, out).astype(np.int32)
        sums = ConvInteger(zero_point=zero_point, **window)(x, constant(weight), constant(bias))  # type: ignore[arg-type]
        return self.scaled(sums, (out, *(1,) * len(kernel)))

    def graph(self, *outputs: Value) -> Graph:
        return Fuse()(Graph((self.x,), outputs))


def in_the_middle(
    make: Callable[[Integers, Value], list[Value]], channels: int, size: int, dtype: str = "int8"
) -> Graph:
    """Layers whose operand has its channels last, as between layers; ``make`` gives them."""
    layers = Integers(1, channels, size, size, dtype=dtype)
    first = layers.conv(layers.x, channels) if dtype == "int8" else layers.x
    ends = make(layers, first)
    return layers.graph(*(layers.conv(y, 2) for y in ends))


def by_words(program: Program) -> bool:
    """Whether all kernels are of rules for words of elements."""
    rules = [row["rule"] for row in program.manifest["kernels"]]
    rooms = ("x86_products", "vnni_products", "sdot_products", "word_winograd")
    return all(any(room in rule for room in rooms) for rule in rules)


def disassembly(program: Program, folder: Path) -> str:
    path = folder / "library.so"
    path.write_bytes(program.files["libmodel.so"])
    return subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout


def extreme_pairs(left: type, right: type) -> list[Array]:
    """All pairs of extreme factors twice, so that sums of two are extreme as well, and drawn ones: 2048 of each."""
    rng, ends = np.random.default_rng(0), [np.iinfo(left), np.iinfo(right)]
    values = [[of.min, of.min + 1, -1 if of.min else 1, 0, 1, of.max] for of in ends]
    pairs = np.repeat(np.array(list(product(*values))), 2, axis=0).T
    drawn = [rng.integers(of.min, of.max + 1, 2048 - pairs.shape[1]) for of in ends]
    factors = zip(pairs, drawn, (left, right), strict=True)
    return [np.concatenate([extreme, others]).astype(kind) for extreme, others, kind in factors]


@pytest.mark.parametrize("target", HOSTS)
@pytest.mark.parametrize("one", [MULTIPLY_ADD_PAIRS, MULTIPLY_ADD_BYTES], ids=lambda one: one.mnemonic)
def test_instructions_mean_what_they_say(one: VectorInstruction, target: str) -> None:
    lanes, size = LANES[target], 2 * one.results
    a, b = extreme_pairs(np.int16, np.int16) if one.results == 1 else extreme_pairs(np.uint8, np.int8)
    wanted = one.meaning(a, b)

    def kernel() -> tirx.PrimFunc:
        with IRBuilder() as made, builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            x, y = (
                builder.arg(name, builder.buffer((2048,), str(of.dtype))) for name, of in zip("xy", (a, b), strict=True)
            )
            z = builder.arg("z", builder.buffer(wanted.shape, str(wanted.dtype)))
            with builder.serial(0, 2048 // (size * lanes)) as i:
                factors = [each[tirx.Ramp(i * size * lanes, 1, size * lanes)] for each in (x, y)]
                result = one.call(builtin_targets()[target], lanes, *factors)
                builder.buffer_store(z, result, [tirx.Ramp(i * one.results * lanes, 1, one.results * lanes)])
        return made.get()

    got = called(kernel(), builtin_targets()[target], a, b, np.zeros_like(wanted))
    assert (got == wanted).all()
    limits = np.iinfo(wanted.dtype)
    assert got.min() == limits.min and got.max() > limits.max // 2  # PMADDWD wraps around, PMADDUBSW saturates


def called(function: tirx.PrimFunc, machine: Target, *arrays: Array) -> Array:
    """The last array, after a function was called on all of them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "k.o").write_bytes(compile_object({"kernel": Built("kernel", function, ())}, machine))
        subprocess.run(["gcc", "-shared", "-o", "k.so", "k.o"], cwd=folder, check=True)
        library = ctypes.CDLL(f"{folder}/k.so")
    library.kernel(*(ctypes.c_void_p(array.ctypes.data) for array in arrays))
    return arrays[-1]


CHANNELS = {"few": [1, 3, 8, 21], "many": [2, 5, 17, 27, 4, 6, 7, 9, 12, 13, 15, 16, 19, 23, 24, 31, 32, 33, 35]}


@pytest.mark.parametrize("target", [*HOSTS[:2], *in_long_runs(*HOSTS[2:])])
@pytest.mark.parametrize("walk", ["few", *in_long_runs("many")])
def test_channels_have_no_cliff(walk: str, target: str) -> None:
    """Any number of channels of the input and of the result goes by the same kernels; so do those of depthwise ones."""

    def make(layers: Integers, x: Value) -> list[Value]:
        return [
            layers.conv(x, out, (3, 3), pads=(1, 1, 1, 1)) if i % 2 else layers.conv(x, out)
            for i, out in enumerate(CHANNELS[walk])
        ]

    graphs = [in_the_middle(make, 9, 5)]
    layers = Integers(1, 1, 5, 5)
    ends = []
    for channels in filter(lambda channels: channels > 1, CHANNELS[walk]):
        wide = layers.conv(layers.x, channels)
        deep = layers.conv(wide, channels, (3, 3), pads=(1, 0, 1, 1), group=channels) if channels >= 4 else wide
        ends.append(layers.conv(deep, 3, (2, 2)))
    graphs.append(layers.graph(*ends))
    for graph in graphs:
        program = check_program(graph, target)
        assert by_words(program)


WINDOWS: dict[str, dict[str, object]] = {
    "strided": {"kernel": (3, 3), "strides": (2, 2), "pads": (0, 1, 1, 0)},
    "dilated": {"kernel": (3, 2), "dilations": (2, 3), "pads": (2, 1, 0, 3)},
    "dilated in rows": {"kernel": (3, 3), "dilations": (3, 1), "strides": (2, 1), "pads": (3, 1, 3, 1)},
    "all border": {"kernel": (5, 7), "pads": (4, 6, 4, 6)},
    "beyond the window": {"kernel": (2, 2), "pads": (3, 0, 0, 4)},
    "whole plane": {"kernel": (9, 9)},
    "one tap in nine": {"kernel": (1, 1), "strides": (3, 3)},
    "one tap, padded": {"kernel": (1, 1), "strides": (2, 3), "pads": (1, 2, 2, 1)},
    "rows alone": {"kernel": (4, 1), "pads": (1, 0, 2, 0)},
    "columns alone": {"kernel": (1, 5), "pads": (0, 2, 0, 2)},
    "rows one by one": {"kernel": (1, 3), "strides": (2, 1), "pads": (0, 1, 0, 1)},
}


@pytest.mark.parametrize("target", [*in_long_runs(*HOSTS[:-1]), *HOSTS[-1:]])
@pytest.mark.parametrize("of", ["int8, few", *in_long_runs("int8, all", "uint8, all")])
def test_windows(target: str, of: str) -> None:
    dtype, _, windows = of.partition(", ")
    zero_point = 5 if dtype == "int8" else 255
    chosen = [window for i, window in enumerate(WINDOWS.values()) if windows == "all" or i % 3 == 1]

    def make(layers: Integers, x: Value) -> list[Value]:
        ends = []
        for window in chosen:
            ends.append(layers.conv(x, 6, zero_point=zero_point, **window))  # type: ignore[arg-type]
            ends.append(layers.conv(x, 12, zero_point=zero_point, group=12, **window))  # type: ignore[arg-type]
            ends.append(layers.conv(x, 6, zero_point=zero_point, group=3, **window))  # type: ignore[arg-type]
        return ends

    check_program(in_the_middle(make, 12, 9, dtype), target)


@pytest.mark.parametrize("target", [*in_long_runs(*HOSTS[:-1]), *HOSTS[-1:]])
def test_strips(target: str) -> None:
    """Planes that scratch holds in parts, of several samples, whose last strip is smaller."""
    layers = Integers(2, 3, 83, 61)
    first = layers.conv(layers.x, 40, (3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    deep = layers.conv(first, 40, (3, 3), pads=(1, 1, 1, 1), group=40)
    strided = layers.conv(deep, 40, (5, 5), strides=(2, 2), pads=(2, 2, 2, 2), group=40)
    graph = layers.graph(layers.conv(first, 5, (3, 3), dilations=(2, 2)), layers.conv(strided, 7), layers.conv(deep, 3))
    program = check_program(graph, target)
    assert by_words(program)


@pytest.mark.parametrize("target", FORMS)
def test_windows_along_one_axis(target: str) -> None:
    layers = Integers(1, 6, 45)
    x = layers.conv(layers.x, 18, (5,), strides=(2,), pads=(2, 1))
    deep = layers.conv(x, 18, (3,), dilations=(2,), pads=(4, 0), group=18)
    program = check_program(layers.graph(layers.conv(deep, 7, (1,)), layers.conv(x, 3, (2,))), target)
    assert by_words(program)


@pytest.mark.parametrize("target", FORMS)
def test_what_is_fused_behind(target: str) -> None:
    """Residuals, which may be in the place of the result, poolings, clamps, sums as they are; rows of a matrix."""
    layers = Integers(1, 9, 8, 8)
    x = layers.conv(layers.x, 21)
    ends: list[Value] = []
    for group in (1, 21):
        y = layers.conv(x, 21, (3, 3), pads=(1, 1, 1, 1), group=group)
        added = layers.scaled(WeightedSum(factors=(1 << 20, -(1 << 19)), offset=1 << 18)(y, x), (), low=-3)
        ends += [layers.conv(added, 4), MaxPool(kernel=(2, 2), strides=(2, 2))(layers.conv(x, 5, (1, 1), group=1))]
        x = added
    weight = layers.rng.integers(-127, 128, (5, 21, 2, 2)).astype(np.int8)
    ends.append(ConvInteger(zero_point=-128)(x, constant(weight), constant(np.arange(5, dtype=np.int32))))
    check_program(layers.graph(*ends), target)
    rows = Integers(3, 5, 31)
    for out in (1, 6, 70):
        weight = rows.rng.integers(-127, 128, (out, 31)).astype(np.int8)
        bias = constant(rows.rng.integers(-9999, 9999, out).astype(np.int32))
        rows.made.append(rows.scaled(LinearInteger(zero_point=7)(rows.x, constant(weight), bias), (out,)))
    check_program(rows.graph(*rows.made), target)


@pytest.mark.parametrize("target", [*in_long_runs(*HOSTS[:-1]), *HOSTS[-1:]])
@pytest.mark.parametrize("dtype", ["int8", *in_long_runs("uint8")])
def test_sums_alone(dtype: str, target: str) -> None:
    """What is scaled for a concatenation, and sums that are broadcast: in vectors, whatever the number of channels."""
    layers = Integers(1, 5, 6, 7, dtype=dtype)
    x, ends = layers.x, list[Value]()
    for channels in (3, 37):
        y = layers.conv(x, channels)
        alone = layers.scaled(WeightedSum(factors=(1,), offset=77)(y), ())
        column = layers.conv(x, channels, (6, 7))
        both = WeightedSum(factors=(1 << 20, -(1 << 19)), offset=1 << 18)(alone, column)
        added = layers.scaled(both, (channels, 1, 1))
        ends += [layers.conv(Concat(axis=1)(alone, y), 2), layers.conv(Concat(axis=1)(added, y), 2), layers.conv(y, 2)]
    rows = check_program(layers.graph(*ends), target).manifest["kernels"]
    assert sum("elementwise_vectors" in row["rule"] for row in rows) == 4


PRODUCTS = [((3, 7, 9), (3, 9, 21)), ((2, 3, 50, 33), (3, 33, 17)), ((101, 6), (6, 3)), ((1, 5), (5, 70))]
"""Of matrices at run time: an odd depth, one that is broadcast, several strips, a single row."""


@pytest.mark.parametrize("target", FORMS)
def test_products_of_run_time_operands(target: str) -> None:
    operands, ends = [], []
    for i, (left, right) in enumerate(PRODUCTS):
        dtype, zero_point = ("int8", -128) if i % 2 else ("uint8", 255)
        a, b = (arg(f"{name}{i}", dtype, shape) for name, shape in (("a", left), ("b", right)))
        sums = MatMulInteger(a_zero_point=zero_point, b_zero_point=7)(a, b)
        ends.append(Requantize(zero_point=9)(sums, constant(np.int32(1 << 30)), constant(np.int32(42 + i % 2))))
        operands += [a, b]
    program = check_program(Fuse()(Graph(tuple(operands), tuple(ends))), target)
    assert all("by_pairs" in row["rule"] or "by_fours" in row["rule"] for row in program.manifest["kernels"])


@pytest.mark.parametrize("target", X86_HOSTS)
def test_the_instructions_are_in_the_code(target: str, tmp_path: Path) -> None:
    """Where LLVM does not see the widths of factors, it multiplies 32 or 64 bits, several times slower."""
    layers = Integers(1, 32, 8, 8)
    x = layers.conv(layers.conv(layers.x, 32), 32, (3, 3), pads=(1, 1, 1, 1))
    y = layers.conv(layers.conv(x, 32, (3, 3), pads=(1, 1, 1, 1), group=32), 32)
    text = disassembly(compile(layers.graph(y), target), tmp_path)
    vex = "" if target == "x86-64-v2" else "v"
    wide = {4: "xmm", 8: "ymm", 16: "zmm"}[LANES[target]]
    for mnemonic in ("pdpbusd" if "vnni" in target else "pmaddwd", "pmuldq"):
        lines = [line for line in text.splitlines() if f"{vex}{mnemonic}" in line.split()]
        assert sum(wide in line for line in lines) > 20, mnemonic
    assert not {f"{vex}{name}" for name in ("pmulld", "pmuludq", "pmullq")} & set(text.split())


def test_what_does_not_suit_goes_another_way() -> None:
    layers = Integers(1, 6, 5, 5, dtype="int8")
    weight = constant(layers.rng.choice(np.array([-1, 1], np.int8), (6, 6, 1, 1)), compact=True)
    bits = ConvInteger()(layers.x, weight, constant(np.zeros(6, np.int32)))
    ends = [layers.scaled(bits, (6, 1, 1)), layers.conv(layers.x, 12, (3, 3), group=6)]
    program = check_program(layers.graph(*ends), HOSTS[-1])
    others = [" ".join(row["others"]) for row in program.manifest["kernels"]]
    assert "stored as" in others[0] and "one channel, and no words" in others[1]


def four_bits(shape: tuple[int, ...], rng: np.random.Generator) -> Value:
    """Weights stored in four bits, many of them the extreme ones."""
    return constant(rng.choice(np.array([-7, -7, -3, 0, 1, 7, 7, 7], np.int8), shape), compact=True)


@pytest.mark.parametrize("target", [*HOSTS[1:2], *in_long_runs(*HOSTS[:1], *HOSTS[2:], "aarch64-dotprod")])
@pytest.mark.parametrize("dtype", ["int8", *in_long_runs("uint8")])
def test_weights_of_four_bits(dtype: str, target: str) -> None:
    """Unpacked at once or in the loop; sums of 16 bits meet their limits where all elements do."""
    rng, ends = np.random.default_rng(0), list[Value]()
    inputs = [arg(f"x{i}", dtype, (1, channels, 6, 7)) for i, channels in enumerate((35, 12))]
    for x, group in zip(inputs, (1, 2), strict=True):
        y = x
        for out, kernel, groups in ((37 * group, 3, group), (37 * group, 3, 37 * group), (9, 1, 1)):
            weight = four_bits((out, int(str(y.type.shape[1])) // groups, kernel, kernel), rng)
            bias = constant(rng.integers(-999, 999, out).astype(np.int32))
            sums = ConvInteger(zero_point=7, group=groups, pads=(kernel // 2,) * 4)(y, weight, bias)
            y = Requantize()(sums, constant(np.int32(1 << 30)), constant(np.int32(38)))
        ends.append(y)
    for rows, depth, out in ((1, 131, 70), (40, 70, 5), (3, 8, 131)):
        inputs.append(arg(f"rows{rows}", dtype, (rows, depth)))
        bias = constant(rng.integers(-999, 999, out).astype(np.int32))
        ends.append(LinearInteger(zero_point=100)(inputs[-1], four_bits((out, depth), rng), bias))
    graph = Fuse()(Graph(tuple(inputs), tuple(ends)))
    program = check_program(graph, target)
    assert by_words(program)
    for extreme in (np.iinfo(dtype).min, np.iinfo(dtype).max):
        feed = {x.node.name: np.full(x.type.static_shape, extreme, dtype) for x in inputs}
        for y, wanted in zip(program.run(*feed.values()), graph(**feed), strict=True):
            assert (y == wanted).all()
