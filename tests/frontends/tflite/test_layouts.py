"""Networks of several operators, drawn: images between operators that want channels in front and others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.case import FLOAT
from frontends.tflite.cases_of_layers import CONV, DEPTHWISE, POOL
from frontends.tflite.drawing import Drawn, FileTensor, constant, draw
from frontends.tflite.oracle import Reference
from graphopt import ops
from graphopt.ir import Array, Graph


class Net:
    """Draws a chain of operators on images, with branches that come together again."""

    def __init__(self, seed: int) -> None:
        self.chance, self.random = random.Random(seed), np.random.default_rng(seed)
        self.tensors = [FileTensor("x", FLOAT, (1, 6, 5, 4))]
        self.operators: list[Drawn] = []
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, 6, 5, 4)}

    def constant(self, data: Array) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(FileTensor(name, str(data.dtype), data.shape, data))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.random.uniform(-1, 1, shape).astype(np.float32))

    def add(
        self, op: str, inputs: list[str | None], shape: tuple[int, ...], kind: str | None = None, **options: object
    ) -> str:
        name = f"v{len(self.tensors)}"
        self.tensors.append(FileTensor(name, FLOAT, shape))
        self.shapes[name] = shape
        self.operators.append(Drawn(op, inputs, [name], options, kind))
        return name

    def step(self, x: str) -> str:
        n, h, w, c = shape = self.shapes[x]
        match self.chance.randrange(13):
            case 0:
                parts = [x, self.weights(3, 3, 3, c), self.weights(3)]
                return self.add("CONV_2D", parts, (n, h, w, 3), "Conv2DOptions", **CONV)
            case 1:
                parts = [x, self.weights(1, 3, 3, c), self.weights(c)]
                return self.add("DEPTHWISE_CONV_2D", parts, shape, "DepthwiseConv2DOptions", **DEPTHWISE)
            case 2:
                return self.add("ADD", [x, self.weights(c)], shape, "AddOptions", fusedActivationFunction=1)
            case 3:
                return self.add("MUL", [self.weights(h, 1, 1), x], shape, "MulOptions")
            case 4:
                return self.add("ADD", [x, self.add("TANH", [x], shape)], shape, "AddOptions")
            case 5:
                other = self.add("LOGISTIC", [x], shape)
                return self.add("CONCATENATION", [x, other], (n, h, w, 2 * c), "ConcatenationOptions", axis=3)
            case 6:
                pads = self.constant(np.array([[0, 0], [1, 0], [0, 2], [1, 1]], np.int32))
                return self.add("PAD", [x, pads], (n, h + 1, w + 2, c + 2), "PadOptions")
            case 7:
                perm = self.constant(np.array([0, 2, 1, 3], np.int32))
                return self.add("TRANSPOSE", [x, perm], (n, w, h, c), "TransposeOptions")
            case 8:
                target = self.constant(np.array([1, w, h, c], np.int32))
                return self.add("RESHAPE", [x, target], (n, w, h, c), "ReshapeOptions")
            case 9:
                return self.add("SOFTMAX", [x], shape, "SoftmaxOptions", beta=1.0)
            case 10:
                axis = self.constant(np.array([self.chance.choice((1, 2, 3))], np.int32))
                mean = tuple(1 if a == int(self.tensors[-1].data[0]) else d for a, d in enumerate(shape))  # type: ignore[index]
                kept = self.add("MEAN", [x, axis], mean, "ReducerOptions", keepDims=True)
                return self.add("MAXIMUM", [x, kept], shape, "MaximumMinimumOptions")
            case 11:
                return self.add("MAX_POOL_2D", [x], (n, -(-h // 2), w, c), "Pool2DOptions", **POOL)
            case _:
                return self.add("PRELU", [x, self.weights(1, 1, c)], shape)

    def model(self) -> bytes:
        x = "x"
        for _ in range(self.chance.randrange(3, 9)):
            x = self.step(x)
        if self.chance.random() < 0.5:
            axes = self.constant(np.array(self.chance.choice(([1, 2], [3], [2])), np.int32))
            left = [d for a, d in enumerate(self.shapes[x]) if a not in self.tensors[-1].data]  # type: ignore[operator]
            x = self.add("MEAN", [x, axes], tuple(left), "ReducerOptions", keepDims=False)
        return draw(self.tensors, self.operators, ["x"], [x])


def compare(model: bytes, x: Array, folder: Path) -> Graph:
    """The graph of a model, which gives what LiteRT gives, optimized, too."""
    path = folder / "model.tflite"
    path.write_bytes(model)
    (wanted,) = Reference(model)([x])
    graph = graphopt.load(path)
    for made in (graph, graphopt.optimize(graph)):
        np.testing.assert_allclose(made(x)[0], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    return graph


def check(seed: int, folder: Path) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, (1, 6, 5, 4)).astype(np.float32)
    try:
        compare(Net(seed).model(), x, folder)
    except AssertionError as error:
        raise AssertionError(f"network {seed}") from error


def test_drawn_networks(tmp_path: Path) -> None:
    for seed in range(40):
        check(seed, tmp_path)


@pytest.mark.slow
def test_many_drawn_networks(tmp_path: Path) -> None:
    for seed in range(1000, 2000):
        check(seed, tmp_path)


def test_an_image_beside_a_constant_of_more_axes(tmp_path: Path) -> None:
    tensors = [
        FileTensor("x", FLOAT, (1, 2, 4, 2)),
        constant("w", floats(3, 1, 1, 2)),
        constant("b", floats(3)),
        FileTensor("v", FLOAT, (1, 2, 4, 3)),
        constant("c", floats(1, 1, 2, 4, 3)),
        FileTensor("y", FLOAT, (1, 1, 2, 4, 3)),
    ]
    drawn = [
        Drawn("CONV_2D", ["x", "w", "b"], ["v"], CONV, "Conv2DOptions"),
        Drawn("ADD", ["v", "c"], ["y"], {}, "AddOptions"),
    ]
    compare(draw(tensors, drawn, ["x"], ["y"]), floats(1, 2, 4, 2), tmp_path)


def test_weights_that_are_computed_from_constants(tmp_path: Path) -> None:
    tensors = [
        FileTensor("x", FLOAT, (1, 3, 4, 2)),
        constant("k", floats(3, 1, 1, 2)),
        constant("p", np.array([[0, 0], [1, 0], [0, 0], [0, 0]], np.int32)),
        FileTensor("w", FLOAT, (3, 2, 1, 2)),
        constant("b", floats(3)),
        FileTensor("y", FLOAT, (1, 3, 4, 3)),
    ]
    drawn = [
        Drawn("PAD", ["k", "p"], ["w"], {}, "PadOptions"),
        Drawn("CONV_2D", ["x", "w", "b"], ["y"], CONV, "Conv2DOptions"),
    ]
    graph = compare(draw(tensors, drawn, ["x"], ["y"]), floats(1, 3, 4, 2), tmp_path)
    assert not any(isinstance(n.op, ops.Pad) for n in graph.nodes)


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
