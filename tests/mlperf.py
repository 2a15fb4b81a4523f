"""The four MLPerf Tiny nets: their files, their samples, how they are scored, and how they are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from graphopt import Program, compile, load, optimize
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, Quantize


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


CALIBRATED = {"kws": 100, "vww": 56}
"""How many of the first samples calibrate, and are then not scored; the other nets have data apart."""


def calibration(shared: Path, name: str) -> Array:
    """The samples that a net is calibrated on, as it takes them."""
    if name in CALIBRATED:
        samples = NETS[name].samples(shared)
        return np.concatenate([next(samples) for _ in range(CALIBRATED[name])])
    if name == "resnet8":
        return data(shared, "cifar10_subset.npz")["calib_x"].transpose(0, 3, 1, 2).astype("float32")
    clips = data(shared, "machine_sound.npz")["calib_x"].astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(clips, 5, axis=1)
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 2)).reshape(-1, 640)


@cache
def quantized(shared: Path, name: str, **options: str) -> Graph:
    """A net quantized after training and fused; the defaults are the same for all."""
    return Fuse()(Quantize(calibration=calibration(shared, name), **options)(graphs(shared, name)[0]))


def score_of_split(shared: Path, name: str, outputs: Array) -> float:
    """The score of a net's outputs over all samples, of those that did not calibrate it: a part of 1."""
    if name == "ad":
        return NETS[name].score(shared, outputs)
    labels = data(shared, {"kws": "kws.npz", "resnet8": "cifar10_subset.npz", "vww": "person_96.npz"}[name])["y"]
    first = CALIBRATED.get(name, 0)
    return float((outputs.argmax(1) == labels)[first:].mean())
