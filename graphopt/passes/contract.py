"""Contracts: what a pass promises about the numbers, and how this is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from graphopt.errors import ContractViolation, GraphoptError
from graphopt.ir import Array, Graph, bind_batch, cast_floats, worst_difference
from graphopt.ir.op import floats_as

Inputs = Mapping[str, Array]
FLOAT64_BOUND = 1e-9


@dataclass(frozen=True)
class Exact:
    """The same IR semantics: equal in float64 to 1e-9 of max|y|, in float32 to ``float32`` of max|y|.

    The bounds allow for reordered float additions. Integer and bool outputs are identical.
    """

    float32: float = 1e-4


@dataclass(frozen=True)
class Close:
    """Equal to ``rtol`` of max|y| plus ``atol``, in float64 and float32 alike."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Bounded:
    """Every output keeps a signal-to-noise ratio of ``decibels``, on the given samples, or else on random inputs.

    The ratio is 10 log10(sum y^2 / sum (y - y')^2) over all elements of an output. Quantization promises this.
    """

    decibels: float


@dataclass(frozen=True)
class Masked:
    """Equal to the masked graph, the old graph whose sums read zeros for removed channels; bounds as in ``Exact``.

    The outputs of the masked graph must also stay the same if the removed weights become random. This finds an index
    map that is wrong in both graphs. Passes with this contract are ``Removing``.
    """

    float32: float = 1e-4


Contract = Exact | Close | Masked | Bounded


class MaskedStep(Protocol):
    """One removal: the small graph, and the old graph with the removed elements masked."""

    def apply(self) -> Graph: ...

    def cast(self, dtype: str) -> MaskedStep:
        """The same removal from the graph with its float32 in ``dtype``."""

    def masked(self, seed: int | None = None) -> Graph:
        """The old graph, masked; with a seed, the removed weights are random."""


@runtime_checkable
class Removing(Protocol):
    """A pass that gives its removals step by step."""

    def removals(self, graph: Graph) -> Iterable[MaskedStep]: ...


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """Normal floats and small integers for every input of a bound graph."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in graph.inputs:
        shape, high = value.type.static_shape, 2 if value.type.dtype == "bool" else 8
        data = rng.standard_normal(shape) if value.type.is_float else rng.integers(0, high, shape)
        arrays[graph.names[value.node]] = np.asarray(data).astype(value.type.dtype)
    return arrays


def check_contract(
    transform: Callable[[Graph], Graph], graph: Graph, contract: Contract, where: str, samples: Sequence[Inputs] = ()
) -> None:
    """Check the contract of a transformation, in float64 and then in float32.

    The inputs are random, for batch 1 and, if the graph is symbolic, 3; in float32 also the given ``samples``.
    Raises ``ContractViolation`` with the output and the size of the difference.
    """
    if isinstance(contract, Bounded):
        check_noise(graph, transform(graph), contract, where, samples)
        return
    if isinstance(contract, Masked):
        if not isinstance(transform, Removing):
            raise ContractViolation("it promises to mask, but does not tell its removals", where=where)
        for step in transform.removals(graph):
            check_masked(step, contract, where, samples)
        return
    for dtype in ("float64", "float32"):
        before = graph if dtype == "float32" else cast_floats(graph, dtype)
        after = transform(before) if dtype == "float32" else in_float64(transform, before)
        bound, atol = bounds(contract, dtype)
        for batch in (1, 3) if graph.is_symbolic else (1,):
            small, large = bind_batch(after, batch), bind_batch(before, batch)
            drawn = [random_inputs(large, seed) for seed in (0, 1)]
            for inputs in [*drawn, *(samples if dtype == "float32" else ())]:
                compare(large, small, inputs, bound, atol, f"{where} in {dtype}, batch {batch}")


def in_float64(transform: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """The result of a transformation on a graph in float64; float32 that the transformation makes is float64 too."""
    try:
        with floats_as("float64"):
            return transform(graph)
    except GraphoptError as error:
        on = "on the copy of the graph in float64 on which a contract is checked"
        raise error.told(why=f"{error.why}; {on}" if error.why else on) from error


def check_noise(graph: Graph, after: Graph, contract: Bounded, where: str, samples: Sequence[Inputs] = ()) -> None:
    """Raise ``ContractViolation`` if an output has a lower signal-to-noise ratio than the contract says."""
    small, large = bind_batch(after, 1), bind_batch(graph, 1)
    runs = [(after(**x), graph(**x)) for x in samples] or [
        (small(**x), large(**x)) for x in (random_inputs(large, seed) for seed in (0, 1))
    ]
    for position, name in enumerate(graph.output_names):
        got, want = (np.concatenate([np.ravel(run[i][position]) for run in runs]) for i in (0, 1))
        if (ratio := signal_to_noise(got, want)) < contract.decibels:
            what = f"output {name!r} has {ratio:.1f} dB of signal to noise, {contract.decibels:.1f} are promised"
            raise ContractViolation(what, where=where)


def signal_to_noise(got: Array, want: Array) -> float:
    """10 log10 of the power of ``want`` over that of the difference; infinite where they are equal."""
    signal = float(np.square(want.astype(np.float64)).sum())
    noise = float(np.square(got.astype(np.float64) - want.astype(np.float64)).sum())
    return float("inf") if not noise else float(10 * np.log10(max(signal, 1e-300) / noise))


def check_masked(step: MaskedStep, contract: Masked, where: str, samples: Sequence[Inputs] = ()) -> None:
    """Check ``Masked`` for one removal, in float64 and float32; the samples are for float32."""
    for dtype in ("float64", "float32"):
        own = step if dtype == "float32" else step.cast(dtype)
        graphs = own.masked(), own.apply(), own.masked(seed=1)
        rtol, atol = bounds(contract, dtype)
        for batch in (1, 3) if graphs[0].is_symbolic else (1,):
            masked, small, drawn = (bind_batch(g, batch) for g in graphs)
            random = [random_inputs(masked, seed) for seed in (0, 1)]
            for inputs in [*random, *(samples if dtype == "float32" else ())]:
                at = f"{where} in {dtype}, batch {batch}"
                with np.errstate(all="ignore"):  # removed values may be anything
                    compare(masked, small, inputs, rtol, atol, at)
                    compare(masked, drawn, inputs, rtol, atol, f"{at}, removed weights drawn anew")


def bounds(contract: Contract, dtype: str) -> tuple[float, float]:
    """The rtol and atol of a contract."""
    if isinstance(contract, Close):
        return contract.rtol, contract.atol
    assert not isinstance(contract, Bounded)
    return (FLOAT64_BOUND, 1e-12) if dtype == "float64" else (contract.float32, 1e-6)


def compare(before: Graph, after: Graph, inputs: Inputs, rtol: float, atol: float, where: str) -> None:
    """Raise ``ContractViolation`` if an output moved by more than ``rtol`` of max|y| plus ``atol``."""
    for name, want, got in zip(before.output_names, before(**inputs), after(**inputs), strict=True):
        error = worst_difference(got, want)
        finite = np.asarray(want, np.float64)[np.isfinite(np.asarray(want, np.float64))]
        scale = float(np.max(np.abs(finite), initial=0.0)) or 1.0
        allowed = rtol + atol / scale if want.dtype.kind == "f" else 0.0
        if error > allowed:
            what = f"output {name!r} moved by {error:.3g} of max|y|, allowed {allowed:.3g}"
            raise ContractViolation(what, where=where)
