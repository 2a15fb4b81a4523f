"""One verb for a model, a graph, a program and a board's program: how good are its outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.agreement import agreement
from graphopt.evaluation.classification import NOT_FINITE
from graphopt.evaluation.engines import Model, engine_of, read_model
from graphopt.evaluation.metrics import Metric, Seen
from graphopt.evaluation.result import Disturbed, Evaluation, Score
from graphopt.evaluation.robustness import fitting
from graphopt.evaluation.samples import Labelled, Prepare, chosen_places
from graphopt.evaluation.table import MetricLike, chosen_metric
from graphopt.evaluation.watch import Watch, joined
from graphopt.evaluation.worst import confusion_of, worst_samples
from graphopt.ir import Array, Graph
from graphopt.passes.data import Data
from graphopt.runtime import Program
from graphopt.targets import Target


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

    Raises ``InvalidInput`` for data, labels or outputs that do not fit each other, and what compiling and running do.
    """
    found = read_model(model)
    source = Labelled(data, labels, input_names(found))
    total, windows, first = counted(source)
    judge = chosen_metric(metric, first, against is not None)
    if windows > 1 and not (judge and judge.windows):
        what = f"{total} labels for {windows} times as many samples"
        raise InvalidInput(what, where="labels", advice="a label for each sample is needed; for windows, anomaly-auc")
    chosen = chosen_places(total, samples)
    engine = engine_of(found, target, len(chosen) * windows)
    other = None if against is None else read_model(against)
    reference = None if other is None else engine_of(other, None, len(chosen) * windows)
    watch = Watch(engine, reference, judge, prepare)
    watch.run(source, chosen)
    seen, both = joined(watch.seen), joined(watch.compared)
    agreed = None
    if against is not None and other is not None and reference is not None:
        own = score_of(judge, joined(watch.wanted))
        agreed = agreement(name_of(against, other), reference.name, both, watch.places, own, worst)
    return Evaluation(
        model=name_of(model, found),
        engine=engine.name,
        samples=len(watch.places),
        available=total,
        score=score_of(judge, seen),
        confusion=confusion_of(seen),
        worst=worst_samples(seen, watch.places, worst),
        against=agreed,
        robustness=disturbed(watch, source, chosen) if robustness else (),
        notes=(*engine.notes, *notes_on(seen, both, len(chosen) - len(watch.places))),
    )


def counted(data: Labelled) -> tuple[int, int, Array | None]:
    """How many labels there are, the samples of each, and the first of them. Raises ``InvalidInput`` without data."""
    parts = [(part.count, part.windows, part.labels) for part in data.parts()]
    if not parts:
        raise InvalidInput("there is no data")
    if len({windows for _, windows, _ in parts}) > 1:
        raise InvalidInput("the batches have different numbers of samples for a label", where="labels")
    return sum(count for count, *_ in parts), parts[0][1], parts[0][2]


def disturbed(watch: Watch, data: Labelled, chosen: Array) -> tuple[Disturbed, ...]:
    """The metric under each disturbance of its inputs. Raises ``InvalidInput`` where it has no labels."""
    if watch.metric is None or data.labels is None:
        raise InvalidInput("it needs labels", where="robustness", advice="give labels (--labels y)")
    rows = []
    for name, disturb in fitting(next(data.parts()).inputs, watch.prepare).items():
        again = Watch(watch.engine, None, watch.metric, watch.prepare, disturb)
        again.run(data, chosen)
        score = score_of(watch.metric, joined(again.seen))
        assert score is not None
        rows.append(Disturbed(name, score))
    return tuple(rows)


def score_of(metric: Metric | None, seen: Seen) -> Score | None:
    """The score of what was seen, with its interval; None of nothing."""
    if metric is None or not seen:
        return None
    found, limits = metric.measured(seen)
    count = len(next(iter(seen.values())))
    low, high, method = (limits.low, limits.high, limits.method) if limits else (None, None, None)
    return Score(metric.name, found, count, low, high, method, metric.unit, metric.better)


def notes_on(seen: Seen, both: Seen, left_out: int) -> list[str]:
    """What one should know of a run."""
    notes = []
    if left_out:
        notes.append(f"{left_out} samples do not fill a batch: left out")
    if "predicted" in seen and (bad := int((seen["predicted"] == NOT_FINITE).sum())):
        notes.append(f"{bad} outputs are not finite: counted as wrong")
    elif both and (bad := int((~np.isfinite(both["noise"])).sum())):
        notes.append(f"the outputs of {bad} samples are not finite, or the reference's are not")
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
