"""Runs command lines of graphopt, each in a fork of this process: what takes a second to import is imported once.

Gets a list of their words as JSON on standard input, and gives a list of exit code and error output.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import resource
import sys
from multiprocessing.connection import Connection

from worker import LIMIT


def run(words: list[str], answer: Connection) -> None:
    from graphopt.cli import console, main

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    sys.argv = ["graphopt", *words]
    errors, code = io.StringIO(), 0
    console.err.file = errors
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    answer.send((code, errors.getvalue()))


def main() -> None:
    import graphopt.exporters
    import graphopt.targets  # noqa: F401

    forks = multiprocessing.get_context("fork")
    ends = []
    for words in json.load(sys.stdin):
        here, there = forks.Pipe(duplex=False)
        process = forks.Process(target=run, args=(words, there))
        process.start()
        there.close()
        try:
            ends.append(here.recv())
        except EOFError:
            process.join()
            ends.append((process.exitcode, "ended without a word"))
        process.join()
    json.dump(ends, sys.stdout)


if __name__ == "__main__":
    main()
