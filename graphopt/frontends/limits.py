"""What an import may take at most. A model of a hundred bytes can ask for terabytes, or for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Constant, Graph, Value

MAX_FILE_BYTES = (1 << 31) - 1
"""Of a model, and of the external data it names: protobuf can hold no more."""
MAX_COMPUTED_BYTES = 512 << 20
"""Of all tensors that are computed at import, what they need on the way included."""
MAX_NODES = 50_000
"""Nodes visited beyond those of the model: bodies of loops and functions count as often as they are written out."""
MAX_POSITIONS = 1 << 22
"""Elements of a table of positions along an axis, as for a resize or a reversal."""


class ImportBudget:
    """What one import has taken so far."""

    def __init__(self, nodes: int) -> None:
        self.bytes, self.nodes = MAX_COMPUTED_BYTES, MAX_NODES + nodes

    def visit(self) -> None:
        """Count a node; raises ``InvalidInput`` when there are too many."""
        self.nodes -= 1
        if self.nodes < 0:
            raise InvalidInput(f"the model writes out to more than {MAX_NODES:,} nodes")

    def take(self, count: int) -> None:
        """Count bytes that are about to be computed; raises ``InvalidInput`` when they are too many."""
        if count > self.bytes:
            raise InvalidInput(f"computing it would take 2^{count.bit_length() - 1} bytes or more", why=why())
        self.bytes -= max(count, 0)

    def take_values(self, values: Sequence[Value]) -> None:
        """The same of all that the values are computed from."""
        nodes = Graph((), tuple(values)).nodes
        self.take(sum(t.nbytes for n in nodes if not isinstance(n.op, Constant) for t in n.types))

    def take_known(self, op: str, inputs: Sequence[Array | None]) -> None:
        """The same of what an operator makes of known tensors, where that is more than they have."""
        given = [i for i in inputs if i is not None]
        count = elements(op, given)
        if count > max((i.size for i in given), default=0):
            self.take(8 * count)


def elements(op: str, given: Sequence[Array]) -> int:
    """The elements of what an operator makes of known tensors, at most; sizes in N count as none."""
    first, *rest = given or [np.zeros(0)]
    sizes = [int(d) for d in (rest or [first])[0].reshape(-1)] if op in SIZED and object not in dtypes(given) else []
    match op:
        case "ConstantOfShape":
            return math.prod(sizes)
        case "Expand":
            return math.prod(np.broadcast_shapes(first.shape, tuple(sizes)))
        case "Tile":
            return first.size * math.prod(sizes)
        case "Range" if len(given) == 3 and given[2].item():
            start, stop, step = (g.item() for g in given)
            count: float = (stop - start) / step
            return math.ceil(count)
        case "Gather" if rest:
            return int(rest[0].size * first.size // min(first.shape)) if first.size and first.shape else 0
        case "Concat":
            return sum(g.size for g in given)
        case _ if op in BROADCAST:
            return math.prod(np.broadcast_shapes(*(g.shape for g in given)))
    return 0


SIZED = frozenset(["ConstantOfShape", "Expand", "Tile"])
BROADCAST = frozenset(["Add", "Div", "Equal", "Max", "Min", "Mul", "Sub", "Sum", "Where"])


def dtypes(arrays: Sequence[Array]) -> set[object]:
    return {object if a.dtype == object else a.dtype for a in arrays}


def why() -> str:
    return f"an import may compute {MAX_COMPUTED_BYTES:,} bytes"


def positions(size: int) -> Array:
    """0, 1, 2 ... up to a size that a model gives; raises ``InvalidInput`` if there are too many."""
    room(size)
    return np.arange(size)


def room(*sizes: int) -> None:
    """Raise ``InvalidInput`` if a table of these sizes is too large."""
    if math.prod(sizes) > MAX_POSITIONS:
        raise InvalidInput(f"a table of {' x '.join(map(str, sizes))} positions", why=f"{MAX_POSITIONS:,} are the most")
