"""The inputs and outputs of a program: which arrays they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.runtime.buffers import Array


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output, ``kind``, of a program; if it is ``batched``, several runs may be one after the other."""

    kind: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    batched: bool

    def runs(self, data: Array) -> int:
        """How many runs of the program an array is for, one at least. Raises ``InvalidInput`` if it does not fit."""
        shape: tuple[int, ...] = data.shape
        if data.dtype == self.dtype:
            if shape == self.shape:
                return 1
            if self.batched and len(shape) == len(self.shape) and shape[1:] == self.shape[1:]:
                runs, rest = divmod(shape[0], self.shape[0])
                if runs and not rest:
                    return runs
        what = f"{data.dtype}{list(shape)} given, {self.dtype}{list(self.shape)} needed"
        raise InvalidInput(what, where=self.where)

    @property
    def where(self) -> str:
        """The port in a message."""
        return f"{self.kind} {self.name!r}"


def ports_of(manifest: Mapping[str, Any], kind: str) -> tuple[Port, ...]:
    """The ports of a program that are each an ``input`` or an ``output``."""
    return tuple(
        Port(kind, p["name"], np.dtype(p["dtype"]), tuple(p["shape"]), manifest["batched"])
        for p in manifest[f"{kind}s"]
    )


def check_count(ports: tuple[Port, ...], given: int) -> None:
    """Raise ``InvalidInput`` unless so many arrays are given as there are ports."""
    if given != len(ports):
        names = ", ".join(port.name for port in ports)
        kind = ports[0].kind if ports else "port"
        raise InvalidInput(f"{given} {kind}s given, {len(ports)} needed: {names}")


def common_runs(ports: tuple[Port, ...], runs: list[int]) -> int:
    """The number of runs that all ports are for; raises ``InvalidInput`` if they differ."""
    if runs and runs.count(runs[0]) < len(runs):
        raise InvalidInput(f"the {ports[0].kind}s have different numbers of samples: {sorted(set(runs))}")
    return runs[0] if runs else 1
