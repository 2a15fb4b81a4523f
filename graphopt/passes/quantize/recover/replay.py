"""Evaluate a graph node by node on all batches, with replaced operands where asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, match_inputs
from graphopt.ir.evaluate import batch_of
from graphopt.passes.data import Data, batches


class Replay:
    """The arrays of a graph's values, each a list over the batches; arrays without further readers are dropped."""

    def __init__(self, graph: Graph, data: Data) -> None:
        given = [match_inputs(graph, batch) for batch in batches(data, graph)]
        self.graph = graph
        self.sizes = [batch_of(arrays, graph) for arrays in given]
        self.arrays: dict[Value, list[Array]] = {v: [arrays[v] for arrays in given] for v in graph.inputs}
        self.readers = Counter(v for node in graph.nodes for v in node.inputs) + Counter(graph.outputs)

    def results(self, node: Node, operands: Mapping[int, Array] | None = None) -> list[Array]:
        """The first result of a node, batch by batch, with some operands replaced; its inputs must have run."""
        return [r[0] for r in self.evaluated(node, operands or {})]

    def run(self, node: Node, operands: Mapping[int, Array] | None = None) -> list[Array]:
        """The same, but all results are stored for their readers."""
        if node.results[0] not in self.arrays:
            results = self.evaluated(node, operands or {})
            self.arrays.update({v: [r[v.index] for r in results] for v in node.results})
        first = self.arrays[node.results[0]]
        for value in node.inputs:
            self.readers[value] -= 1
        for value in (*node.inputs, *node.results):
            if not self.readers[value]:
                self.arrays.pop(value, None)
        return first

    def outputs_with(self, node: Node, operands: Mapping[int, Array]) -> list[Array]:
        """The graph's outputs, flat over all batches, with some operands of the next node replaced."""
        fork = copy(self)
        fork.arrays, fork.readers = dict(self.arrays), Counter(self.readers)
        fork.run(node, operands)
        for later in self.graph.nodes[self.graph.nodes.index(node) + 1 :]:
            fork.run(later)
        return [np.concatenate([a.ravel() for a in fork.arrays[v]]) for v in self.graph.outputs]

    def evaluated(self, node: Node, operands: Mapping[int, Array]) -> list[tuple[Array, ...]]:
        """All results, batch by batch."""
        made = []
        for batch, size in enumerate(self.sizes):
            inputs = [operands[i] if i in operands else self.arrays[v][batch] for i, v in enumerate(node.inputs)]
            results = node.op.bind(size).evaluate(*inputs)
            made.append(results if isinstance(results, tuple) else (results,))
        return made


class Reference:
    """The first results of a graph's nodes, by name. Ask for each once, best in the order of the graph."""

    def __init__(self, graph: Graph, data: Data, wanted: set[str]) -> None:
        self.wanted = wanted & set(graph.names.values())
        self.passed: dict[str, list[Array]] = {}
        self.stream = self.results(Replay(graph, data))

    def results(self, replay: Replay) -> Iterator[tuple[str, list[Array]]]:
        for node in replay.graph.nodes:
            arrays = replay.run(node)
            if (name := replay.graph.names[node]) in self.wanted:
                yield name, arrays

    def of(self, name: str) -> list[Array] | None:
        """The result of the node of that name, batch by batch; None if there is no such node."""
        if name not in self.wanted:
            return None
        while name not in self.passed:
            key, arrays = next(self.stream)
            self.passed[key] = arrays
        return self.passed.pop(name)
