"""What is written of one model: its nodes and initializers, and the names of its tensors.

A constant becomes an initializer when a rule first reads it, so that what no rule reads is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.errors import Unsupported
from graphopt.ir import Array, Batch, Constant, Graph, Input, Value
from graphopt.ops import StoredForm, stored_form


class Writer:
    """Collects the nodes and initializers of one model, and the names of its tensors."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.computing = [n for n in graph.nodes if not isinstance(n.op, Input | Constant)]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.tensors: dict[Value, str] = {v: graph.names[v.node] for v in graph.inputs}
        self.made: dict[tuple[Value, str], str] = {}
        self.taken = {*self.tensors.values(), *graph.output_names}
        self.copies: list[tuple[Value, str]] = []
        self.name_outputs()
        self.name_others()

    def name_outputs(self) -> None:
        """Give computed values the names of the outputs they are; what cannot have one is copied at the end."""
        inputs = {name: value for value, name in self.tensors.items()}
        for name, value in zip(self.graph.output_names, self.graph.outputs, strict=True):
            if name in inputs:
                if inputs[name] is not value:
                    raise Unsupported(f"an input and an output are both called {name!r}", where=self.graph.name)
            elif value in self.tensors or isinstance(value.op, Constant):
                self.copies.append((value, name))
            else:
                self.tensors[value] = name

    def name_others(self) -> None:
        """Give a name to every other constant and computed value."""
        for node in (n for n in self.graph.nodes if isinstance(n.op, Constant)):
            self.tensors[node.results[0]] = self.fresh(self.graph.names[node])
        for node in self.computing:
            for value in node.results:
                if value not in self.tensors:
                    part = f".{value.index}" if len(node.results) > 1 else ""
                    self.tensors[value] = self.fresh(self.graph.names[node] + part)

    def fresh(self, wanted: str) -> str:
        """A tensor name that nothing else has."""
        name, count = wanted, 0
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def read(self, value: Value) -> str:
        """The name of a tensor; a constant is stored when it is first read, as float16 if programs do so."""
        if stored_form(value) is StoredForm.HALF:
            return self.widened(value)
        name = self.tensors[value]
        if value.constant is not None and name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value.constant, name)
        return name

    def widened(self, value: Value) -> str:
        """The cast of a constant that is stored as float16, under its name."""
        if (value, "widened") not in self.made:
            stored = self.replaced(value, "float16", lambda data: data.astype(np.float16))
            self.made[value, "widened"] = name = self.fresh(f"{stored}.{value.type.dtype}")
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(value.type.dtype))
            self.add("Cast", [stored], [name], name, {"to": int(dtype)})
        return self.made[value, "widened"]

    def derived(self, value: Value, how: str, make: Callable[[Array], Array]) -> str | None:
        """An initializer made of a constant, under its name if nothing else reads that; None of any other value.

        There is none of a constant that is stored as float16 either, since the file would hold it twice, or wide.
        """
        if value.constant is None or stored_form(value) is StoredForm.HALF:
            return None
        return self.replaced(value, how, make)

    def replaced(self, value: Value, how: str, make: Callable[[Array], Array]) -> str:
        """An initializer made of a constant, under its name if nothing else reads that."""
        if (value, how) not in self.made:
            assert value.constant is not None
            data = np.ascontiguousarray(make(value.constant))
            if self.graph.use_count(value) == 1:
                name = self.tensors[value]
                self.initializers[name] = numpy_helper.from_array(data, name)
            else:
                name = self.initializer(f"{self.tensors[value]}.{how}", data)
            self.made[value, how] = name
        return self.made[value, how]

    def initializer(self, wanted: str, data: Array) -> str:
        name = self.fresh(wanted)
        self.initializers[name] = numpy_helper.from_array(data, name)
        return name

    def add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: dict[str, Any]
    ) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, name, **attributes))

    def batch_source(self) -> tuple[str, int, int]:
        """An input with N in its shape: its name, the axis and the factor."""
        for value in self.graph.inputs:
            for axis, dim in enumerate(value.type.shape):
                if isinstance(dim, Batch):
                    return self.tensors[value], axis, dim.factor
        raise Unsupported("no input has the batch N", where=self.graph.name)
