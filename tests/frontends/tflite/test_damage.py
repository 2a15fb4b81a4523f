"""Whatever is done to a TFLite file, loading it ends soon, with a graph or with an error that says why."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tflite
from hostile.test_hostile import load_all

import graphopt
from frontends.tflite.building import made
from frontends.tflite.case import FLOAT, INT8
from frontends.tflite.cases import CASES
from frontends.tflite.damage import mutant
from frontends.tflite.drawing import Drawn, FileTensor, draw
from frontends.tflite.states import lstm, svdf
from graphopt.errors import GraphoptError, Unsupported

CAUGHT = "cannot be read"
"""What the boundary of ``load`` says of errors that should have a message of their own."""


def sources() -> dict[str, bytes]:
    variants = {name: INT8 if INT8 in case.variants else case.variants[0] for name, case in CASES.items()}
    models = {name: made(name, CASES[name], variant).model for name, variant in variants.items()}
    models |= {"svdf": svdf(1, True, True), "lstm": lstm(True)}
    return {f"{name}.tflite": model for name, model in models.items()}


def hold_mutants(folder: Path, seeds: range) -> None:
    known, paths = sources(), []
    for seed in seeds:
        name, data = mutant(seed, known)
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    lines = load_all(paths)
    for line in lines:
        assert CAUGHT not in line["error"], line
    refused = [line["outcome"] for line in lines].count("refused")
    print(f"{len(lines)} mutants: {refused} refused, the others loaded")
    assert refused > len(lines) // 3


def test_mutants(tmp_path: Path) -> None:
    hold_mutants(tmp_path, range(300))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_mutants(tmp_path: Path, part: int) -> None:
    hold_mutants(tmp_path, range(1000 * (part + 1), 1000 * (part + 2)))


def refusal(data: bytes, folder: Path) -> GraphoptError:
    path = folder / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(GraphoptError) as found:
        graphopt.load(path)
    assert str(path) in str(found.value) or found.value.where
    return found.value


def one(tensor: FileTensor, **options: int) -> bytes:
    relu = Drawn("RELU", [tensor.name], ["y"])
    return draw([tensor, FileTensor("y", FLOAT, (1, 4))], [relu], [tensor.name], ["y"])


def test_what_is_no_tflite(tmp_path: Path) -> None:
    assert "identifier" in str(refusal(b"hello, world", tmp_path))
    assert "cut short" in str(refusal(one(FileTensor("x", FLOAT, (1, 4)))[:40], tmp_path))
    assert "identifier" in str(refusal(b"", tmp_path))


def test_one_place_again_and_again(tmp_path: Path) -> None:
    """Thousands of offsets that all lead to one tensor, which has a name of a hundred thousand letters."""
    long, count = FileTensor("x" * 100_000, FLOAT, (1, 4)), 3000
    tensors = [long, *(FileTensor("t", FLOAT, (1, 4)) for _ in range(count)), FileTensor("y", FLOAT, (1, 4))]
    data = bytearray(draw(tensors, [Drawn("RELU", [long.name], ["y"])], [long.name], ["y"]))
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    vector, target = graph._tab.Vector(graph._tab.Offset(4)), graph.Tensors(0)._tab.Pos
    for place in range(vector, vector + 4 * count, 4):
        data[place : place + 4] = struct.pack("<I", target - place)
    assert "again and again" in str(refusal(bytes(data), tmp_path))


def test_everything_unsupported_is_said_at_once(tmp_path: Path) -> None:
    tensors = [FileTensor(name, FLOAT, (1, 4)) for name in ("x", "a", "b", "c", "y")]
    drawn = [
        Drawn("RELU", ["x"], ["a"]),
        Drawn("WHILE", ["a"], ["b"], {}, "WhileOptions"),
        Drawn("custom:MY_OWN", ["b"], ["c"]),
        Drawn("RFFT2D", ["x", "x"], ["y"], {}, "Rfft2dOptions"),
    ]
    error = refusal(draw(tensors, drawn, ["x"], ["c", "y"]), tmp_path)
    assert isinstance(error, Unsupported)
    assert "3 nodes cannot be imported" in str(error)
    for text in ("WHILE", "which operators run depends on data", "custom:MY_OWN", "RFFT2D", "complex numbers"):
        assert text in str(error)


def test_what_is_read_before_it_is_computed(tmp_path: Path) -> None:
    tensors = [FileTensor(name, FLOAT, (1, 4)) for name in ("x", "a", "y")]
    drawn = [Drawn("RELU", ["a"], ["y"]), Drawn("RELU", ["x"], ["a"])]
    assert "used before it is computed" in str(refusal(draw(tensors, drawn, ["x"], ["y"]), tmp_path))


def test_what_is_computed_twice(tmp_path: Path) -> None:
    tensors = [FileTensor(name, FLOAT, (1, 4)) for name in ("x", "y")]
    drawn = [Drawn("RELU", ["x"], ["y"]), Drawn("ABS", ["x"], ["y"], {}, "AbsOptions")]
    assert "computed twice" in str(refusal(draw(tensors, drawn, ["x"], ["y"]), tmp_path))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_are_positive(scale: float, tmp_path: Path) -> None:
    x = FileTensor("x", INT8, (1, 4), None, [scale], [0])
    assert "not a positive number" in str(refusal(one(x), tmp_path))


def test_a_shape_that_the_data_does_not_fit(tmp_path: Path) -> None:
    k = FileTensor("k", FLOAT, (1 << 20, 1 << 20), np.zeros(4))
    tensors = [FileTensor("x", FLOAT, (1, 4)), k, FileTensor("y", FLOAT, (1, 4))]
    drawn = [Drawn("ADD", ["x", "k"], ["y"], {}, "AddOptions")]
    assert "its shape and type take" in str(refusal(draw(tensors, drawn, ["x"], ["y"]), tmp_path))


def test_a_small_file_that_asks_for_much(tmp_path: Path) -> None:
    shape = FileTensor("s", "int32", (2,), np.array([1 << 17, 1 << 17]))
    value = FileTensor("v", FLOAT, (), np.array(1.0))
    tensors = [
        FileTensor("x", FLOAT, (1, 1)),
        shape,
        value,
        FileTensor("a", FLOAT, (1, 1)),
        FileTensor("y", FLOAT, (1, 1)),
    ]
    drawn = [Drawn("FILL", ["s", "v"], ["a"], {}, "FillOptions"), Drawn("ADD", ["x", "a"], ["y"], {}, "AddOptions")]
    assert "bytes" in str(refusal(draw(tensors, drawn, ["x"], ["y"]), tmp_path))
