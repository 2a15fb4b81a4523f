"""Optimizers: any of PyTorch's, by default with steps relative to the size of each weight.

Where the inputs are raw (0 to 255, say) the weights of the first layer of a trained net are so small that the usual
step of Adam is a fifth of them. A step that is a part of each weight's own size suits all layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from graphopt.errors import InvalidInput

Group = dict[str, Any]
OptimizerChoice = str | Mapping[str, Any] | Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""The name of a class of ``torch.optim``; a mapping of its ``name`` and options, to which ``relative`` belongs; or a
function from the parameters to an optimizer."""

ADAPTIVE = ("adam", "adamw", "nadam", "radam", "adamax", "rmsprop")
"""The optimizers whose steps are about as large as their learning rate, whatever the gradient."""

RELATIVE = 0.003
"""The part of a weight's size that is its first step, where no learning rate is given."""


def optimizer_of(choice: OptimizerChoice, module: nn.Module, frozen: Sequence[str] = ()) -> torch.optim.Optimizer:
    """The optimizer of the parameters of a module that are trained: those of no name that a ``frozen`` pattern fits.

    An adaptive one for which no ``lr`` is given takes steps of ``relative`` (0.003) times the root mean square of
    each weight. Raises ``InvalidInput`` for an unknown name or option, and for a pattern that fits nothing.
    """
    trained = trained_parameters(module, frozen)
    if not trained:
        raise InvalidInput("the module has no parameter that can be trained", where="optimizer")
    if not isinstance(choice, str | Mapping):
        if not callable(choice):
            raise InvalidInput(f"{choice!r} is no name, mapping or function", where="optimizer")
        made = choice(list(trained.values()))
        if not isinstance(made, torch.optim.Optimizer):
            raise InvalidInput(f"the function gives {made!r}, which is no optimizer", where="optimizer")
        return made
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = str(options.pop("name", "adam"))
    relative = options.pop("relative", RELATIVE if name.lower() in ADAPTIVE and "lr" not in options else None)
    if relative is not None and (name.lower() not in ADAPTIVE or "lr" in options):
        why = f"it is for {', '.join(ADAPTIVE)}, in the place of lr"
        raise InvalidInput("relative steps do not go with that", where="optimizer", why=why)
    kind = optimizer_class(name)
    try:
        groups = [*trained.values()] if relative is None else relative_groups(trained, float(relative))
        return kind(groups, **options)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} does not take that: {error}", where="optimizer") from error


def trained_parameters(module: nn.Module, frozen: Sequence[str]) -> dict[str, nn.Parameter]:
    """The parameters by name, without those that are frozen; raises ``InvalidInput`` for a pattern that fits none."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if isinstance(frozen, str):
        raise InvalidInput(f"{frozen!r} is one pattern", where="frozen", advice=f"give a sequence: ({frozen!r},)")
    for pattern in frozen:
        if not any(fnmatchcase(name, pattern) for name in named):
            why = f"there are {', '.join(list(named)[:8])}{', ...' if len(named) > 8 else ''}"
            raise InvalidInput(f"no parameter has a name like {pattern!r}", where="frozen", why=why)
    return {name: p for name, p in named.items() if not any(fnmatchcase(name, pattern) for pattern in frozen)}


def optimizer_class(name: str) -> Callable[..., torch.optim.Optimizer]:
    known: dict[str, Callable[..., torch.optim.Optimizer]] = {
        n.lower(): kind for n, kind in vars(torch.optim).items() if is_optimizer(kind)
    }
    if name.lower() not in known:
        advice = f"one of {', '.join(sorted(known))}; or a function from parameters to an optimizer"
        raise InvalidInput(f"no optimizer is called {name!r}", where="optimizer", advice=advice)
    return known[name.lower()]


def is_optimizer(kind: Any) -> bool:
    """Whether this is a class of optimizers that step by one gradient."""
    if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
        return False
    return kind not in (torch.optim.Optimizer, torch.optim.LBFGS)


def relative_groups(parameters: Mapping[str, nn.Parameter], relative: float) -> list[Group]:
    """Groups of parameters of about one size, with the learning rate that is this part of it.

    Sizes are rounded to powers of two, for a group a parameter would be slow. What is all zeros, a bias that is yet
    to be learned, goes with the median of the others. Raises ``ValueError`` for a part that is not
    positive.
    """
    if not relative > 0:
        raise ValueError(f"relative {relative} is not positive")
    sizes = {name: float(p.detach().square().mean().sqrt()) for name, p in parameters.items()}
    typical = median([size for size in sizes.values() if size > 0])
    groups: dict[float, Group] = {}
    for name, parameter in parameters.items():
        size = 2.0 ** round(math.log2(sizes[name] or typical))
        groups.setdefault(size, {"params": [], "lr": relative * size})["params"].append(parameter)
    return list(groups.values())


def median(numbers: Iterable[float]) -> float:
    """The upper median; 1 of none."""
    ordered = sorted(numbers)
    return ordered[len(ordered) // 2] if ordered else 1.0
