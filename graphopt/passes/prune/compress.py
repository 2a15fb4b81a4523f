"""Sparse weights stored compressed in flash, and decompressed into the workspace when the program runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Graph, Node, Value, constant, rebuild
from graphopt.ops import Conv, Decompress, IntegerProduct, Linear, stored_bytes
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Exact
from graphopt.passes.prune.sparse import compress

LAYERS = (Conv, IntegerProduct, Linear)
WEIGHT = 1


class CompressWeights(Pass, name="compress-weights", contract=Exact()):
    """Store the weights of convolutions and linear layers as a bitmap and the nonzero values.

    This is done where it saves flash; int8 weights need more than an eighth of zeros. It costs workspace, since the
    whole weights are in it while their layer runs. It costs instructions, since no target has a kernel that skips zeros
    and the weights are not packed ahead for the tiled kernels. Run it last, just before ``fuse``: other passes would
    see computed weights.
    """

    tells_users = True

    def run(self, graph: Graph, context: Context) -> Graph:
        made: dict[Value, Value] = {}

        def compressed(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if not isinstance(node.op, LAYERS) or node.inputs[WEIGHT].constant is None:
                return None
            old = node.inputs[WEIGHT]
            made.setdefault(old, self.smaller(old, graph, context))
            if made[old] is old:
                return None
            return node.with_inputs([*inputs[:WEIGHT], made[old], *inputs[WEIGHT + 1 :]]).results

        return rebuild(graph, compressed)

    def smaller(self, weight: Value, graph: Graph, context: Context) -> Value:
        """The decompression of the weight, or the weight itself if that takes no more bytes as it is stored."""
        array = weight.constant
        assert array is not None
        packed, dense, name = compress(array), stored_bytes(weight), graph.names[weight.node]
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
