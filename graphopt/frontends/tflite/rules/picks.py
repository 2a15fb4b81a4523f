"""Elements at positions that a tensor gives."""

from __future__ import annotations

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.ir import Value


@tflite_rule("GATHER")
def gather(at: TfliteNode) -> Value:
    options, (x,) = at.options("GatherOptions"), at.kept(0)
    if options.BatchDims():
        raise Unsupported("a gather with batch_dims", advice="gather from one table")
    return at.emit(ops.Gather(axis=normal.axis_of(options.Axis(), x.type.rank)), x, at.raw(1))


@tflite_rule("GATHER_ND")
def gather_nd(at: TfliteNode) -> Value:
    return at.emit(ops.GatherNd(), *at.kept(0), at.raw(1))


@tflite_rule("EMBEDDING_LOOKUP")
def embedding(at: TfliteNode) -> Value:
    """Rows of a table, which comes second."""
    (table,) = at.kept(1)
    return at.emit(ops.Gather(axis=0), table, at.raw(0))
