"""The rule of ONNX Einsum: diagonals and sums of single operands, then matrix products from left to right."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphopt import ops
from graphopt.errors import InvalidInput
from graphopt.frontends import normal
from graphopt.frontends.emit import pick, total
from graphopt.frontends.limits import positions
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Dim, Value, numel
from graphopt.ops import broadcast

Labels = list[str]
Term = tuple[Value, Labels]


@onnx_rule("Einsum")
def einsum(at: OnnxNode) -> Value:
    values = at.values
    inputs, output = parse(at.text("equation"), [v.type.rank for v in values])
    terms = [diagonal(at, v, labels) for v, labels in zip(values, inputs, strict=True)]
    for i, (value, labels) in enumerate(terms):
        others = {*output, *(label for j, (_, seen) in enumerate(terms) if j != i for label in seen)}
        terms[i] = summed(at, value, labels, others)
    first, *rest = terms
    for i, other in enumerate(rest):
        later = {*output, *(label for _, seen in rest[i + 1 :] for label in seen)}
        first = product(at, first, other, later)
    value, labels = first
    return normal.transpose(at, value, [labels.index(label) for label in output])


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """The labels of every axis; those of an ellipsis are numbers counted from its end."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise InvalidInput(f"equation {equation!r} for {len(ranks)} operands")
    inputs = [labels_of(part, rank - len(part.replace("...", ""))) for part, rank in zip(parts, ranks, strict=True)]
    seen = [label for labels in inputs for label in labels]
    dots = sorted({label for label in seen if label.isdigit()}, key=int, reverse=True)
    if arrow:
        output = labels_of(right, len(dots))
    else:
        output = dots + sorted(label for label in set(seen) - set(dots) if seen.count(label) == 1)
    if not set(output) <= set(seen) or len(set(output)) < len(output):
        raise InvalidInput(f"equation {equation!r} has labels in its result that it cannot have")
    if any(len(labels) != rank for labels, rank in zip(inputs, ranks, strict=True)):
        raise InvalidInput(f"equation {equation!r} for operands of ranks {list(ranks)}")
    return inputs, output


def labels_of(part: str, hidden: int) -> Labels:
    before, dots, after = part.partition("...")
    return [*before, *(str(i) for i in reversed(range(hidden)) if dots), *after]


def diagonal(at: OnnxNode, value: Value, labels: Labels) -> Term:
    """Axes of the same label become one."""
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            rest = [i for i in range(len(labels)) if i not in (first, second)]
            (size,) = {*value.type.with_shape(value.type.shape[i] for i in (first, second)).static_shape}
            shape = [value.type.shape[i] for i in rest]
            value = normal.transpose(at, value, [*rest, first, second], "square")
            value = normal.reshape(at, value, [*shape, size * size], "row")
            value = pick(at, value, len(rest), positions(size) * (size + 1), "diagonal")
            labels = [*(labels[i] for i in rest), label]
    return value, labels


def summed(at: OnnxNode, value: Value, labels: Labels, kept: Collection[str]) -> Term:
    """Summed over the axes that nothing else has."""
    gone = [i for i, label in enumerate(labels) if label not in kept]
    if not gone:
        return value, labels
    rest = [label for label in labels if label in kept]
    y = total(at, value, gone)
    return normal.reshape(at, y, [d for i, d in enumerate(value.type.shape) if i not in gone], "kept"), rest


def product(at: OnnxNode, a: Term, b: Term, kept: Collection[str]) -> Term:
    """Two operands multiplied, and summed over the labels that both have and nothing later needs."""
    both = [label for label in a[1] if label in b[1]]
    batch = [label for label in both if label in kept]
    inner = [label for label in both if label not in kept]
    left = [label for label in a[1] if label not in both]
    right = [label for label in b[1] if label not in both]
    x, y = (sized(at, term, order) for term, order in ((a, batch + left + inner), (b, batch + inner + right)))
    shape = [*broadcast(dims(a, batch), dims(b, batch)), *dims(a, left), *dims(b, right)]
    if not inner:
        x = normal.reshape(at, x, [*dims(a, batch + left), *(1 for _ in right)], "left")
        y = normal.reshape(at, y, [*dims(b, batch), *(1 for _ in left), *dims(b, right)], "right")
        return at.emit(ops.Mul(), x, y, part="outer"), batch + left + right
    wide = broadcast(dims(a, inner), dims(b, inner))
    x = normal.expand(at, x, [*dims(a, batch + left), *wide], "wide")
    y = normal.expand(at, y, [*dims(b, batch), *wide, *dims(b, right)], "wide")
    x = normal.reshape(at, x, [*dims(a, batch), numel(dims(a, left)), numel(wide)], "left")
    y = normal.reshape(at, y, [*dims(b, batch), numel(wide), numel(dims(b, right))], "right")
    return normal.reshape(at, at.emit(ops.MatMul(), x, y, part="product"), shape, "unfolded"), batch + left + right


def sized(at: OnnxNode, term: Term, order: Labels) -> Value:
    return normal.transpose(at, term[0], [term[1].index(label) for label in order], "ordered")


def dims(term: Term, labels: Labels) -> tuple[Dim, ...]:
    return tuple(term[0].type.shape[term[1].index(label)] for label in labels)
