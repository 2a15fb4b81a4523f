"""Running engines over data, and keeping what metrics need of their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.agreement import compared
from graphopt.evaluation.engines import Engine, common_step
from graphopt.evaluation.metrics import Metric, Observed, Seen
from graphopt.evaluation.robustness import Disturb, changed
from graphopt.evaluation.samples import Labelled, Part, Prepare, batches_of
from graphopt.ir import Array
from graphopt.progress import tell


@dataclass
class Watch:
    """Engines that run side by side, batch by batch, and what was seen of each.

    ``seen`` is of the engine, ``wanted`` of the reference, ``compared`` of both; ``done`` has the places of samples.
    """

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

    def run(self, data: Labelled, chosen: Array) -> None:
        """Run the chosen samples. Raises ``InvalidInput`` if they fill no batch."""
        step = common_step([self.engine, *([self.reference] if self.reference else [])])
        for part, places in batches_of(data, chosen, step, self.engine.chunk):
            tell("sample", sum(map(len, self.done)), len(chosen))
            self.take(replace(part, inputs=self.inputs(part.inputs, places)), places)
            self.done.append(places)
        if not self.done:
            raise InvalidInput(f"{len(chosen)} samples fill no batch of {step}", where="data")

    def inputs(self, given: dict[str, Array], places: Array) -> dict[str, Array]:
        """The inputs of a batch, prepared and disturbed."""
        inputs = given if self.prepare is None else self.prepare(given)
        self.check_integers(inputs)
        if self.disturb is None:
            return inputs
        floats = {name for name, dtype in self.engine.inputs.items() if dtype.startswith("float")}
        return {n: changed(self.disturb, data, places) if n in floats else data for n, data in inputs.items()}

    def check_integers(self, inputs: dict[str, Array]) -> None:
        """Raise ``InvalidInput`` for the integers of a quantized input where others than its program use them too."""
        for name, data in inputs.items():
            taken = self.engine.integers.get(name) == str(data.dtype)
            alike = self.reference is None or self.reference.integers == self.engine.integers
            if taken and (self.disturb is not None or not alike):
                what = f"{data.dtype} are the integers of the program, which nothing else can read"
                raise InvalidInput(what, where=f"input {name!r}", advice="give the data as floats")

    def take(self, part: Part, places: Array) -> None:
        """Run a batch. Without labels the first output of the reference is what is wanted."""
        outputs = self.engine.run(part.inputs)
        labels, wanted = part.labels, None
        if self.reference is not None:
            wanted = self.reference.run(part.inputs)
            self.compared.append(compared(outputs, wanted, part.count))
            labels = wanted[0] if labels is None else labels
        if self.metric is not None:
            self.seen.append(self.metric.observe(Observed(outputs, labels, part.inputs, places)))
            if wanted is not None and part.labels is not None:
                self.wanted.append(self.metric.observe(Observed(wanted, labels, part.inputs, places)))


def joined(seen: list[Seen]) -> Seen:
    """What was seen of all batches."""
    return {name: np.concatenate([part[name] for part in seen]) for name in (seen[0] if seen else ())}
