"""Recurrent operators: the state of an SVDF is an input and an output of the graph, an LSTM starts from zeros."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tflite

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.normal_recurrent import layer
from graphopt.frontends.tflite.file import Parameters, short
from graphopt.frontends.tflite.node import TfliteNode, activated, dequantized, quantized, tflite_rule
from graphopt.ir import Array, Value, constant, numel

GATES = (0, 3, 1, 2)
"""TFLite has the gates i, f, c, o; ONNX has i, o, f, c."""


@tflite_rule("SVDF")
def svdf(at: TfliteNode) -> Value:
    """Filters of the input at each step, kept for ``memory`` steps, and weighted over these.

    Inputs are x [n, k], feature weights [f, k], time weights [f, memory], a bias [units] and the state [n, f * memory].
    """
    options, x = at.options("SVDFOptions"), at.real(0)
    feature, times = at.weight(1, (0, 1)), at.known(2)
    if times.ndim != 2 or feature.type.rank != 2 or x.type.rank != 2:
        raise InvalidInput(f"weights of {feature.type} and {list(times.shape)} for {x.type}")
    rank, (filters, memory) = int(options.Rank()), times.shape
    if rank < 1 or filters % rank or feature.type.shape[0] != filters:
        raise InvalidInput(f"{filters} filters of rank {rank}, and features of {feature.type}")
    now = normal.linear(at, x, feature, None)
    window = kept_window(at, now, memory)
    n, units = x.type.shape[0], filters // rank
    rows = normal.reshape(at, window, (n, units, 1, rank * memory), "rows")
    columns = constant(times.reshape(1, units, rank * memory, 1), short(at.tensor(2).name))
    if (parameters := at.tensor(2).parameters) is not None:
        columns = dequantized(columns, parameters, parameters.name)
    y = at.emit(ops.MatMul(), rows, columns, part="weighted")
    if (bias := state_bias(at, units)) is not None:
        y = at.emit(ops.Add(), y, bias, part="biased")
    y = activated(at, y, options.FusedActivationFunction())
    return normal.reshape(at, at.stored(y), (n, units), "units")


def kept_window(at: TfliteNode, now: Value, memory: int) -> Value:
    """What filters gave in the last steps, [n, f, memory]: the state, moved by one step, which it then is."""
    n, filters = now.type.shape
    parameters = at.state_parameters(4)
    flat = (n, numel((filters, memory)))
    old = normal.reshape(at, at.state(4, flat), (n, filters, memory), "old")
    new = now if parameters is None else quantized(now, parameters, f"{at.name}.now")
    new = normal.reshape(at, new, (n, filters, 1), "new")
    if memory > 1:
        new = at.emit(ops.Concat(axis=2), normal.take(at, old, 2, 1, memory, part="older"), new, part="window")
    at.keep(4, normal.reshape(at, new, flat, "state"))
    return new if parameters is None else dequantized(new, parameters, f"{at.name}.window")


def state_bias(at: TfliteNode, units: int) -> Value | None:
    """The bias of an SVDF, in steps of the scales of state and time weights; None where it is zero."""
    if not at.has(3) or not at.known(3).any():
        return None
    data, state, times = at.known(3), at.state_parameters(4), at.tensor(2).parameters
    if data.shape != (units,):
        raise InvalidInput(f"a bias of {list(data.shape)} for {units} units")
    if state is not None and times is not None:
        data = data * (state.scale.astype("float64") * times.scale)
    return constant(data.astype("float32").reshape(1, units, 1, 1), short(at.tensor(3).name))


@tflite_rule("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(at: TfliteNode) -> Value:
    """Weights of inputs, of states and biases of the gates i, f, c, o; the states start from zeros at every call."""
    options, x = at.options("UnidirectionalSequenceLSTMOptions"), at.real(0)
    refuse_variants(at, options, x)
    x = x if options.TimeMajor() else normal.transpose(at, x, (1, 0, 2), "time_first")
    w, r = (gates(at, first, part) for first, part in ((1, "w"), (5, "r")))
    hidden = r.type.static_shape[2]
    bias = np.concatenate([gate_bias(at, 12 + g, 1 + g, hidden) for g in GATES])
    both = at.constant(np.concatenate([bias, np.zeros_like(bias)])[None], "bias")
    y, *_ = layer(at, ops.LSTM(), x, w, r, both, [None, None])
    steps, _, n, h = y.type.shape
    y = normal.reshape(at, at.stored(y), (steps, n, h), "sequence")
    return y if options.TimeMajor() else normal.transpose(at, y, (1, 0, 2), "batch_first")


def refuse_variants(at: TfliteNode, options: Any, x: Value) -> None:
    """Raise ``Unsupported`` for an LSTM that is none of the plain ones; warn of a clip that is left out."""
    if x.type.rank != 3:
        raise InvalidInput(f"an input of {x.type}")
    if not at.has(1) or not at.has(5):
        raise Unsupported("an LSTM that couples its input and forget gates")
    for what, places in (("peepholes", (9, 10, 11)), ("a projection", (16, 17)), ("layer norms", (20, 21, 22, 23))):
        if any(at.has(i) for i in places):
            raise Unsupported(f"an LSTM with {what}")
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.TANH:
        raise Unsupported("an LSTM with another activation than tanh")
    steps = x.type.shape[0] if options.TimeMajor() else x.type.shape[1]
    clip = float(options.CellClip())
    if clip > 0 and not (isinstance(steps, int) and steps <= clip):  # a cell grows by one a step at most
        what = "%s: cells are clipped at %g in the file and not here: one beyond takes longer to come back"
        logging.getLogger("graphopt").warning(what, at.name, clip)


def gates(at: TfliteNode, first: int, part: str) -> Value:
    """The weights of four gates as one constant [1, 4 h, k]; integers by the scale of each gate."""
    data = [at.known(first + g) for g in GATES]
    parameters = [at.tensor(first + g).parameters for g in GATES]
    if any(d.ndim != 2 or d.shape != data[0].shape or d.dtype != data[0].dtype for d in data):
        raise InvalidInput("the gates have weights of different shapes or types")
    value = at.constant(np.concatenate(data)[None], part)
    if parameters[0] is None:
        return value
    scales = [spread(p, d) for p, d in zip(parameters, data, strict=True)]
    scale = np.concatenate(scales)
    name = f"{at.name}.{part}"
    return dequantized(value, Parameters(scale, np.zeros(scale.size, data[0].dtype), 1, name), name)


def spread(parameters: Parameters | None, data: Array) -> Array:
    """A scale for every row of the weights of a gate."""
    if parameters is None or parameters.zero_point.any() or parameters.axis:
        raise Unsupported("weights of a gate that are not symmetric, by row or as a whole")
    return np.asarray(np.broadcast_to(parameters.scale, data.shape[:1]))


def gate_bias(at: TfliteNode, index: int, weight: int, hidden: int) -> Array:
    """The bias of a gate; integers are in steps of the scales of input and weights."""
    if not at.has(index):
        return np.zeros(hidden, "float32")
    data, x, w = at.known(index), at.tensor(0).parameters, at.tensor(weight).parameters
    if data.shape != (hidden,):
        raise InvalidInput(f"a bias of {list(data.shape)} for {hidden} units")
    if data.dtype.kind == "f" or x is None or w is None:
        return data.astype("float32")
    return np.asarray((data * (x.scale.astype("float64") * w.scale)).astype("float32"))
