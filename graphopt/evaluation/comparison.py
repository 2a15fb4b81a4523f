"""Several variants of a model side by side: how good each is, what it costs, and which of them no other beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.driver import evaluate, input_names, name_of
from graphopt.evaluation.engines import Model, program_engine, read_model
from graphopt.evaluation.result import Score
from graphopt.evaluation.samples import Labelled, Prepare
from graphopt.evaluation.table import MetricLike
from graphopt.ir import Array, Graph
from graphopt.ops.macs import count_macs
from graphopt.passes.data import Data
from graphopt.records import to_json
from graphopt.runtime import Program
from graphopt.targets import Target, compile


@dataclass(frozen=True)
class Variant:
    """One variant: its score, and what one inference costs on its target.

    ``macs`` is None for a program, which does not say; ``flash`` is code and weights, ``ram`` the workspace, in bytes;
    ``instructions`` are counted where the target is emulated, ``seconds`` measured where it is this machine. A variant
    is on the ``pareto`` front unless another is as good in all that is known of every variant, and better in some.
    """

    name: str
    target: str
    score: Score | None
    macs: int | None
    flash: int
    ram: int
    instructions: int | None
    seconds: float | None
    pareto: bool = False


@dataclass(frozen=True)
class Variants:
    """The variants in the order in which they were given; printed, a table."""

    variants: tuple[Variant, ...]

    def to_json(self) -> str:
        """As JSON; what is not known is null."""
        return to_json(self)

    def __str__(self) -> str:
        rows = [list(COLUMNS), *([cell(v) for cell in COLUMNS.values()] for v in self.variants)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
            for r in rows
        ]
        return "\n".join(line.rstrip() for line in lines)


COLUMNS: dict[str, Callable[[Variant], str]] = {
    "variant": lambda v: v.name,
    "target": lambda v: v.target,
    "score": lambda v: "" if v.score is None else f"{v.score.metric} {v.score}",
    "MACs": lambda v: counted(v.macs),
    "flash B": lambda v: counted(v.flash),
    "RAM B": lambda v: counted(v.ram),
    "instructions": lambda v: counted(v.instructions),
    "ms": lambda v: "" if v.seconds is None else f"{v.seconds * 1e3:.3f}",
    "Pareto": lambda v: "*" if v.pareto else "",
}


def counted(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def compare(
    variants: Mapping[str, Model] | Sequence[Model],
    data: Data | None = None,
    labels: Array | str | None = None,
    *,
    metric: MetricLike = None,
    target: str | Target = "host",
    samples: int | None = None,
    prepare: Prepare | None = None,
) -> Variants:
    """What each variant scores and costs: graphs, programs, files, folders of artifacts; by name, or in a row.

    Graphs are compiled for the target as they are; programs have theirs. Data, labels, metric, samples and ``prepare``
    are as in ``evaluate``; without labels there is no score. Costs are of one run, on the first of the data, or else on
    random input. Raises what ``evaluate`` and ``compile`` do.
    """
    named = variants if isinstance(variants, Mapping) else by_own_name(variants)
    if not named:
        raise InvalidInput("there is nothing to compare", advice="give two variants or more")
    rows = []
    for name, given in named.items():
        model = read_model(given)
        score = None
        if data is not None and labels is not None:
            found = evaluate(model, data, labels, metric=metric, samples=samples, prepare=prepare, worst=0)
            score = found.score
        program = compile(model, target) if isinstance(model, Graph) else model
        run = program.measure(one_run(program, data, prepare))
        macs = count_macs(model) if isinstance(model, Graph) else None
        size = program.sizes
        costs = macs, size.code + size.weights, size.workspace, run.instructions, run.seconds
        rows.append(Variant(name, program.manifest["target"], score, *costs))
    return Variants(marked(rows))


def by_own_name(variants: Sequence[Model]) -> dict[str, Model]:
    """Variants by what they are called themselves; where that is the same, with a number."""
    named: dict[str, Model] = {}
    for given in variants:
        variant = read_model(given)
        own = name_of(given, variant)
        taken = sum(name == own or name.startswith(f"{own} (") for name in named)
        named[f"{own} ({taken + 1})" if taken else own] = variant
    return named


def one_run(program: Program, data: Data | None, prepare: Prepare | None) -> dict[str, Array]:
    """The inputs of one inference: the first of the data, or else random ones."""
    if data is None:
        rng = np.random.default_rng(0)
        ports = program.manifest["inputs"]
        drawn = {port["name"]: rng.standard_normal(port["shape"]) for port in ports}
        return {p["name"]: drawn[p["name"]].astype("float32" if "scale" in p else p["dtype"]) for p in ports}
    engine = program_engine(program)
    part = next(Labelled(data, None, input_names(program)).parts())
    first = {name: array[: engine.batch] for name, array in part.inputs.items()}
    return {name: engine.taken(name, array) for name, array in (prepare(first) if prepare else first).items()}


def marked(rows: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants, with those on the Pareto front marked."""
    table = [objectives(row) for row in rows]
    known = [i for i, column in enumerate(zip(*table, strict=True)) if not any(map(math.isnan, column))]
    points = [[row[i] for i in known] for row in table]
    return tuple(
        replace(row, pareto=not any(dominates(other, point) for other in points))
        for row, point in zip(rows, points, strict=True)
    )


def objectives(variant: Variant) -> list[float]:
    """What should be small; NaN is not known. Milliseconds are left out, for they are never the same twice."""
    score = math.nan
    if variant.score is not None:
        score = variant.score.value * (-1 if variant.score.better == "higher" else 1)
    costs = variant.macs, variant.flash, variant.ram, variant.instructions
    return [score, *(math.nan if cost is None else cost for cost in costs)]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is as good in all, and better in some."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
