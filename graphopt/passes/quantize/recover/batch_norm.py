"""BatchNorm re-estimation: the statistics of a norm's input after compression replace those of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import BatchNorm
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded
from graphopt.passes.data import Data
from graphopt.passes.quantize.recover.recovery import data_of
from graphopt.passes.quantize.recover.replay import Replay
from graphopt.passes.quantize.unfuse import unfused


class ReestimateBatchNorm(Pass, name="reestimate-batch-norm", contract=Bounded(0.0)):
    """Give each batch norm the mean and variance of its input on the data, one norm after the other.

    For graphs whose norms are not folded: pruned ones, and graphs of quantize and dequantize. The normalized values
    then have mean 0 and variance 1 on the data, as in training. ``calibration`` are batches.
    """

    tells_users = True
    calibration: Data | None = field(default=None, compare=False, repr=False)

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = unfused(graph, context, self.name)
        replay = Replay(graph, data_of(self.calibration, context, self.name))
        new: dict[Node, tuple[Array, Array]] = {}
        for node in graph.nodes:
            if not isinstance(node.op, BatchNorm) or any(v.constant is None for v in node.inputs[3:]):
                replay.run(node)
                continue
            mean, var = statistics(replay.arrays[node.inputs[0]])
            new[node] = mean, var
            replay.run(node, {3: mean, 4: var})
            context.notes.append(Note(self.name, graph.names[node], f"mean and variance of {len(mean)} channels"))

        def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node not in new:
                return None
            parts = [constant(a, like=v) for a, v in zip(new[node], node.inputs[3:], strict=True)]
            return node.with_inputs((*inputs[:3], *parts)).results

        return rebuild(graph, replaced)


def statistics(batches: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and variance [c] along axis 1 over all batches, computed in float64."""
    columns = [np.moveaxis(b, 1, 0).reshape(b.shape[1], -1).astype(np.float64) for b in batches]
    every = np.concatenate(columns, axis=1)
    dtype = batches[0].dtype
    return every.mean(1).astype(dtype), every.var(1).astype(dtype)
