"""One verb for a model, a graph, a program and a board's program: how good are its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.agreement import agreement, compared
from graphopt.evaluation.classification import NOT_FINITE
from graphopt.evaluation.engines import Engine, Model, common_step, engine_of, read_model
from graphopt.evaluation.metrics import Metric, Observed, Seen
from graphopt.evaluation.result import Disturbed, Evaluation, Score
from graphopt.evaluation.robustness import Disturb, changed, fitting
from graphopt.evaluation.samples import Labelled, Part, Prepare, batches_of, chosen_places
from graphopt.evaluation.table import MetricLike, chosen_metric
from graphopt.evaluation.worst import confusion_of, worst_samples
from graphopt.ir import Array, Graph
from graphopt.passes.data import Data
from graphopt.runtime import Program
from graphopt.targets import Target

Progress = Callable[[int, int], None]
"""Called with the samples that are done and those there are to do."""


def evaluate(
    model: Model,
    data: Data,
    labels: Array | str | None = None,
    *,
    metric: MetricLike = None,
    against: Model | None = None,
    target: str | Target | None = None,
    samples: int | None = None,
    worst: int = 5,
    robustness: bool = False,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """How good the outputs of a model are, by a metric, and how far from those of a reference.

    Args:
        model: a graph, a program, an ONNX or .gopt file, or the folder of an artifact.
        data: arrays whose first axis counts samples, by input name (a lone array for one input), as the model takes
            them; or batches of such, which can be iterated anew. Integers are turned to floats where the model takes
            floats, floats to the integers of a quantized program.
        labels: an array, or the name of one in the data: classes ``[n]`` or ``[n, steps]``, or values of the first
            output's shape. A label may be of several consecutive samples for metrics that say so.
        metric: a name of ``METRICS``, a ``Metric``, or a function from outputs and labels to a number, or to one for
            each sample; by default ``top1`` for whole numbers as labels, ``mse`` for others.
        against: what to compare with, the float graph for one, on the same samples.
        target: what a graph is compiled for; "reference" is the evaluator of graphs. By default a graph is evaluated,
            or, where that takes long, compiled for this machine: ``engine`` of the result says which.
        samples: take only so many, evenly spread.
        worst: how many of the worst samples to name.
        robustness: measure the metric also under noise, blur, other brightness and inputs of 8 bits, each one run more.
        prepare: makes of the inputs of each batch what the model takes: scales images, for one.
        progress: called with the samples done and to do, from time to time.

    Raises ``InvalidInput`` for data, labels or outputs that do not fit each other, and what compiling and running do.
    """
    found = read_model(model)
    source = Labelled(data, labels, input_names(found))
    parts = [(part.count, part.windows, part.labels) for part in source.parts()]
    if not parts:
        raise InvalidInput("there is no data")
    total, windows = sum(count for count, *_ in parts), parts[0][1]
    judge = chosen_metric(metric, parts[0][2], against is not None)
    if windows > 1 and not (judge and judge.windows):
        what = f"{total} labels for {windows} times as many samples"
        raise InvalidInput(what, where="labels", advice="a label for each sample is needed; for windows, anomaly-auc")
    chosen = chosen_places(total, samples)
    engine = engine_of(found, target, len(chosen) * windows)
    reference = None if against is None else read_model(against)
    other = None if reference is None else engine_of(reference, None, len(chosen) * windows)
    run = Run(engine, other, judge, prepare)
    run.watch(source, chosen, progress)
    places = run.places
    seen = joined(run.seen)
    rows = disturbed(run, source, chosen, progress) if robustness else ()
    agreed = None
    if against is not None and reference is not None and other is not None:
        own = score_of(judge, joined(run.wanted))
        agreed = agreement(name_of(against, reference), other.name, joined(run.compared), places, own, worst)
    return Evaluation(
        model=name_of(model, found),
        engine=engine.name,
        samples=len(places),
        available=total,
        score=score_of(judge, seen),
        confusion=confusion_of(seen),
        worst=worst_samples(seen, places, worst),
        against=agreed,
        robustness=rows,
        notes=(*engine.notes, *notes_on(seen, len(chosen) - len(places))),
    )


@dataclass
class Run:
    """Engines that run side by side, batch by batch, and what was seen of each."""

    engine: Engine
    reference: Engine | None
    metric: Metric | None
    prepare: Prepare | None = None
    disturb: Disturb | None = None
    seen: list[Seen] = field(default_factory=list)
    wanted: list[Seen] = field(default_factory=list)
    compared: list[Seen] = field(default_factory=list)
    done: list[Array] = field(default_factory=list)

    @property
    def places(self) -> Array:
        """Those of the samples that ran."""
        return np.concatenate(self.done)

    def watch(self, data: Labelled, chosen: Array, progress: Progress | None = None) -> None:
        """Run the chosen samples. Raises ``InvalidInput`` if they fill no batch."""
        engines = [self.engine, *([self.reference] if self.reference else [])]
        step, chunk = common_step(engines), self.engine.chunk
        for part, places in batches_of(data, chosen, step, chunk):
            inputs = part.inputs if self.prepare is None else self.prepare(part.inputs)
            if self.disturb is not None:
                inputs = {name: changed(self.disturb, data, places) for name, data in inputs.items()}
            self.take(replace(part, inputs=inputs), places)
            self.done.append(places)
            if progress is not None:
                progress(sum(map(len, self.done)), len(chosen))
        if not self.done:
            raise InvalidInput(f"{len(chosen)} samples fill no batch of {step}", where="data")

    def take(self, part: Part, places: Array) -> None:
        outputs = self.engine.run(part.inputs)
        wanted = None
        if self.reference is not None:
            wanted = self.reference.run(part.inputs)
            self.compared.append(compared(outputs, wanted, part.count))
        if self.metric is None:
            return
        relative = part.labels is None and wanted is not None
        labels = wanted[0] if part.labels is None and wanted is not None else part.labels
        self.seen.append(self.metric.observe(Observed(outputs, labels, part.inputs, places)))
        if wanted is not None and not relative:
            self.wanted.append(self.metric.observe(Observed(wanted, labels, part.inputs, places)))


def disturbed(run: Run, data: Labelled, chosen: Array, progress: Progress | None) -> tuple[Disturbed, ...]:
    """The metric of a run under each disturbance of its inputs. Raises ``InvalidInput`` where it has no labels."""
    if run.metric is None or data.labels is None:
        raise InvalidInput("it needs labels", where="robustness", advice="give labels (--labels y)")
    rows = []
    for name, disturb in fitting(next(data.parts()).inputs, run.prepare).items():
        again = Run(run.engine, None, run.metric, run.prepare, disturb)
        again.watch(data, chosen, progress)
        score = score_of(run.metric, joined(again.seen))
        assert score is not None
        rows.append(Disturbed(name, score))
    return tuple(rows)


def joined(seen: list[Seen]) -> Seen:
    """What was seen of all batches."""
    return {name: np.concatenate([part[name] for part in seen]) for name in (seen[0] if seen else ())}


def score_of(metric: Metric | None, seen: Seen) -> Score | None:
    """The score of what was seen, with its interval; None of nothing."""
    if metric is None or not seen:
        return None
    found, limits = metric.score(seen), metric.interval(seen)
    count = len(next(iter(seen.values())))
    low, high, method = (limits.low, limits.high, limits.method) if limits else (None, None, None)
    return Score(metric.name, found, count, low, high, method, metric.unit, metric.better)


def notes_on(seen: Seen, left_out: int) -> list[str]:
    """What one should know of a run."""
    notes = []
    if left_out:
        notes.append(f"{left_out} samples do not fill a batch: left out")
    if "predicted" in seen and (bad := int((seen["predicted"] == NOT_FINITE).sum())):
        notes.append(f"{bad} outputs are not finite: counted as wrong")
    return notes


def input_names(model: Graph | Program) -> list[str]:
    if isinstance(model, Graph):
        return [model.names[value.node] for value in model.inputs]
    return [port["name"] for port in model.manifest["inputs"]]


def name_of(given: Model, model: Graph | Program) -> str:
    """What a model is called in reports: its file, or what it calls itself."""
    if isinstance(given, str | Path):
        return Path(given).name
    return model.name if isinstance(model, Graph) else f"{model.manifest['name']} for {model.manifest['target']}"
