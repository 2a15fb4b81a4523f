"""The shapes that a model file states for its outputs, held against those that it computes.

Only outputs are checked: they are what a caller relies on. The shapes of inner tensors (``value_info``) are often
stale, left by tools that edited the model, or are wrong in good faith: onnx's own shape inference gives a resize by
float32 scales another length than the engines do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from graphopt.errors import InvalidInput
from graphopt.frontends.inputs import is_static
from graphopt.ir import Dim, Shape


def check_outputs(outputs: Sequence[Any], shapes: Sequence[Shape], bound: bool) -> None:
    """Hold the shapes computed to those stated, where both are of plain integers; a stated 0 says nothing.

    ``bound`` says that the caller chose dimensions which the model leaves open, or values of its inputs. What the
    model states may then be of another choice, and a conflict is warned of. Raises ``InvalidInput`` otherwise.
    """
    for tensor, shape in zip(outputs, shapes, strict=True):
        if tensor.shape is None or agree(tensor.shape, shape):
            continue
        what = f"the model states the shape {text(tensor.shape)} and computes {text(shape)}"
        if not bound:
            advice = "correct the operators that compute it, or delete the shape from the model's output"
            raise InvalidInput(what, where=f"output {tensor.name!r}", advice=advice)
        logging.getLogger("graphopt").warning("output %r: %s", tensor.name, what)


def agree(stated: Sequence[object], computed: Shape) -> bool:
    """Whether a stated shape has the rank of a computed one and no other integer than it; N may be any."""
    return len(stated) == len(computed) and not any(
        is_static(s) and s != 0 and isinstance(c, int) and s != c for s, c in zip(stated, computed, strict=True)
    )


def is_bound(inputs: Sequence[Any], shapes: Mapping[str, Shape]) -> bool:
    """Whether a dimension that the model leaves open is a plain integer in the shapes given."""
    if any(tensor.shape is None for tensor in inputs):
        return True
    dims = [pair for tensor in inputs for pair in zip(tensor.shape, shapes[tensor.name], strict=True)]
    return any(not is_static(stated) and isinstance(dim, int) for stated, dim in dims)


def text(shape: Sequence[object | Dim]) -> str:
    """A shape as it is written, with ? for a dimension that is not stated."""
    return f"[{', '.join('?' if d is None else str(d) for d in shape)}]"
