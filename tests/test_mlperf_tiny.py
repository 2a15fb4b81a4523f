"""The four MLPerf Tiny nets from their ONNX files: accuracy against ONNX Runtime, every machine, exact costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from compiling import FLOAT32_BOUND, assert_close

from graphopt import Program, compile, load, optimize
from graphopt.errors import BudgetExceeded
from graphopt.ir import Array, Graph, bind_batch

POINT = 0.001
"""A tenth of a percentage point: what accuracy may differ by from ONNX Runtime's."""


@dataclass(frozen=True)
class Net:
    """A net, its samples as it takes them, the score of its outputs, and the figure that is known for it."""

    file: str
    samples: Callable[[Path], Iterator[Array]]
    score: Callable[[Path, Array], float]
    known: float
    batch: int = 1
    """Samples in one run, where that is faster; ``samples`` gives so many at a time."""
    outliers: float = 0.0
    """The part of all samples that may be off by more than the bound."""


def data(shared: Path, name: str) -> dict[str, Array]:
    with np.load(shared / "data" / name) as file:
        return dict(file)


def kws_samples(shared: Path) -> Iterator[Array]:
    yield from data(shared, "kws.npz")["x"][:, None]


def image_samples(shared: Path) -> Iterator[Array]:
    yield from data(shared, "cifar10_subset.npz")["x"].transpose(0, 3, 1, 2)[:, None].astype("float32")


def person_samples(shared: Path) -> Iterator[Array]:
    for image in data(shared, "person_96.npz")["x"]:
        yield np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype("float32") / np.float32(255)


def sound_samples(shared: Path) -> Iterator[Array]:
    """The 196 windows of 5 frames of each clip."""
    for clip in data(shared, "machine_sound.npz")["x"].astype("float32"):
        windows = np.lib.stride_tricks.sliding_window_view(clip, 5, axis=0)
        yield np.ascontiguousarray(windows.transpose(0, 2, 1)).reshape(-1, 640)


def accuracy(name: str) -> Callable[[Path, Array], float]:
    return lambda shared, y: float((y.argmax(1) == data(shared, name)["y"]).mean())


def area_under_curve(shared: Path, y: Array) -> float:
    """Of the mean squared error of each clip's reconstruction, by ranks."""
    x = np.concatenate(list(sound_samples(shared)))
    errors = ((y - x) ** 2).reshape(200, -1).mean(1)
    anomalous = data(shared, "machine_sound.npz")["y"].astype(bool)
    above = errors[anomalous][:, None] - errors[~anomalous][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


NETS = {
    "kws": Net("kws", kws_samples, accuracy("kws.npz"), 0.913),
    "resnet8": Net("ic_resnet8", image_samples, accuracy("cifar10_subset.npz"), 0.873),
    "vww": Net("vww", person_samples, accuracy("person_96.npz"), 0.863),
    # of 39,200 windows a few are ill-conditioned: against float64, NumPy in float32 is off by up to 1.9e-4 of max|y|
    "ad": Net("ad", sound_samples, area_under_curve, 0.872, batch=196, outliers=0.001),
}


def path_of(shared: Path, name: str) -> Path:
    (found,) = (shared / "models" / "mlperf_tiny").glob(f"{NETS[name].file}*.onnx")
    return found


@cache
def graphs(shared: Path, name: str) -> tuple[Graph, Graph]:
    """A net as it was loaded, and optimised."""
    graph = load(path_of(shared, name))
    return graph, optimize(graph)


@cache
def program(shared: Path, name: str, target: str, batch: int = 1) -> Program:
    return compile(graphs(shared, name)[1], target, batch=batch)


def input_name(graph: Graph) -> str:
    return graph.names[graph.inputs[0].node]


@pytest.mark.parametrize("name", NETS)
def test_is_as_accurate_as_onnx_runtime(name: str, shared: Path) -> None:
    net = NETS[name]
    samples = np.concatenate(list(net.samples(shared)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path_of(shared, name), options, providers=["CPUExecutionProvider"])
    graph = graphs(shared, name)[0]
    wanted = np.concatenate([session.run(None, {input_name(graph): x})[0] for x in net.samples(shared)])
    got = program(shared, name, "host", net.batch).run(samples)
    assert isinstance(got, np.ndarray)
    errors = np.abs(got - wanted).reshape(len(got), -1).max(1) / np.abs(wanted).max()
    assert (errors > FLOAT32_BOUND).mean() <= net.outliers
    ours, theirs = net.score(shared, got), net.score(shared, wanted)
    assert abs(ours - theirs) <= POINT
    assert abs(ours - net.known) <= POINT


def check_on(name: str, target: str, shared: Path, samples: int) -> None:
    """The first samples, against the evaluation of the graph as it was loaded."""
    graph = graphs(shared, name)[0]
    x = np.concatenate([s for s, _ in zip(NETS[name].samples(shared), range(samples), strict=False)])[:samples]
    got = program(shared, name, target).run(x)
    assert_close(bind_batch(graph, samples)(x), [np.asarray(got)], f"{name} on {target}")


@pytest.mark.parametrize("target", ["aarch64", "armv7", "cortex-m7"])
@pytest.mark.parametrize("name", NETS)
def test_runs_on_arm(name: str, target: str, shared: Path) -> None:
    check_on(name, target, shared, samples=3)


LITTLE = [("kws", t) for t in ("cortex-m0", "cortex-m3", "cortex-m33")] + [("ad", "cortex-m0")]
REST = [(n, t) for n in NETS for t in ("cortex-m0", "cortex-m3", "cortex-m33") if (n, t) not in LITTLE]


@pytest.mark.parametrize(("name", "target"), LITTLE)
def test_runs_on_small_microcontrollers(name: str, target: str, shared: Path) -> None:
    check_on(name, target, shared, samples=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), REST)
def test_runs_on_every_microcontroller(name: str, target: str, shared: Path) -> None:
    check_on(name, target, shared, samples=1)


@pytest.mark.parametrize("name", ["kws", "resnet8"])
def test_runs_on_cortex_m55(name: str, shared: Path) -> None:
    check_on(name, "cortex-m55", shared, samples=1)


@pytest.mark.parametrize("name", ["vww", "ad"])
def test_weights_beyond_the_flash_of_cortex_m55_are_refused(name: str, shared: Path) -> None:
    with pytest.raises(BudgetExceeded, match=r"bytes of weights, the emulated mps3-an547 has 524,288 of flash"):
        check_on(name, "cortex-m55", shared, samples=1)


INSTRUCTIONS = {"kws": 6_820_000, "resnet8": 21_800_000, "vww": 15_900_000, "ad": 610_000}
"""At most so many on Cortex-M4 for one inference; fewer is fine, and a reason to lower the figure."""

ONNX2C = {"kws": 19_900_000, "resnet8": 119_900_000, "vww": 54_100_000, "ad": 1_340_000}
"""What onnx2c takes for the same nets at -O3."""


@pytest.mark.parametrize("name", NETS)
def test_instructions_on_cortex_m4(name: str, shared: Path) -> None:
    x = next(NETS[name].samples(shared))[:1]
    result = program(shared, name, "cortex-m4").measure([x])
    assert_close(graphs(shared, name)[0](x), result.outputs[0], name)
    assert result.instructions is not None
    assert result.instructions <= INSTRUCTIONS[name] < ONNX2C[name]
