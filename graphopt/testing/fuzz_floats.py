"""Float graphs, computed in several ways, which must agree to a rounding error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from graphopt.errors import Unsupported
from graphopt.exporters import to_onnx, to_torch
from graphopt.ir import Array, Graph, bind_batch, cast_floats, worst_difference
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs
from graphopt.targets import compile, get_target
from graphopt.testing.drawing import random_graph
from graphopt.testing.findings import Finding, Kind

BOUND, NOISE = 1e-4, 1e-6
"""Results may differ by so much of max|y|, and by so much in absolute terms: sums in another order do."""
BATCH = 2
EMULATED = ("aarch64", "armv7", "cortex-m4")

Way = Callable[[Graph, Mapping[str, Array]], Sequence[Array]]


def by_evaluator(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    with np.errstate(all="ignore"):
        return graph(**inputs)


def by_onnxruntime(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = to_onnx(graph).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise Unsupported("ONNX Runtime lacks a kernel", why=str(error)) from error
    return [np.asarray(a) for a in session.run(None, dict(inputs))]


def by_reimport(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    from graphopt.frontends import load

    return by_evaluator(load(to_onnx(graph)), inputs)


def by_torch(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    return to_torch(graph).evaluate(inputs)


def by_target(name: str) -> Way:
    def run(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
        result = compile(bind_batch(graph, BATCH), name, io="float32").run(**inputs)
        return result if isinstance(result, tuple) else (result,)

    return run


def after_passes(way: Way) -> Way:
    return lambda graph, inputs: way(optimize(graph), inputs)


WAYS: dict[str, Way] = {
    "onnxruntime": by_onnxruntime,
    "reimport": by_reimport,
    "optimized": after_passes(by_evaluator),
    "optimized-onnxruntime": after_passes(by_onnxruntime),
    "torch": by_torch,
    "optimized-torch": after_passes(by_torch),
    "host": by_target("host"),
    "optimized-host": after_passes(by_target("host")),
    **{name: by_target(name) for name in EMULATED},
    **{f"optimized-{name}": after_passes(by_target(name)) for name in EMULATED},
}
"""The ways to compute a graph, each held to the reference evaluator."""


def examine(graph: Graph, way: str, seed: int) -> Finding | None:
    """What is wrong with one way of computing a graph; None if nothing is, or if it cannot be judged.

    It cannot where the way does not support the graph, where rounding alone changes the outputs by much,
    and where a NaN arises within: ONNX does not say which place an arg_min of one has.
    """
    inputs = random_inputs(bind_batch(graph, BATCH), seed)
    want = by_evaluator(graph, inputs)
    if has_nan(graph, inputs) or not stable(graph, inputs, want):
        return None
    try:
        got = WAYS[way](graph, inputs)
    except Unsupported:
        return None
    except Exception as error:  # a crash of any sort is what this looks for
        return Finding(way, seed, type(error).__name__, str(error), graph)
    for name, g, w in zip(graph.output_names, got, want, strict=True):
        if g.dtype != w.dtype or g.shape != w.shape:
            return Finding(way, seed, "type", f"{name}: {g.dtype}{g.shape} instead of {w.dtype}{w.shape}", graph)
        if not close(g, w, 1.0):
            return Finding(way, seed, "differs", f"{name} by {worst_difference(g, w):.3g} of max|y|", graph)
    return None


def has_nan(graph: Graph, inputs: Mapping[str, Array]) -> bool:
    """Whether any value of the graph is not a number somewhere, be it hidden from the outputs."""
    inner = [v for node in graph.nodes for v in node.results if v.type.is_float]
    return any(np.isnan(a).any() for a in by_evaluator(Graph(graph.inputs, tuple(inner)), inputs))


def stable(graph: Graph, inputs: Mapping[str, Array], want: Sequence[Array]) -> bool:
    """Whether float64, and inputs moved by a rounding error, give much the same: else nothing can be compared.

    Moved here and there, and all one way too: the first averages out in a sum, the error of summing in turn does not.
    """
    wide = cast_floats(graph, "float64")
    cast = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in inputs.items()}
    rng = np.random.default_rng(0)

    def moved(signs: Sequence[float]) -> dict[str, Array]:
        factors = {n: 1 + 4e-7 * rng.choice(signs, a.shape) for n, a in inputs.items()}
        return {n: (a * factors[n]).astype(a.dtype) if a.dtype.kind == "f" else a for n, a in inputs.items()}

    ways = [(-1.0, 1.0), (-1.0, 1.0), (1.0,)]
    others = [by_evaluator(wide, cast), *(by_evaluator(graph, moved(signs)) for signs in ways)]
    return all(close(g, w, 0.25) for other in others for g, w in zip(other, want, strict=True))


def close(got: Array, want: Array, share: float) -> bool:
    """Whether arrays agree to that share of the bound. Neither is judged where the reference is not finite."""
    finite = np.isfinite(np.asarray(want, np.float64))
    if not finite.all():
        return False
    scale = float(np.max(np.abs(np.asarray(want, np.float64)), initial=0.0))
    error = float(np.max(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)), initial=0.0))
    return error <= share * (BOUND * scale + NOISE)


def ways_for(count: int, every: int) -> Iterator[str]:
    """The ways for a graph: the emulated ones for one in so many, in turn."""
    yield from (w for w in WAYS if not w.endswith(EMULATED))
    if count % every == 0:
        names = [w for w in WAYS if w.endswith(EMULATED) and available(w)]
        if names:
            yield names[count // every % len(names)]


def available(way: str) -> bool:
    target = get_target(way.removeprefix("optimized-"))
    return all(shutil.which(tool) for tool in (target.toolchain.compiler, target.runner.emulator) if tool)


def floats(every: int = 10) -> Kind:
    """Graphs of all operators; one in so many runs on an emulator."""
    return Kind(random_graph, lambda count: ways_for(count, every), examine)
