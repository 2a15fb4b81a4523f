"""Matrix products too deep for the routines of cores with DSP, in parts that are added up.

These sum exactly as long as no sum needs more than 24 bits (``instructions/products.py``). A layer of some thousand
inputs may need more, as behind a plane that was flattened. So its inputs are cut: the sums of all parts but the last
are operands of its epilogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np

from graphopt.ir import Graph, Node, Value, arg, constant, rebuild
from graphopt.ops import Add, Fused, LinearInteger, Slice
from graphopt.targets.instructions import products
from graphopt.targets.requantize import bounds_of
from graphopt.targets.target import Target
from graphopt.targets.weights import storage_of

MOST_PARTS = 16


def split_depth(graph: Graph, target: Target) -> Graph:
    """A bound graph whose fused matrix products have no sums that the routines of the target cannot have."""
    if "dsp" not in target.isa or "mve" in target.isa or target.optimize == "speed":
        return graph

    def split(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Fused):
            return None
        anchor = next((n for n in node.op.body.nodes if isinstance(n.op, LinearInteger)), None)
        if anchor is None or not set(anchor.inputs) <= set(node.op.body.inputs):
            return None
        given = dict(zip(node.op.body.inputs, inputs, strict=True))
        sums = anchor.op.apply(*(given[v] for v in anchor.inputs), name=anchor.name, origins=anchor.origins).results[0]
        return in_parts(node, anchor, given, sums.node) if is_too_deep(sums) else None

    return rebuild(graph, split)


def is_too_deep(sums: Value) -> bool:
    """Whether sums of bytes and constants need too many bits."""
    x, weight, bias = sums.node.inputs
    known = weight.constant is not None and bias.constant is not None and storage_of(weight).whole
    return known and x.type.dtype == "int8" and not fits(sums)


def fits(sums: Value) -> bool:
    return all(np.abs(bounds).max(initial=0) <= products.MOST_SUM for bounds in bounds_of(sums))


def in_parts(node: Node, anchor: Node, given: Mapping[Value, Value], product: Node) -> Sequence[Value] | None:
    """The results of a fused layer, its ``product`` in as few parts as fit; None if that are too many.

    ``given`` are its operands.
    """
    assert isinstance(node.op, Fused)
    blocks = -(-product.inputs[1].type.static_shape[1] // products.BLOCK)
    fitting = (parts for n in range(2, min(blocks, MOST_PARTS) + 1) if all(map(fits, parts := parts_of(product, n))))
    cut = next(fitting, None)
    if cut is None:
        return None
    *firsts, last = cut
    added = {arg(f"part{i}", v.type.dtype, v.type.static_shape): v for i, v in enumerate(firsts)}
    new = dict(zip(anchor.inputs, last.node.inputs, strict=True))
    args = {v.node: arg(v.node.name, new[v].type.dtype, new[v].type.static_shape) for v in anchor.inputs}

    def add_up(old: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if old in args:
            return (args[old],)
        return (reduce(Add(), added, old.with_inputs(inputs).results[0]),) if old is anchor else None

    made = rebuild(node.op.body, add_up)
    made = replace(made, inputs=(*made.inputs, *added))
    operands = [new.get(inner, outer) for inner, outer in given.items()]
    return Fused(body=made).apply(*operands, *added.values(), name=node.name, origins=node.origins).results


def parts_of(product: Node, parts: int) -> list[Value]:
    """The sums of so many parts of the inputs, in whole blocks; the bias is in the last ones."""
    x, weight, bias = product.inputs
    assert weight.constant is not None
    depth = weight.constant.shape[1]
    blocks = np.linspace(0, -(-depth // products.BLOCK), parts + 1).astype(int)
    nothing = constant(np.zeros(bias.type.static_shape, np.int32), like=bias)
    name = product.name and f"{product.name}.inputs"
    sums = []
    for start, stop in pairwise(min(depth, products.BLOCK * int(block)) for block in blocks):
        some = Slice(axis=x.type.rank - 1, start=start, stop=stop)(x, name=name, origins=product.origins)
        operands = some, constant(weight.constant[:, start:stop], like=weight), bias if stop == depth else nothing
        sums.append(product.op.apply(*operands, name=product.name, origins=product.origins).results[0])
    return sums
