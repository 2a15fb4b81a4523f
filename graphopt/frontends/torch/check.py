"""Whether a traced graph does what the model does, seen on the very inputs that it was traced with.

A trace follows one path through the model. Where the model takes another one for these inputs (for a batch of one, or
by state that no graph has), the graph is right for nobody.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from graphopt import ops
from graphopt.errors import GraphoptError, Unsupported
from graphopt.frontends.torch.example import batched_tensors, evaluating, example_batch, first_line
from graphopt.ir import Array, Graph, worst_difference

BOUNDS = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-9}
"""Of max|y|, by the narrowest float in the graph. torch and numpy add in other orders, which in float32 makes 4e-7
after the 18 layers of a ResNet and 1e-5 at worst in single operators; another path makes far more than that."""
SHAKE = 1e-6
"""Of max|x|: some units in the last place of float32, as what rounding inside the model comes to at its inputs."""
AMPLIFIED = 100
"""A difference may be so many times what shaking the inputs makes of the outputs, and still come of rounding."""


class NotComparable(Exception):
    """The model and its graph cannot be held together; the text says why."""


@dataclass(frozen=True)
class Example:
    """A model, and arguments to run it on. Running it leaves arguments, model and random numbers as they were."""

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    exported: bool = False
    """Whether the model is that of an exported program, which has no other mode than its own."""

    @property
    def tensors(self) -> list[torch.Tensor]:
        return tensors_in((self.args, self.kwargs))

    @property
    def arrays(self) -> list[Array]:
        """The inputs of the graph, in its order."""
        return as_arrays(self.tensors)

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Example:
        """The same model on changed tensors."""

        def leaf(x: Any) -> Any:
            return change(x) if isinstance(x, torch.Tensor) else x

        args, kwargs = _pytree.tree_map(leaf, (self.args, dict(self.kwargs)))
        return Example(self.model, args, kwargs, self.exported)

    def single(self) -> Example | None:
        """The first sample of a batch of several; None of a batch of one."""
        batch = example_batch((self.args, self.kwargs))
        if batch is None or batch == 1:
            return None
        batched = {id(t) for t in batched_tensors((self.args, self.kwargs), batch)}
        return self.changed(lambda t: t[:1] if id(t) in batched else t)

    def outputs(self, runs: int = 1) -> list[list[Array]]:
        """What the model gives, once a run. Raises ``NotComparable`` if it raises."""
        mode = nullcontext() if self.exported else evaluating(self.model)
        try:
            with mode, torch.no_grad(), random_numbers_kept(), state_kept(self.model):
                results = []
                for _ in range(runs):
                    fresh = self.changed(torch.clone)
                    results.append(as_arrays(tensors_in(fresh.model(*fresh.args, **fresh.kwargs))))
                return results
        except Exception as error:  # whatever the user's own code raises
            raise NotComparable(f"the model fails on its example inputs: {first_line(error)}") from error


def checked(graph: Graph, example: Example, fixed: Callable[[], Graph]) -> Graph:
    """The graph if it gives what the model gives on the example; else that of a fixed batch, if that does.

    ``fixed`` makes the graph for the batch of the example. Warns where the batch had to be fixed, where the graph is
    right for the example but not for a batch of one, and where nothing can be compared. Raises ``Unsupported`` if no
    graph gives what the model gives.
    """
    batch = example_batch((example.args, example.kwargs))
    try:
        found = difference(graph, example)
        if found is None:
            if graph.is_symbolic and (other := difference_of_single(graph, example)) is not None:
                advice = "to compile it for one, trace an example of one"
                warn(f"{graph.name}: for a batch of one the graph does not do what the model does: {other}; {advice}")
            return graph
        if graph.is_symbolic and (narrow := agreeing(fixed, example)) is not None:
            reason = f"the model does something else for it than for others; traced for any batch, {found}"
            warn(f"{graph.name}: imported with a fixed batch of {batch}: {reason}")
            return narrow
    except NotComparable as error:
        warn_not_compared(graph.name, error)
        return graph
    raise Unsupported(
        "the traced graph does not give what the model gives on the example inputs",
        where=graph.name,
        why=found,
        advice="the model may branch on what is not traced, as state or the sizes of its inputs; "
        "trace(..., check=False) takes the graph as it is",
    )


def agreeing(make: Callable[[], Graph], example: Example) -> Graph | None:
    """The graph made, if that can be and it gives what the model gives."""
    try:
        graph = make()
    except GraphoptError:
        return None
    return graph if difference(graph, example) is None else None


def difference_of_single(graph: Graph, example: Example) -> str | None:
    """How the graph differs from the model for one sample of several: ``compile`` binds N to one by default."""
    single = example.single()
    try:
        return None if single is None else difference(graph, single)
    except NotComparable:  # a model may need more than one sample
        return None


def difference(graph: Graph, example: Example) -> str | None:
    """How the first output that is not the model's differs; None if they all agree.

    Raises ``NotComparable`` if the model gives other results each time, or hangs on the last bits of its inputs or on
    the order of equal elements.
    """
    (wanted,) = example.outputs()
    try:
        given = evaluated(graph, example)
    except GraphoptError as error:
        return f"it cannot be evaluated: {error.what}"
    if len(given) != len(wanted):
        return f"it has {len(given)} outputs, the model {len(wanted)}"
    for index, (name, got, want) in enumerate(zip(graph.output_names, given, wanted, strict=True)):
        if (got.dtype, got.shape) != (want.dtype, want.shape):
            types = f"{got.dtype}{list(got.shape)}", f"{want.dtype}{list(want.shape)}"
            return f"output {name!r} is {types[0]} where the model gives {types[1]}"
        worst, bound = worst_difference(got, want), bound_of(graph) if want.dtype.kind == "f" else 0.0
        if worst > bound:
            expect_no_ties(graph, example)
            expect_steady(example, index, want, worst, bound)
            return f"output {name!r} differs by {worst:.3g} of max|y|"
    return None


def evaluated(graph: Graph, example: Example) -> tuple[Array, ...]:
    """The outputs of the graph for the example; NaN and infinity are results as others."""
    with np.errstate(all="ignore"):
        return graph(*example.arrays)


def expect_no_ties(graph: Graph, example: Example) -> None:
    """Raise ``NotComparable`` if equal elements are among the first that are picked: torch leaves their order open."""
    picks = [node for node in graph.nodes if isinstance(node.op, ops.TopKIndices | ops.ArgMax | ops.ArgMin)]
    operands = replace(graph, outputs=tuple(node.inputs[0] for node in picks), output_names=())
    for node, data in zip(picks, evaluated(operands, example), strict=True):
        settings = vars(node.op)
        ordered = np.moveaxis(np.sort(data, axis=settings["axis"]), settings["axis"], 0)
        upwards = isinstance(node.op, ops.ArgMin) or not settings.get("largest", True)
        first = (ordered if upwards else ordered[::-1])[: settings.get("k", 1) + 1]
        if (first[1:] == first[:-1]).any():
            raise NotComparable(f"{node.name!r} picks the first of elements that are equal, in an order of its own")


def expect_steady(example: Example, index: int, want: Array, worst: float, bound: float) -> None:
    """Raise ``NotComparable`` if an output of the model moves by itself as much as the graph is away from it."""
    if any(worst_difference(again[index], want) > bound for again in example.outputs(2)):
        raise NotComparable("the model gives other results each time that it is run")
    shaken = [example.changed(shaking(sign)).outputs()[0][index] for sign in (1, -1)]
    moved = max(worst_difference(result, want) for result in shaken)
    if moved > bound and worst <= AMPLIFIED * moved:
        raise NotComparable(f"a change of {SHAKE:.0e} of its inputs changes an output by {moved:.3g} of max|y|")


def shaking(sign: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Moves floats a little up and down by turns, first in the direction given; leaves anything else as it is."""

    def shake(x: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point() or not x.numel():
            return x
        steps = torch.full((x.numel(),), sign * SHAKE * float(x.abs().max()) or sign * SHAKE, device=x.device)
        steps[::2] *= -1
        return x + steps.reshape(x.shape).to(x.dtype)

    return shake


def bound_of(graph: Graph) -> float:
    """The bound of the narrowest float in the graph; 0 where all is integers."""
    dtypes = {t.dtype for node in graph.nodes for t in node.types}
    return max((bound for dtype, bound in BOUNDS.items() if dtype in dtypes), default=0.0)


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def as_arrays(tensors: Sequence[torch.Tensor]) -> list[Array]:
    return [t.detach().cpu().numpy() for t in tensors]


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """The generators of torch, numpy and Python afterwards as they were."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


@contextmanager
def state_kept(model: torch.nn.Module) -> Iterator[None]:
    """The attributes of every module, and the elements of its buffers, afterwards as they were."""
    kept = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    elements = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, attributes, buffers in kept:
            vars(module).clear()
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)
        for buffer, data in elements:
            if not torch.equal(buffer, data):
                buffer.copy_(data)


def warn_not_compared(name: str, reason: object) -> None:
    """Tell the user that nothing is known of how a graph and its model agree."""
    warn(f"{name}: the graph was not compared with the model: {reason}")


def warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # where the user called graphopt.trace on a module
