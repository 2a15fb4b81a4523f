"""Compiles the nets that train.py has stored, says what they cost, and draws what they find.

    python -m examples.camera.deploy camera-run --pictures docs/images

The costs are those of this machine (milliseconds) and of AArch64 (instructions, counted by QEMU's user mode). The
pruned int8 net is written as an artifact for AArch64, after its program has given the same bytes as the graph.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import graphopt
from examples.camera.cells import INPUT, Cells, read_cells
from examples.camera.net import CLASSES, HEIGHT, WIDTH
from examples.camera.report import CALIBRATION, quantized
from graphopt.evaluation.detection import MeanAveragePrecision, decode
from graphopt.ir import Array, Graph

COLOURS = ("#ffd500", "#00c8ff", "#ff3df2")
SHOWN, APART = 0.4, 0.4
"""Detections of so high a score are drawn that overlap no better one by more."""
PLACES = (3, 40)
"""Of the test pictures that are drawn."""
ZOOM = 2
RUNS = 10


def measure(variants: dict[str, Graph], image: Array) -> None:
    """What each net costs on AArch64, and how long it takes here: the fastest of some runs, for others run too."""
    print(graphopt.compare(variants, image, target="aarch64"))
    for name, graph in variants.items():
        program = graphopt.compile(graph, target="host")
        runs = [program.measure({INPUT: image}).seconds for _ in range(RUNS)]
        print(f"{name}: {min(seconds or 0 for seconds in runs) * 1e3:.2f} ms here, in one thread")


def deploy(graph: Graph, image: Array, folder: Path) -> None:
    """Write the program for AArch64. Fails unless it gives what the graph gives, byte for byte."""
    program = graphopt.compile(graph, target="aarch64", name="camera")
    outputs = program.dequantize(*program.measure({INPUT: image}).outputs[0])
    assert all(np.array_equal(*both) for both in zip(outputs, graph(image), strict=True))
    program.save(folder)
    print(f"{folder}: the outputs of the program are those of the graph, byte for byte")


def draw(before: Graph, after: Graph, cells: Cells, file: Path) -> None:
    """Pictures in rows: what is labelled, what the first net finds, what the second finds."""
    chosen = Cells(cells.images[list(PLACES)], cells.boxes[list(PLACES)])
    columns = [labelled(chosen), *(found(graph, chosen) for graph in (before, after))]
    sheet = Image.new("RGB", (len(columns) * WIDTH * ZOOM, len(PLACES) * HEIGHT * ZOOM))
    for x, column in enumerate(columns):
        for y, (image, (boxes, kinds)) in enumerate(zip(chosen.images, column, strict=True)):
            sheet.paste(drawn(image, boxes, kinds), (x * WIDTH * ZOOM, y * HEIGHT * ZOOM))
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file, quality=60, optimize=True)
    print(f"{file}: {file.stat().st_size:,} bytes")


def labelled(cells: Cells) -> list[tuple[Array, Array]]:
    """Corners in pixels and classes of the boxes of each picture."""
    middle, half = (cells.boxes[..., at : at + 2] * (WIDTH, HEIGHT) for at in (1, 3))
    corners = np.concatenate([middle - half / 2, middle + half / 2], -1)
    there = cells.boxes[..., 0] >= 0
    return [(own[t], kinds[t].astype(int)) for own, kinds, t in zip(corners, cells.boxes[..., 0], there, strict=True)]


def found(graph: Graph, cells: Cells) -> list[tuple[Array, Array]]:
    """The same of what a net finds, and the time that thinning out the boxes takes."""
    boxes, scores = decode(graph(cells.images), (HEIGHT, WIDTH))
    thin = MeanAveragePrecision(score=SHOWN, overlap=APART)
    began = time.perf_counter()
    kept = [thin.detections(*own) for own in zip(boxes, scores, strict=True)]
    print(f"non-maximum suppression: {(time.perf_counter() - began) / len(kept) * 1e3:.1f} ms a picture, in numpy")
    return [(corners, kinds) for corners, _, kinds in kept]


def drawn(image: Array, boxes: Array, kinds: Array) -> Image.Image:
    pixels = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels).resize((WIDTH * ZOOM, HEIGHT * ZOOM), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for box, kind in zip(boxes, kinds, strict=True):
        pen.rectangle(np.clip(box * ZOOM, 0, (*picture.size, *picture.size)).tolist(), outline=COLOURS[kind], width=2)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where train.py has stored the run")
    parser.add_argument("--pictures", type=Path, help="a folder for camera.jpg; by default that of the run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cells = read_cells(given.folder / "cells", "test")
    calibration = read_cells(given.folder / "cells", "train").images[:CALIBRATION]
    variants: dict[str, Graph] = {}
    for name in ("further", "half", "quarter"):
        graph = graphopt.load(given.folder / "seed-0" / f"{name}.gopt")
        variants[name] = graphopt.optimize(graph)
        variants[f"{name} int8"] = quantized(graph, calibration)
    measure(variants, cells.images[:1])
    deploy(variants["half int8"], cells.images[:1], given.folder / "half-aarch64")
    print(f"colours: {', '.join(f'{name} {colour}' for name, colour in zip(CLASSES, COLOURS, strict=True))}")
    draw(variants["further"], variants["half int8"], cells, (given.pictures or given.folder) / "camera.jpg")


if __name__ == "__main__":
    main()
