"""graphopt's own files: what is saved comes back, old files too, and what is damaged is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import graphopt
from graphopt import storage
from graphopt.errors import InvalidInput
from graphopt.ir import REGISTRY, Array, Batch, Graph, Op, TensorType, arg, constant
from graphopt.ir.types import DTYPES
from graphopt.ops import Add, Identity, Relu
from graphopt.passes import optimize
from graphopt.testing import random_graph
from graphopt.testing.strategies import graphs

OLD = Path(__file__).parent / "data" / "old.gopt"


def round_trip(graph: Graph, folder: Path) -> Graph:
    path = folder / "m.gopt"
    graphopt.save(graph, path)
    return graphopt.load(path)


@given(graph=graphs())
def test_drawn_graphs_come_back(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    back = round_trip(graph, tmp_path_factory.mktemp("drawn"))
    assert str(back) == str(graph)
    assert {k: v.tobytes() for k, v in back.constants.items()} == {k: v.tobytes() for k, v in graph.constants.items()}


def test_the_same_graph_is_the_same_file() -> None:
    weights = (constant(np.arange(n * 100, dtype="float32")) for n in range(1, 5))
    graph = Graph((), tuple(weights))
    assert len(graph.constants) == 4
    assert len({storage.to_bytes(graph) for _ in range(8)}) == 1


def test_fused_graphs_come_back(tmp_path: Path) -> None:
    for seed in range(20):
        graph = optimize(random_graph(seed))
        assert str(round_trip(graph, tmp_path)) == str(graph)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (7, 3)])
def test_constants_of_every_type(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtype)
    (got,) = round_trip(Graph((), (Identity()(constant(data)),)), tmp_path)()
    assert got.dtype == data.dtype and got.shape == shape and (got == data).all()


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    data = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    (got,) = round_trip(Graph((), (Identity()(constant(data)),)), tmp_path)()
    assert got.tobytes() == data.tobytes()


def test_files_are_told_by_their_content(tmp_path: Path) -> None:
    graph = random_graph(1)
    graphopt.save(graph, tmp_path / "m.gopt")
    (tmp_path / "m.gopt").rename(tmp_path / "m.bin")
    assert str(graphopt.load(tmp_path / "m.bin")) == str(graph)


def test_batch_is_bound_and_shapes_are_refused(tmp_path: Path) -> None:
    x = arg("x", "float32", (Batch(), 2))
    graphopt.save(Graph((x,), (Relu()(x),)), tmp_path / "m.gopt")
    assert graphopt.load(tmp_path / "m.gopt", batch=3).inputs[0].type.shape == (3, 2)
    with pytest.raises(InvalidInput, match="for ONNX and TFLite models"):
        graphopt.load(tmp_path / "m.gopt", shapes={"a": 1})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gopt"
    graphopt.save(random_graph(1), path)
    before = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        graphopt.save(random_graph(2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def aged() -> Iterator[type[Op]]:
    """Version 2 of the operator of the old file: a factor instead of percent."""

    class Aged(Op, name="aged", version=2):
        factor: float = 1.0

        def infer(self, *inputs: TensorType) -> TensorType:
            return inputs[0]

        def evaluate(self, *inputs: Array) -> Array:
            return np.asarray(inputs[0] * inputs[0].dtype.type(self.factor))

    yield Aged
    del REGISTRY["aged"]


def test_an_old_file_is_upgraded(aged: type[Op], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="aged of version 1 is no longer known"):
        graphopt.load(OLD)
    monkeypatch.setitem(storage.UPGRADES, ("aged", 1), lambda a: {"factor": a.get("percent", 100) / 100})
    graph = graphopt.load(OLD)
    x = np.ones((3, 2, 4), np.float32)
    (y,) = graph(x)
    w = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 8
    inner = 1.5 * (w.sum(axis=(1, 2)) + np.array([0.5, -0.5]))
    np.testing.assert_allclose(y[:, :, 1], np.tile(inner, (3, 1)), rtol=1e-6)
    assert any(node.op == aged(factor=1.5) for node in graph.nodes)


def changed(**metadata: str | None) -> bytes:
    """A small file with other metadata; None leaves a key out."""
    x = arg("x", "float32", (2,))
    data = storage.to_bytes(Graph((x,), (Add()(x, constant(np.ones(2, np.float32))),)))
    length = int.from_bytes(data[:8], "little")
    known = {**json.loads(data[8 : 8 + length])["__metadata__"], **metadata}
    return save_tensors(load_tensors(data), {k: v for k, v in known.items() if v is not None})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "not a graph"),
        ({"format": None}, "not a graph"),
        ({"version": "2"}, "another graphopt"),
        ({"version": None}, "another graphopt"),
        ({"operators": '{"alien": 1}'}, "unknown operators alien"),
        ({"operators": '{"add": 9}'}, "add is of version 9"),
        ({"operators": '{"add": 0}'}, "add of version 0 is no longer known"),
        ({"operators": "{}"}, "no version is given"),
        ({"operators": "["}, "are damaged"),
        ({"operators": '{"add": "1"}'}, "are damaged"),
        ({"operators": "[" * 100_000}, "are damaged"),
        ({"graph": None}, "expected 'graph'"),
        ({"graph": "graph g() { return }"}, "there are no outputs"),
        ({"graph": " " * (storage.MAX_TEXT + 1)}, "more than"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, metadata: dict[str, str | None], message: str) -> None:
    (tmp_path / "m.gopt").write_bytes(changed(**metadata))
    with pytest.raises(InvalidInput, match=message):
        graphopt.load(tmp_path / "m.gopt")


def test_data_that_does_not_match_its_digest_is_refused(tmp_path: Path) -> None:
    data = bytearray(storage.to_bytes(random_graph(7)))
    data[-3] ^= 1
    (tmp_path / "m.gopt").write_bytes(data)
    with pytest.raises(InvalidInput, match="does not match its digest"):
        graphopt.load(tmp_path / "m.gopt")
