"""Loads every file named on standard input and writes a line of JSON for each: run as a process of its own.

Its address space is limited; a crash of it, a timeout, or an error that is none of graphopt's fails the test.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback

LIMIT = 4 << 30


def rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    import graphopt
    from graphopt.report import cost_of

    for path in [*sys.argv[1:2], *sys.stdin.read().splitlines()]:
        before, started, error = rss(), time.process_time(), ""
        try:
            graph = graphopt.load(path)
            str(graph)
            cost_of(graph)
            outcome = "loaded"
        except graphopt.GraphoptError as refused:
            outcome, error = "refused", str(refused)
        except BaseException:
            outcome, error = "crashed", traceback.format_exc()
        line = {
            "path": path,
            "outcome": outcome,
            "seconds": time.process_time() - started,
            "grown": rss() - before,
            "error": error,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
