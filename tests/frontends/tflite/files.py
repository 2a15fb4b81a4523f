"""The int8 files of MLPerf Tiny: their samples in the layout of the file, and how their outputs are scored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import graphopt
from frontends.tflite.oracle import Reference
from graphopt import Program
from graphopt.ir import Array, Graph

Samples = tuple[Array, Array]
"""What a model takes, as floats, and what is right."""
FRAMES, CLIP = 5, 196
"""Frames in a window of sound, and windows in a clip."""


def arrays(shared: Path, name: str) -> dict[str, Array]:
    with np.load(shared / "data" / name) as file:
        return dict(file)


def words(shared: Path) -> Samples:
    found = arrays(shared, "kws.npz")
    return found["x"][100:].transpose(0, 2, 3, 1), found["y"][100:]


def pictures(shared: Path) -> Samples:
    found = arrays(shared, "cifar10_subset.npz")
    return found["x"].astype(np.float32), found["y"]


def persons(shared: Path) -> Samples:
    found = arrays(shared, "person_96.npz")
    return found["x"][56:].astype(np.float32) / np.float32(255), found["y"][56:]


def wake_words(shared: Path) -> Samples:
    found = arrays(shared, "sww_windows.npz")
    return found["x"].transpose(0, 2, 3, 1), found["y"]


def sounds(shared: Path) -> Samples:
    """Every window of every clip; what is right is said of clips."""
    found = arrays(shared, "machine_sound.npz")
    windows = np.lib.stride_tricks.sliding_window_view(found["x"].astype(np.float32), FRAMES, axis=1)
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 2)).reshape(-1, FRAMES * 128), found["y"]


def accuracy(x: Array, y: Array, right: Array) -> float:
    return float((y.argmax(1) == right[: len(y)]).mean())


def area_under_curve(x: Array, y: Array, right: Array) -> float:
    """Of the mean squared error of a clip, as the sign of an anomaly; not a number where there is no such clip."""
    scores = ((y - x[: len(y)]) ** 2).mean(1).reshape(-1, CLIP).mean(1)
    right = right[: len(scores)].astype(bool)
    pairs = scores[right][:, None] - scores[~right]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean()) if pairs.size else math.nan


@dataclass(frozen=True)
class File:
    """A file, its samples, its score, and by how much that may differ from LiteRT's."""

    name: str
    samples: Callable[[Path], Samples]
    score: Callable[[Array, Array, Array], float] = accuracy
    bound: float = 0.003

    def allowed(self, count: int) -> float:
        """A third of a point, or one sample."""
        return self.bound if self.score is area_under_curve else max(self.bound, 1 / count) + 1e-9


FILES = {
    "kws": File("kws_int8.tflite", words),
    "ic": File("ic_int8.tflite", pictures),
    "vww": File("vww_int8.tflite", persons),
    "ad": File("ad_int8.tflite", sounds, area_under_curve),
    "sww": File("sww_int8.tflite", wake_words),
}


def path_of(shared: Path, name: str) -> Path:
    return shared / "models" / "mlperf_tiny" / FILES[name].name


@cache
def graph_of(shared: Path, name: str) -> Graph:
    return graphopt.load(path_of(shared, name))


@cache
def program_of(shared: Path, name: str, target: str, batch: int = 1) -> Program:
    return graphopt.compile(graphopt.optimize(graph_of(shared, name)), target, batch=batch)


@dataclass(frozen=True)
class Compared:
    """Scores by LiteRT and by a program, and how far their integers are apart."""

    litert: float
    ours: float
    largest: int
    same: float
    """The part of all outputs that are the same integers."""
    allowed: float


def compared(shared: Path, name: str, count: int | None = None, batch: int = 1) -> Compared:
    """So many first samples through LiteRT and through the program of this machine, which takes and gives int8."""
    file, program = FILES[name], program_of(shared, name, "host", batch)
    x, right = file.samples(shared)
    x = x[:count]
    given, wanted = program.manifest["inputs"][0], program.manifest["outputs"][0]
    steps = np.rint(x / np.float32(given["scale"])) + given["zero_point"]
    integers = np.clip(steps, -128, 127).astype(np.int8)
    reference = Reference(path_of(shared, name).read_bytes())
    theirs = np.concatenate([reference([row[None]])[0] for row in integers])
    parts = [np.asarray(program.run(integers[i : i + batch])) for i in range(0, len(integers), batch)]
    ours = np.concatenate(parts).astype(int)
    apart = np.abs(ours - theirs)

    def score(y: Array) -> float:
        reals = (y.astype(np.float32) - wanted["zero_point"]) * np.float32(wanted["scale"])
        return file.score(x, reals, right)

    return Compared(score(theirs), score(ours), int(apart.max()), float((apart == 0).mean()), file.allowed(len(x)))
