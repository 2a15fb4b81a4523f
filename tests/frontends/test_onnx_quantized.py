"""Quantized ONNX models, as ONNX Runtime's quantizer writes them: imported with their scales, run on integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from oracle import run
from torch import Tensor, nn

import graphopt
from graphopt.ir import Array, Constant, Graph, Input
from graphopt.ops import Dequantize, Quantize
from graphopt.passes import Context, Fuse, Pipeline, default_pipeline
from graphopt.passes.fold import FoldConstants
from graphopt.passes.quantize import LowerInteger

SHAPE = (1, 3, 12, 10)


class Net(nn.Module):
    """Convolutions of each kind, a residual, a concatenation, poolings, a table, a dense layer, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.point = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, stride=2)
        self.dense = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.deep(torch.relu(self.stem(x))))
        z = self.point(x)
        y = torch.cat([x + z, torch.sigmoid(z)], 1)
        y = self.dense(nn.functional.max_pool2d(y, 2).mean((2, 3)))
        return torch.softmax(y, -1), y


def data(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.batches: Iterator[dict[str, Array]] = iter([{name: data(seed)} for seed in range(8)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "net.onnx"
    graphopt.save(graphopt.trace(Net().eval(), torch.zeros(SHAPE)), path)
    return path


def input_name(path: Path) -> str:
    return str(onnx.load(path).graph.input[0].name)


def assert_close(graph: Graph, path: Path) -> None:
    """Softmax to two steps of it, and the layer before to three: roundings of halves differ, and what follows them."""
    for seed in (100, 101):
        (p, y), (p_wanted, y_wanted) = graph(data(seed)), run(path, {input_name(path): data(seed)})
        assert np.abs(p - p_wanted).max() <= 2 / 255 + 1e-6
        assert np.abs(y - y_wanted).max() <= 3 / 128 * np.abs(y_wanted).max()


def float_work(graph: Graph) -> list[str]:
    quiet = (Input, Constant, Quantize, Dequantize)
    return [n.op.name for n in graph.nodes if n.types[0].is_float and not isinstance(n.op, quiet)]


NARROW = [("QInt8", "QInt8"), ("QUInt8", "QInt8"), ("QUInt8", "QUInt8")]
WIDE = [("QInt16", "QInt8"), ("QUInt16", "QUInt8")]
KINDS = [*(("QOperator", *k) for k in NARROW), *(("QDQ", *k) for k in (*NARROW, *WIDE))]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("form", "activations", "weights"), KINDS)
def test_static(
    form: str, activations: str, weights: str, per_channel: bool, float_model: Path, tmp_path: Path
) -> None:
    """Every operator becomes integer, and equals what ONNX Runtime computes in float from the scales in QDQ form."""
    path, twin = tmp_path / "quantized.onnx", tmp_path / "twin.onnx"
    for file, format_ in ((path, form), (twin, "QDQ")):
        quantize_static(
            float_model,
            file,
            Reader(input_name(float_model)),
            quant_format=QuantFormat[format_],
            activation_type=QuantType[activations],
            weight_type=QuantType[weights],
            per_channel=per_channel,
        )
    graph, context = graphopt.load(path), Context()
    small = Pipeline([p for p in default_pipeline() if not isinstance(p, Fuse)])(graph, context)
    declined = [str(n) for n in context.notes if n.pass_name == "lower-integer" and n.declined]
    if "16" in activations:  # tables and softmax are of 8 bits
        assert all("sigmoid" in d or "softmax" in d for d in declined), declined
    else:
        assert not declined
        assert not float_work(small)
    assert_close(small, twin)


def test_dynamic(float_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(float_model, path)
    small = graphopt.optimize(graphopt.load(path))
    wanted = ReferenceEvaluator(str(path)).run(None, {input_name(path): data(3)})
    for got, want in zip(small(data(3)), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_weights_are_not_folded_before_they_are_lowered(float_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    quantize_static(float_model, path, Reader(input_name(float_model)), per_channel=True)
    small = Pipeline([FoldConstants(), LowerInteger()])(graphopt.load(path))
    assert not float_work(small)


def test_the_program_is_integer(float_model: Path, tmp_path: Path) -> None:
    """load, optimize, compile, and nothing else: the C computes on integers what the evaluator does, bit for bit."""
    path = tmp_path / "quantized.onnx"
    quantize_static(float_model, path, Reader(input_name(float_model)), per_channel=True)
    small = graphopt.optimize(graphopt.load(path))
    program = graphopt.compile(small, "cortex-m4", io="float32")
    for got, want in zip(program.run(data(7)), small(data(7)), strict=True):
        np.testing.assert_array_equal(got, want)
