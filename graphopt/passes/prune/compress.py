"""Sparse weights kept compressed in flash, and decompressed into the workspace when the program runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Graph, Node, Value, constant, rebuild
from graphopt.ops import Conv, Decompress, IntegerProduct, Linear
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Exact
from graphopt.passes.prune.sparse import compress

LAYERS = (Conv, IntegerProduct, Linear)
WEIGHT = 1


class CompressWeights(Pass, name="compress-weights", contract=Exact()):
    """Store the weights of convolutions and linear layers as a bitmap and the values that are not zero.

    Done where it saves flash, which int8 does from an eighth of zeros on. It costs workspace, for the weights are whole
    while their layer runs, and instructions: no target has a kernel that skips zeros, and the tiled kernels want their
    weights packed ahead. Run it last, in front of ``fuse``: later passes see weights that are computed.
    """

    tells_users = True

    def run(self, graph: Graph, context: Context) -> Graph:
        made: dict[Value, Value] = {}

        def compressed(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if not isinstance(node.op, LAYERS) or node.inputs[WEIGHT].constant is None:
                return None
            old = node.inputs[WEIGHT]
            made.setdefault(old, self.smaller(old, getattr(node.op, "bits", 8), graph, context))
            if made[old] is old:
                return None
            return node.with_inputs([*inputs[:WEIGHT], made[old], *inputs[WEIGHT + 1 :]]).results

        return rebuild(graph, compressed)

    def smaller(self, weight: Value, bits: int, graph: Graph, context: Context) -> Value:
        """The weight decompressed, or as it is where that takes no fewer bytes than it does, packed."""
        array = weight.constant
        assert array is not None
        packed, dense, name = compress(array), array.nbytes * bits // 8, graph.names[weight.node]
        saves = packed.nbytes < dense
        text = f"{packed.nbytes:,} bytes compressed, {dense:,} as they are"
        context.notes.append(Note(self.name, name, text, declined=not saves))
        if not saves:
            return weight
        values = np.frombuffer(packed.values, array.dtype)
        parts = (
            constant(np.frombuffer(packed.bits, np.uint8), f"{name}.bits"),
            constant(values if values.size else np.zeros(1, array.dtype), f"{name}.values"),
        )
        return Decompress(shape=array.shape)(*parts, name=name, origins=weight.node.origins)
