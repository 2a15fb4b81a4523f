"""Convolutions that read bytes, as they are or through tables: the integers of the operators, whole and by rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tagged import run_tagged
from targets.test_dsp_kernels import bias, scaled

import graphopt
from graphopt import Port
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import ChannelLookup, Concat, ConvInteger, FlipSign, Lookup
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.absorb_bytes import absorb_bytes
from graphopt.targets.ports import PortOptions
from graphopt.targets.prepared import with_taking

READING = ("cortex-m0", "cortex-m3", "cortex-m4")
"""The cores whose first layers read bytes; vectors of Cortex-M55 flip bits as fast as they are copied."""


@dataclass(frozen=True)
class First:
    """A first layer: channels of the input, of the result, the window, strides, padding, and groups."""

    channels: int
    outputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    zero_point: int = -128
    size: tuple[int, int] = (9, 11)

    def of(self, rng: np.random.Generator, x: Value) -> Value:
        shape = self.outputs, self.channels // self.group, *self.kernel
        weight = constant(rng.integers(-127, 128, shape).astype(np.int8))
        op = ConvInteger(strides=self.strides, pads=self.pads, group=self.group, zero_point=self.zero_point)
        return scaled(rng, op(x, weight, bias(rng, self.outputs)))

    def net(self, front: str = "flip_sign") -> Graph:
        x = arg("x", "uint8", (1, self.channels, *self.size))
        y = self.of(np.random.default_rng(0), fronted(front, x))
        return Fuse()(Graph((x,), (y,), ("y",)))

    def sample(self) -> Array:
        return np.random.default_rng(1).integers(0, 256, (1, self.channels, *self.size)).astype(np.uint8)


FIRST = {
    "strided": First(3, 8, (3, 3), (2, 2), (0, 0, 1, 1)),
    "one channel": First(1, 7, (5, 4), (1, 2), (2, 1, 2, 1), zero_point=3),
    "two channels": First(2, 5, (3, 3), pads=(1, 1, 1, 1), zero_point=127, size=(40, 37)),
    "four channels": First(4, 6, (3, 3), pads=(1, 2, 1, 2), zero_point=-1),
    "patches": First(3, 9, (4, 4), (4, 4), (0, 1, 3, 0), size=(12, 13)),
    "wide windows": First(3, 5, (7, 7), (2, 2), (3, 3, 3, 3), zero_point=-7),
    "five channels": First(5, 6, (2, 3), pads=(1, 1, 0, 1)),
    "groups": First(4, 6, (3, 3), pads=(1, 1, 1, 1), group=2),
    "depthwise": First(3, 3, (3, 3), pads=(1, 1, 1, 1), group=3, zero_point=9),
    "depthwise in twos": First(4, 4, (3, 2), (2, 1), (1, 0, 1, 1), group=4, size=(19, 14)),
    "depthwise down": First(2, 2, (5, 1), pads=(2, 0, 2, 0), group=2),
    "a line": First(3, 4, (1, 5), pads=(0, 2, 0, 2), size=(1, 33)),
}


def fronted(front: str, x: Value) -> Value:
    """int8 of bytes, by a function of them."""
    rng = np.random.default_rng(len(front))
    match front:
        case "lookup":
            return Lookup()(x, constant(rng.integers(-128, 128, 256).astype(np.int8)))
        case "channel_lookup":
            tables = rng.integers(-128, 128, (x.type.static_shape[1], 256))
            return ChannelLookup()(x, constant(tables.astype(np.int8)))
        case _:
            return FlipSign()(x)


def last(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def operators(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


@pytest.mark.parametrize(
    ("target", "fronts", "left"),
    [
        *((target, ("flip_sign", "flip_sign"), 0) for target in READING),
        ("cortex-m4", ("lookup", "channel_lookup"), 6),
        ("cortex-m55", ("flip_sign", "lookup"), 18),
    ],
)
def test_first_layers_of_bytes(target: str, fronts: tuple[str, str], left: int) -> None:
    """All in one program, of channels last and in front, are what the operators give.

    So many functions of bytes are kernels of their own: tables in front of windows that are gathered into lines, and on
    Cortex-M55 all but those in front of layers that are none for vectors.
    """
    sides = dict(zip(("last", "front"), fronts, strict=True))
    layers = {f"{name} {side}": (first, sides[side]) for name, first in FIRST.items() for side in sides}
    inputs = [arg(name, "uint8", (1, one.channels, *one.size)) for name, (one, _) in layers.items()]
    rng = np.random.default_rng(0)
    results = tuple(one.of(rng, fronted(f, x)) for (one, f), x in zip(layers.values(), inputs, strict=True))
    graph = Fuse()(Graph(tuple(inputs), results, tuple(f"{name} result" for name in layers)))
    lasts = {name: Port(layout="nhwc") for name in layers if name.endswith("last")}
    program = graphopt.compile(graph, target, ports=lasts)
    samples = [one.sample() for one, _ in layers.values()]
    given = [last(x) if name in lasts else x for name, x in zip(layers, samples, strict=True)]
    (found,) = program.measure(given, count=False).outputs
    for name, got, want in zip(layers, found, graph(*samples), strict=True):
        np.testing.assert_array_equal(got, want, err_msg=name)
    alone = [row["kernel"].startswith(fronts) for row in program.manifest["kernels"]]
    assert sum(alone) == left


@pytest.mark.parametrize("target", READING)
@pytest.mark.parametrize("name", ["strided", "depthwise"])
def test_bytes_cost_what_int8_does(name: str, target: str) -> None:
    """No more instructions of the whole program."""
    first = replace(FIRST[name], size=(40, 36))
    x = arg("x", "int8", (1, first.channels, *first.size))
    signed = Fuse()(Graph((x,), (first.of(np.random.default_rng(0), x),), ("y",)))
    bytes_ = last(first.sample())
    of_bytes, usual = (
        graphopt.compile(graph, target, ports={"x": Port(layout="nhwc")}).measure([given])
        for graph, given in ((first.net(), bytes_), (signed, (bytes_ ^ 128).view(np.int8)))
    )
    np.testing.assert_array_equal(of_bytes.outputs[0][0], usual.outputs[0][0])
    assert of_bytes.instructions is not None and usual.instructions is not None
    assert of_bytes.instructions <= 1.001 * usual.instructions


@pytest.mark.parametrize("target", [*READING, "cortex-m55"])
@pytest.mark.parametrize(
    ("name", "front"), [("strided", "flip_sign"), ("depthwise", "flip_sign"), ("strided", "lookup")]
)
def test_rows_of_bytes_are_pushed(name: str, front: str, target: str) -> None:
    graph, first = two_layers(name, front), FIRST[name]
    ports = {"x": Port(layout="nhwc", push_rows=True), "y": Port(layout="nhwc")}
    program = graphopt.compile(graph, target, ports=ports)
    reads = target in READING if front == "flip_sign" else target == "cortex-m4"
    assert (front in [row["kernel"] for row in program.manifest["kernels"]]) != reads
    (found,) = program.measure([last(first.sample())], count=False).outputs
    np.testing.assert_array_equal(found[0], last(graph(first.sample())[0]))


def two_layers(name: str, front: str) -> Graph:
    rng, first = np.random.default_rng(0), FIRST[name]
    x = arg("x", "uint8", (1, first.channels, *first.size))
    y = First(first.outputs, 3, (3, 3), pads=(1, 1, 1, 1)).of(rng, first.of(rng, fronted(front, x)))
    return Fuse()(Graph((x,), (y,), ("y",)))


@pytest.mark.parametrize(
    ("name", "front", "target"),
    [
        ("strided", "flip_sign", "cortex-m0"),
        ("strided", "channel_lookup", "cortex-m4"),
        ("patches", "flip_sign", "cortex-m4"),
        ("depthwise in twos", "flip_sign", "cortex-m0"),
        ("depthwise in twos", "flip_sign", "cortex-m4"),
    ],
)
def test_results_over_bytes(name: str, front: str, target: str, tmp_path: Path) -> None:
    """Byte by byte: nothing is read that was overwritten."""
    core, options = get_target(target), PortOptions(frozenset("xy"), True, "x")
    graph = absorb_bytes(with_taking(two_layers(name, front), "x"), core, options)
    assert front not in operators(graph)
    assert run_tagged(graph, core, tmp_path, options=options) == ""


def test_what_goes_on_reading_int8() -> None:
    """Where something else reads the flipped bytes, where the kernel takes int8 alone, and for the fewest bytes."""
    rng = np.random.default_rng(0)
    first, core = FIRST["strided"], get_target("cortex-m4")
    x = arg("x", "uint8", (1, 3, 9, 11))
    flipped = FlipSign()(x)
    pointwise = First(4, 8, (1, 1))
    both = first.of(rng, flipped)
    graphs = [Graph((x,), (both, other), ("y", "z")) for other in (Concat(axis=1)(flipped, flipped), flipped)]
    for graph in map(Fuse(), (*graphs, pointwise.net())):
        assert absorb_bytes(graph, core, PortOptions(frozenset("x"))) is graph
    net = first.net()
    assert absorb_bytes(net, replace(core, optimize="size"), PortOptions(frozenset("x"))) is net
