"""The text form of a graph. It prints and parses back; large constants are named by their digest.

    graph tiny(%x: float32[N, 4]) {
      %w = constant @0d5b1c4c0f3ab2d1 : float32[2, 4]
      %b = constant [0.5, -1.0] : float32[2]
      %fc = linear(%x, %w, %b) : float32[N, 2]
      %act = relu(%fc) from "fc", "act" : float32[N, 2]
      return output: %act
    }

Attributes stand in braces, as ``{strides = (2, 2)}``, behind the data of a constant; defaults are left out. ``from``
names the origins if they are not just the node's own name. The body of a fused operator is a nested ``graph``.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.ir.graph import Constant, Graph, Input, Node, Value
from graphopt.ir.op import REGISTRY, Array, Op, frozen
from graphopt.ir.types import Batch, TensorType
from graphopt.records import field_types, fits, type_name

INLINE_ELEMENTS = 4
"""Constants of up to this many elements are printed in full."""

MAX_NESTING = 50
"""How deep brackets and graphs may be nested."""

MAX_TOKENS = 500_000
"""The limit of tokens in a text: some 20,000 nodes."""

PLAIN_NAME = re.compile(r"[A-Za-z_][\w.]*")


def quote(name: str) -> str:
    return name if PLAIN_NAME.fullmatch(name) else json.dumps(name)


def print_graph(graph: Graph, indent: str = "") -> str:
    """The text form of a graph."""
    names = {node: "%" + quote(name) for node, name in graph.names.items()}

    def operand(value: Value) -> str:
        return names[value.node] + (f"#{value.index}" if len(value.node.types) > 1 else "")

    parameters = ", ".join(f"{operand(v)}: {v.type}" for v in graph.inputs)
    lines = [f"graph {quote(graph.name)}({parameters}) {{"]
    for node in graph.nodes:
        if isinstance(node.op, Input):
            continue
        text = f"  {names[node]} = {node.op.name}"
        text += f"({', '.join(map(operand, node.inputs))})" if node.inputs else ""
        text += f" {constant_text(node.op)}" if isinstance(node.op, Constant) else ""
        text += attributes_text(node.op, indent + "  ")
        if node.origins and node.origins != (graph.names[node],):
            text += " from " + ", ".join(map(json.dumps, node.origins))
        lines.append(text + " : " + ", ".join(map(str, node.types)))
    outputs = (f"{quote(n)}: {operand(v)}" for n, v in zip(graph.output_names, graph.outputs, strict=True))
    lines.append("  return " + ", ".join(outputs))
    return ("\n" + indent).join([*lines, "}"])


def constant_text(op: Constant) -> str:
    if op.value.size <= INLINE_ELEMENTS and np.isfinite(op.value.astype(np.float64)).all():
        return json.dumps(op.value.tolist())
    return "@" + op.digest


def attributes_text(op: Op, indent: str) -> str:
    parts = []
    for attribute in dataclasses.fields(op):
        value = getattr(op, attribute.name)
        if isinstance(op, Constant) and value is op.value:
            continue  # it stands in front of them
        if value != attribute.default:
            text = print_graph(value, indent) if isinstance(value, Graph) else repr(value)
            parts.append(f"{attribute.name} = {text}")
    return f" {{{', '.join(parts)}}}" if parts else ""


TOKEN = re.compile(
    r"\s+|(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<number>-?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|inf|nan)(?![\w.]))|(?P<word>[A-Za-z_][\w.]*)|(?P<digest>@[0-9a-f]{16})|(?P<mark>[%#{}()\[\]=:,*])"
)


Upgrade = Callable[[str, dict[str, Any], Sequence[Value]], dict[str, Any]]
"""Upgrades the attributes of an operator with some operands, as written in a text, to its present version."""


class Parser:
    """A recursive-descent parser over the tokens of one text."""

    def __init__(self, text: str, constants: Mapping[str, Array], upgrade: Upgrade) -> None:
        self.constants, self.upgrade, self.depth = constants, upgrade, 0
        self.text, self.position = text, 0
        self.tokens: list[tuple[str, str, int]] = []
        while self.position < len(text):
            match = TOKEN.match(text, self.position)
            if not match:
                raise self.error(f"unexpected character {text[self.position]!r}")
            if match.lastgroup:
                self.tokens.append((match.lastgroup, match.group(), self.position))
            self.position = match.end()
            if len(self.tokens) > MAX_TOKENS:
                raise self.error(f"the text goes on after {MAX_TOKENS:,} tokens")
        self.tokens.append(("end", "", len(text)))
        self.next = 0

    def error(self, message: str) -> InvalidInput:
        at = self.tokens[self.next][2] if hasattr(self, "next") else self.position
        return InvalidInput(message, where=f"line {self.text.count(chr(10), 0, at) + 1} of the graph text")

    def peek(self) -> str:
        return self.tokens[self.next][1]

    def take(self, expected: str | None = None) -> str:
        kind, token, _ = self.tokens[self.next]
        if expected is not None and (token != expected or kind == "string"):
            raise self.error(f"expected {expected!r}, found {token!r}")
        self.next += 1
        return token

    def accept(self, token: str) -> bool:
        if self.peek() != token or self.tokens[self.next][0] == "string":
            return False
        self.next += 1
        return True

    def name(self) -> str:
        kind, token, _ = self.tokens[self.next]
        if kind not in ("string", "word") and not PLAIN_NAME.fullmatch(token):  # inf is a number and a name
            raise self.error(f"expected a name, found {token!r}")
        try:
            name = str(json.loads(token)) if kind == "string" else token
        except ValueError as error:
            raise self.error(f"expected a name, found {token!r}") from error
        self.next += 1
        return name

    def integer(self, token: str) -> int:
        """An integer; Python limits its digits."""
        try:
            return int(token)
        except ValueError as error:
            raise self.error(f"expected an integer, found {token[:20]!r}") from error

    def list_of(self, item: Any, close: str) -> list[Any]:
        """Comma-separated items up to the closing token, which is consumed; a trailing comma is allowed."""
        items = []
        while not self.accept(close):
            items.append(item())
            if self.peek() != close:
                self.take(",")
        return items

    def graph(self) -> Graph:
        self.take("graph")
        name = self.name()
        values: dict[str, Node] = {}
        self.take("(")
        inputs = self.list_of(lambda: self.parameter(values), ")")
        self.take("{")
        while not self.accept("return"):
            self.statement(values)
        outputs = {}
        while not self.accept("}"):
            key = self.name()
            if key in outputs:
                raise self.error(f"output {key!r} is defined twice")
            self.take(":")
            outputs[key] = self.operand(values)
            self.accept(",")
        return Graph(tuple(inputs), tuple(outputs.values()), tuple(outputs), name)

    def parameter(self, values: dict[str, Node]) -> Value:
        self.take("%")
        name = self.name()
        self.take(":")
        value = Input(type=self.type())(name=name)
        if name in values:
            raise self.error(f"%{name} is defined twice")
        values[name] = value.node
        return value

    def operand(self, values: dict[str, Node]) -> Value:
        self.take("%")
        name = self.name()
        if name not in values:
            raise self.error(f"%{name} is used before it is defined")
        index = self.integer(self.take()) if self.accept("#") else 0
        if not 0 <= index < len(values[name].results):
            raise self.error(f"%{name} has no result {index}")
        return values[name].results[index]

    def statement(self, values: dict[str, Node]) -> None:
        self.take("%")
        name = self.name()
        self.take("=")
        op = self.name()
        if op == Constant.name:
            node = self.constant(name)
        else:
            if op not in REGISTRY:
                raise self.error(f"unknown operator {op!r}")
            inputs = self.list_of(lambda: self.operand(values), ")") if self.accept("(") else []
            attributes = self.attributes()
            origins = self.origins(name)
            try:
                made = self.operator(REGISTRY[op], attributes, inputs)
                node = made.apply(*inputs, name=name, origins=origins)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, GraphoptError) as error:
                # a type rule may assume its number of operands
                raise self.error(f"%{name}: {error}") from error
        self.take(":")
        types = [self.type()]
        while self.accept(","):
            types.append(self.type())
        if tuple(types) != node.types:
            raise self.error(f"%{name} is written as {types[0]}, its operator gives {node.types[0]}")
        if name in values:
            raise self.error(f"%{name} is defined twice")
        values[name] = node

    def operator(self, op: type[Op], attributes: dict[str, Any], inputs: Sequence[Value]) -> Op:
        """An operator with attributes of the right types."""
        attributes = self.upgrade(op.name, attributes, inputs)
        hints = field_types(op)
        for key, value in attributes.items():
            if key not in hints:
                raise TypeError(f"{op.name} has no attribute {key!r}")
            if not fits(value, hints[key]):
                raise TypeError(f"attribute {key} = {value!r} is not of type {type_name(hints[key])}")
            if hints[key] is float:
                attributes[key] = float(value)
        return op(**attributes)

    def constant(self, name: str) -> Node:
        if self.peek().startswith("@"):
            if self.peek()[1:] not in self.constants:
                raise self.error(f"constant {self.peek()} is not among those given")
            data = self.constants[self.take()[1:]]
        else:
            data = self.literal()
        attributes = self.attributes()
        if attributes.keys() - {"compact"} or type(attributes.get("compact", False)) is not bool:
            raise self.error(f"%{name}: a constant is compact or not, it has no other attributes")
        origins = self.origins(name)
        mark = self.next
        self.take(":")
        type_ = self.type()
        self.next = mark
        try:
            with np.errstate(all="ignore"):
                array = np.asarray(data).astype(type_.dtype).reshape(type_.static_shape)
            if not type_.is_float and array.ravel().tolist() != np.ravel(data).tolist():
                raise ValueError("it would lose digits")
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(f"%{name} does not fit {type_}: {error}") from error
        return Constant(value=frozen(array), **attributes).apply(name=name, origins=origins)

    def origins(self, name: str) -> tuple[str, ...]:
        if not self.accept("from"):
            return (name,)
        found = []
        while self.tokens[self.next][0] == "string":
            found.append(self.name())
            self.accept(",")
        return tuple(found)

    def type(self) -> TensorType:
        dtype = self.name()
        self.take("[")
        dims = tuple(self.list_of(self.literal, "]"))
        try:
            if not all(type(d) in (int, Batch) for d in dims):
                raise TypeError("a dimension is an integer or k*N")
            return TensorType(dtype, dims)
        except (TypeError, GraphoptError) as error:
            raise self.error(str(error)) from error

    def attributes(self) -> dict[str, Any]:
        """Attributes in braces, as written; none without braces."""
        return dict(self.list_of(self.attribute, "}")) if self.accept("{") else {}

    def attribute(self) -> tuple[str, Any]:
        key = self.name()
        self.take("=")
        return key, self.literal()

    def literal(self) -> Any:
        """A literal; brackets and graphs count as nesting."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(f"more than {MAX_NESTING} brackets or graphs in one another")
        try:
            return self.value()
        finally:
            self.depth -= 1

    def value(self) -> Any:
        kind, token, _ = self.tokens[self.next]
        if token == "graph" and kind == "word":
            return self.graph()
        if self.accept("("):
            return tuple(self.list_of(self.literal, ")"))
        if self.accept("["):
            return self.list_of(self.literal, "]")
        if self.accept("N"):
            return Batch()
        if kind == "word" and self.tokens[self.next + 1][1] == "[":
            return self.type()
        if kind == "number":
            return self.number(token)
        try:
            found = {"true": True, "false": False}[token] if token in ("true", "false") else ast.literal_eval(token)
        except (ValueError, SyntaxError) as error:
            raise self.error(f"expected a value, found {token!r}") from error
        self.next += 1
        return found

    def number(self, token: str) -> int | float | Batch:
        """A number, or a multiple of N."""
        number = float(token) if re.search(r"[.einfa]", token) else self.integer(token)
        self.next += 1
        if not self.accept("*"):
            return number
        self.take("N")
        if not isinstance(number, int) or number < 1:
            raise self.error(f"{number} is no multiple of N")
        return Batch(number)


def parse(text: str, constants: Mapping[str, Array] | None = None, upgrade: Upgrade | None = None) -> Graph:
    """The graph that a text form describes; ``constants`` maps digests to arrays, as ``Graph.constants`` gives them.

    ``upgrade(operator, attributes, operands)`` gets the attributes as written, from a text of an older version.
    Raises ``InvalidInput`` with the faulty line.
    """
    parser = Parser(text, constants or {}, upgrade or (lambda _, attributes, operands: attributes))
    graph = parser.graph()
    if parser.peek():
        raise parser.error(f"unexpected {parser.peek()!r} after the graph")
    return graph
