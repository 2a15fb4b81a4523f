"""The rules of attention and of products of several tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import emit
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Dim, Value, numel


@aten_rule("scaled_dot_product_attention.default")
def attention(
    at: AtenNode,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None,
    dropout: float,
    causal: bool,
    scale: float | None,
    grouped: bool,
) -> Value:
    """softmax(query key' * scale + mask) value; a mask of bools says what may be seen."""
    if dropout:
        raise Unsupported("attention with dropout", advice="export in eval mode")
    if grouped:
        key, value = (repeated(at, x, query) for x in (key, value))
    depth = query.type.shape[-1]
    if not isinstance(depth, int):
        raise Unsupported(f"attention over {depth} features")
    query = emit(at, ops.Mul(), query, 1 / math.sqrt(depth) if scale is None else scale, part="scaled")
    perm = (*range(key.type.rank - 2), key.type.rank - 1, key.type.rank - 2)
    scores = at.emit(ops.MatMul(), query, at.emit(ops.Transpose(perm=perm), key, part="key"), part="scores")
    if causal:
        rows, columns = scores.type.with_shape(scores.type.shape[-2:]).static_shape
        seen = np.tril(np.ones((rows, columns), bool))
        scores = at.emit(ops.Add(), scores, hidden(at, at.constant(seen, "seen"), scores), part="causal")
    if mask is not None:
        shown = hidden(at, mask, scores) if mask.type.dtype == "bool" else mask
        scores = at.emit(ops.Add(), scores, shown, part="masked")
    weights = shares(at, scores) if may_hide_all(mask, causal) else softmax(at, scores)
    return at.emit(ops.MatMul(), weights, value)


def softmax(at: AtenNode, scores: Value) -> Value:
    return at.emit(ops.Softmax(axis=scores.type.rank - 1), scores, part="weights")


def may_hide_all(mask: Value | None, causal: bool) -> bool:
    """Whether a row of scores may be minus infinity throughout."""
    if mask is None:
        return False
    if mask.constant is None:
        return True
    shown = mask.constant if mask.type.dtype == "bool" else mask.constant > -np.inf
    return not (np.tril(shown) if causal else shown).any(axis=-1).all()


def shares(at: AtenNode, scores: Value) -> Value:
    """The softmax of scores, zero for a row of which nothing may be seen, as torch has it."""
    kind = scores.type.dtype
    least = at.constant(np.array(np.finfo(kind).min, kind), "least")
    seen = emit(at, ops.Greater(), scores, -np.inf, part="seen")
    weights = softmax(at, at.emit(ops.Where(), seen, scores, least, part="finite"))
    return at.emit(ops.Where(), seen, weights, at.constant(np.zeros((), kind), "nothing"), part="shares")


def hidden(at: AtenNode, mask: Value, like: Value) -> Value:
    """What to add to scores: nothing where the mask is true, minus infinity elsewhere."""
    if mask.constant is not None:
        kind = like.type.dtype
        return at.derive(mask, f"{kind} scores", lambda m: np.where(m, 0, -np.inf).astype(kind))
    zero, low = (at.constant(np.array(v, like.type.dtype), p) for v, p in ((0.0, "zero"), (-np.inf, "low")))
    return at.emit(ops.Where(), mask, zero, low, part="hidden")


def repeated(at: AtenNode, x: Value, query: Value) -> Value:
    """Keys or values of fewer heads than the queries, each head for its group of them."""
    *lead, heads, steps, depth = x.type.shape
    count = normal.quotient(query.type.shape[-3], heads)
    y = normal.reshape(at, x, (*lead, heads, 1, steps, depth), "group")
    y = normal.expand(at, y, (*lead, heads, count, steps, depth), "heads")
    return normal.reshape(at, y, (*lead, heads * count, steps, depth), "grouped")


@aten_rule("baddbmm.default")
def baddbmm(at: AtenNode, x: Value, a: Value, b: Value, beta: float, alpha: float) -> Value:
    return plus_product(at, x, at.emit(ops.MatMul(), a, b, part="product"), beta, alpha)


@aten_rule("addmm.default")
def addmm(at: AtenNode, bias: Value, a: Value, b: Value, beta: float, alpha: float) -> Value:
    """A linear layer where the second factor is a constant and the rest plain."""
    if b.constant is not None and bias.type.shape == b.type.shape[1:] and (alpha, beta) == (1, 1):
        return normal.linear(at, a, at.derive(b, "transposed", np.transpose), bias)
    return plus_product(at, bias, at.emit(ops.MatMul(), a, b, part="product"), beta, alpha)


def plus_product(at: AtenNode, x: Value, product: Value, beta: float, alpha: float) -> Value:
    """beta * x + alpha * product."""
    product = product if alpha == 1 else emit(at, ops.Mul(), product, alpha, part="alpha")
    if beta == 0:
        return product
    return at.emit(ops.Add(), x if beta == 1 else emit(at, ops.Mul(), x, beta, part="beta"), product)


@aten_rule("einsum.default")
def einsum(at: AtenNode, equation: str, tensors: Sequence[Value], path: Sequence[int] | None) -> Value:
    """The tensors contracted from left to right, each step one matrix product."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if "." in equation or "->" not in equation or any(len(set(t)) < len(t) for t in terms):
        raise Unsupported(f"einsum of {equation!r}", advice="name every axis once an operand, and those of the result")
    x, labels = tensors[0], terms[0]
    for i, (other, term) in enumerate(zip(tensors[1:], terms[1:], strict=True), 1):
        later = set(output).union(*terms[i + 1 :])
        x, labels = contracted(at, (x, labels), (other, term), later)
    x, labels = summed_out(at, x, labels, set(output))
    return normal.transpose(at, x, [labels.index(c) for c in output])


def summed_out(at: AtenNode, x: Value, labels: str, kept: set[str]) -> tuple[Value, str]:
    """x summed over the axes whose labels nobody needs."""
    gone = [i for i, c in enumerate(labels) if c not in kept]
    if gone:
        x = at.emit(ops.ReduceSum(axes=tuple(gone), keepdims=False), x, part="sum")
    return x, "".join(c for c in labels if c in kept)


def contracted(at: AtenNode, a: tuple[Value, str], b: tuple[Value, str], later: set[str]) -> tuple[Value, str]:
    """Two operands of an einsum as one: [batch, left, inner] times [batch, inner, right]."""
    x, first = summed_out(at, *a, kept=later | set(b[1]))
    y, second = summed_out(at, *b, kept=later | set(first))
    sizes: dict[str, Dim] = {
        **dict(zip(first, x.type.shape, strict=True)),
        **dict(zip(second, y.type.shape, strict=True)),
    }
    shared = [c for c in first if c in second]
    batch, inner = [c for c in shared if c in later], [c for c in shared if c not in later]
    left, right = [c for c in first if c not in second], [c for c in second if c not in first]

    def arranged(v: Value, labels: str, *groups: list[str]) -> Value:
        order = [*batch, *(c for group in groups for c in group)]
        v = normal.transpose(at, v, [labels.index(c) for c in order], "arranged")
        shape = [*(sizes[c] for c in batch), *(numel(sizes[c] for c in group) for group in groups)]
        return normal.reshape(at, v, shape, "matrix")

    y_matrix = arranged(y, second, inner, right)
    x_matrix = arranged(x, first, left, inner)
    product = normal.matmul(at, x_matrix, y_matrix)
    labels = [*batch, *left, *right]
    return normal.reshape(at, product, [sizes[c] for c in labels], "apart"), "".join(labels)
