"""Heartbeats: learned in one place, by patients together, and by patients in few bytes; scored, and told in a table.

    python -m examples.wearable            # all of it; goes on where it was stopped
    python -m examples.wearable --quick    # every step, too short to learn much
    python -m examples.wearable --choose   # accuracy and macro-F1 on the beats held out, to choose settings by

What is done is kept in a folder (``--folder``): networks as ``.gopt``, firmware, figures in ``results.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from examples.results import Results
from examples.wearable.beats import split
from examples.wearable.networks import FULL, QUICK, UPDATES, Networks
from examples.wearable.results import on_board, scores
from examples.wearable.table import printed


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.wearable", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every step, too short to learn much")
    parser.add_argument("--choose", action="store_true", help="score on the beats held out, not on the test")
    parser.add_argument("--folder", type=Path, help="where to keep what is done")
    asked = parser.parse_args()
    schedule = QUICK if asked.quick else FULL
    folder = asked.folder or Path("wearable-quick" if asked.quick else "wearable-run")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    beats = split(schedule.beats)
    networks = Networks(folder, beats, schedule)
    learned = {"central": networks.central, **{kind: lambda kind=kind: networks.together(kind) for kind in UPDATES}}
    if asked.choose:
        for kind, learn in learned.items():
            print(kind, scores(learn().graph, beats.held))
        return
    results = Results(folder / "results.json")
    for kind, learn in learned.items():
        made = learn()
        small = networks.int8(made.graph)
        results.take(f"{kind} cost", lambda told=made.told: told)
        results.take(kind, lambda graph=made.graph: scores(graph, beats.test))
        results.take(f"{kind} int8", lambda graph=small: scores(graph, beats.test))
        results.take(f"{kind} board", lambda graph=small: on_board(graph, beats.test, schedule.board))
    print(printed(results.rows))


if __name__ == "__main__":
    main()
