"""Files of ONNX models: damaged, of another kind, with weights in files beside them."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frontends.onnx_models import IMAGE, W, flattening, floats, ints, make, node
from graphopt.errors import GraphoptError, InvalidInput
from graphopt.frontends import load


@pytest.mark.parametrize("name", ["m.pt", "m.PTH", "m.pt2", "m.pkl"])
def test_torch_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(make([node("Relu")], {"x": IMAGE}).SerializeToString())
    with pytest.raises(InvalidInput, match="export it to ONNX"):
        load(path)


def test_pickles_and_archives_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    for protocol in (2, 3, 4, 5):
        (tmp_path / "model.onnx").write_bytes(pickle.dumps(Evil(), protocol))
        with pytest.raises(InvalidInput, match="file of PyTorch or an archive"):
            load(tmp_path / "model.onnx")
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Evil()))
    with pytest.raises(InvalidInput, match="file of PyTorch or an archive"):
        load(tmp_path / "model.onnx")
    assert not (tmp_path / "executed").exists()


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(InvalidInput, match="no such file"):
            load(str(path))


def test_damaged_files_never_crash(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed, a file loads or is refused: no error of another library gets out."""
    nodes = flattening(helper.make_node("Gemm", ["f", "w"], ["y"]), helper.make_node("Relu", ["x"], ["z"]))
    nodes.insert(-2, helper.make_node("Reshape", ["x", "target"], ["f"]))
    model = make(nodes, {"x": ["N", 2, 2]}, {"axes": ints(0), "minus": ints(-1), "w": floats(4, 2)}, outputs=["y", "z"])
    data = model.SerializeToString()
    path = tmp_path / "model.onnx"
    rng = np.random.default_rng(0)
    damaged = [data[:size] for size in range(0, len(data), 3)]
    for _ in range(400):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            load(path)
        except GraphoptError as error:
            refused += 1
            assert str(error)
    assert refused > len(damaged) // 2


def external(folder: Path, location: str, **entries: Any) -> Path:
    """A model whose weight lies at a location, with its path."""
    model = make([node("Conv", ["x", "w"])], {"x": IMAGE}, {"w": W})
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 8 + W.tobytes() + b"rest")
    graph = load(external(tmp_path, "weights/w.bin", offset=8, length=W.nbytes))
    np.testing.assert_array_equal(graph.node("w").op.value, W)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    with pytest.raises(InvalidInput, match="another file"):
        load(model)


def test_external_data_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    for location in ("../secret.bin", str(secret), "link.bin", "linked/secret.bin", "a/../../secret.bin"):
        with pytest.raises(InvalidInput, match="outside the folder of the model"):
            load(external(folder, location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "none.bin"}, "is missing"),
        ({"location": ""}, "is missing"),
        ({"offset": 8}, "cut short"),
        ({"offset": 10**9}, "cut short"),
        ({"length": 10**9}, "its shape and type take 864"),
        ({"offset": "-1"}, "lies at"),
        ({"length": "x"}, "lies at"),
    ],
)
def test_external_data_malformed(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    with pytest.raises(InvalidInput, match=message):
        load(external(tmp_path, **{"location": "w.bin", **entries}))
