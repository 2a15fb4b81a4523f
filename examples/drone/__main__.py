"""Teacher, student, distilled student, int8, microcontroller: trained, scored, and told in a table.

    python -m examples.drone            # all of it; goes on where it was stopped
    python -m examples.drone --quick    # every step, too short to learn much

What is done is kept in a folder (``--folder``): networks as ``.gopt``, figures in ``results.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from examples.drone.networks import FULL, QUICK, Networks
from examples.drone.pictures import split
from examples.drone.results import on_board, scores
from examples.drone.table import printed
from examples.results import Results


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.drone", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every step, too short to learn much")
    parser.add_argument("--folder", type=Path, help="where to keep what is done")
    asked = parser.parse_args()
    schedule = QUICK if asked.quick else FULL
    folder = asked.folder or Path("drone-quick" if asked.quick else "drone-run")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    pictures = split()
    train, val = (part.some(schedule.pictures) for part in (pictures.train, pictures.val))
    networks, results = Networks(folder, train, schedule), Results(folder / "results.json")
    results.take("pictures", lambda: {"train": len(train.names), "val": len(val.names), "left out": pictures.left_out})
    results.take("median box", lambda: scores(networks.median_box(), val))
    results.take("teacher", lambda: scores(networks.teacher(), val))
    for seed in range(schedule.seeds):
        for kind in (networks.alone, networks.distilled, networks.int8):
            results.take(f"{kind.__name__} {seed}", lambda kind=kind, seed=seed: scores(kind(seed), val))
        results.take(f"board {seed}", lambda seed=seed: on_board(networks.int8(seed), val, schedule.board_samples))
    print(printed(results.rows))


if __name__ == "__main__":
    main()
