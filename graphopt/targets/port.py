"""What a caller has for a port of a program: its channels last, or bytes in place of the reals that the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from graphopt.errors import InvalidInput, Unsupported
from graphopt.ir import Graph, TensorType

LAYOUTS = ("nchw", "nhwc")
"""Of a port: as the model has it, or with its channels last."""
BYTES = "uint8"
"""The dtype of pixels."""

MOST, LEAST = 2.0**126, 2.0**-126
"""The greatest number of a port, and the least factor or divisor: normal numbers of float32, as their reciprocals."""

Numbers = float | Sequence[float]
"""One number, or one of each channel."""


@dataclass(frozen=True)
class Port:
    """An input or output as the caller has it.

    ``layout`` is "nchw", the order of the model, or "nhwc", its channels last. With ``dtype="uint8"`` an input takes
    bytes p in place of floats. They stand for (p * scale - mean) / std, where ``mean`` and ``std`` are numbers or have
    one of each channel. Every operation is rounded to the dtype of the model's input, and a scale below one is a
    division by 1 / scale: so 1/255 is p / 255, as image libraries compute it. With ``push_rows`` the caller of a C
    project gives the only input row by row, as a camera delivers lines, by ``<name>_push_row``; the input never lies in
    memory as a whole.

    Raises ``InvalidInput`` for numbers that are none, or not of float32, and for a scale or std of 0; ``Unsupported``
    for another dtype.
    """

    layout: str = "nchw"
    dtype: str | None = None
    scale: float = 1.0
    mean: Numbers = 0.0
    std: Numbers = 1.0
    push_rows: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise InvalidInput(f"{self.layout!r} is none of {', '.join(LAYOUTS)}", where="layout of a port")
        if self.dtype not in (None, BYTES):
            advice = f"leave it out, or give {BYTES}; io= chooses between integers of a quantized program and float32"
            raise Unsupported(f"{self.dtype!r} is no dtype of a port", advice=advice)
        if abs(self.factor) < LEAST:
            raise InvalidInput(f"{self.scale!r} is too small", where="scale of a port")
        if min(self.stds) < LEAST:
            raise InvalidInput(f"{self.std!r} is too small, or negative", where="std of a port")
        if self.is_scaled and self.dtype is None:
            advice = f"give dtype={BYTES!r} too, or leave them out"
            raise InvalidInput("scale, mean and std are of bytes, and the port takes none", advice=advice)

    @property
    def factor(self) -> float:
        """The scale."""
        (found, *more) = numbers(self.scale, "scale")
        if more:
            raise InvalidInput(f"{self.scale!r} is not one number", where="scale of a port", advice="give each its std")
        return found

    @property
    def means(self) -> tuple[float, ...]:
        """The means of the channels, or one of all."""
        return numbers(self.mean, "mean")

    @property
    def stds(self) -> tuple[float, ...]:
        """The standard deviations of the channels, or one of all."""
        return numbers(self.std, "std")

    @property
    def formula(self) -> str:
        """What a byte p stands for, as text."""
        scale, (mean, *means), (std, *stds) = self.factor, self.means, self.stds
        text = "p" if scale == 1 else f"p / {short(1 / scale)}" if abs(scale) < 1 else f"p * {short(scale)}"
        if means or mean:
            text = f"{text} - mean" if means else f"{text} {'+' if mean < 0 else '-'} {short(abs(mean))}"
            text = f"({text})" if stds or std != 1 else text
        text = f"{text} / {'std' if stds else short(std)}" if stds or std != 1 else text
        several = [("mean", self.means)] * bool(means) + [("std", self.stds)] * bool(stds)
        return "; ".join([text, *(f"{what} {', '.join(map(short, values))}" for what, values in several)])

    @property
    def is_scaled(self) -> bool:
        """Whether bytes stand for other numbers than themselves."""
        return any(self.means) or any(one != 1 for one in (self.factor, *self.stds))


def short(number: float) -> str:
    """The shortest decimal of a float32."""
    return str(np.float32(number)).removesuffix(".0")


def numbers(given: Numbers, what: str) -> tuple[float, ...]:
    """One or several numbers of float32; raises ``InvalidInput`` for anything else."""
    several = given if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else (given,)
    if not len(several) or not all(isinstance(one, Real) and not isinstance(one, bool) for one in several):
        raise InvalidInput(f"{given!r} is no number, and no sequence of them", where=f"{what} of a port")
    if not all(-MOST <= one <= MOST for one in several):
        raise InvalidInput(f"{given!r} is beyond float32", where=f"{what} of a port")
    return tuple(map(float, several))


def checked_ports(graph: Graph, ports: Mapping[str, Port] | None, layout: Mapping[str, str] | None) -> dict[str, Port]:
    """The ports of ``compile`` by name; ``layout`` is short for ports of which nothing else is said.

    Raises ``InvalidInput`` for what no port of the graph can be, ``Unsupported`` for outputs of bytes.
    """
    twice = sorted({*(ports or {})} & {*(layout or {})})
    if twice:
        raise InvalidInput(f"both ports and layout have {', '.join(twice)}", advice="give the layout with the port")
    for name, port in (ports or {}).items():
        if not isinstance(port, Port):
            raise InvalidInput(f"{port!r} is no Port", where=f"port {name}", advice='give Port(layout="nhwc") for one')
    wished = {**(ports or {}), **{name: Port(layout=wanted) for name, wanted in (layout or {}).items()}}
    types = {graph.names[v.node]: v.type for v in graph.inputs}
    inputs = set(types)
    types |= {name: v.type for name, v in zip(graph.output_names, graph.outputs, strict=True) if name not in inputs}
    for name, port in wished.items():
        if name not in types:
            raise InvalidInput(f"no port is called {name!r}", advice=f"there are {', '.join(types)}")
        check_fit(name, port, types[name], name in inputs)
    return wished


def check_fit(name: str, port: Port, type_: TensorType, is_input: bool) -> None:
    """Raise unless a port of this type can be as it is wished."""
    where = f"port {name}"
    if port.layout == "nhwc" and type_.rank < 3:
        raise InvalidInput(f"{type_} has no channels to put last", where=where)
    if port.push_rows and (not is_input or type_.rank < 3):
        why = None if not is_input else f"{type_} has none"
        raise InvalidInput("rows are pushed into inputs over planes", where=where, why=why)
    if port.dtype is None:
        return
    if not is_input:
        advice = "leave its dtype, scale, mean and std out: it gives the integers or reals of the model"
        raise Unsupported(f"an output of {port.dtype}", where=where, advice=advice)
    if not type_.is_float and (type_.dtype != BYTES or port.is_scaled):
        advice = "compile a model that takes floats, quantized by graphopt or not"
        raise InvalidInput(f"bytes stand for reals, and the model takes {type_}", where=where, advice=advice)
    for what, values in (("mean", port.means), ("std", port.stds)):
        channels = type_.shape[1] if type_.rank > 2 else 1
        if len(values) not in (1, channels):
            raise InvalidInput(f"{len(values)} numbers, {type_} has channels: {channels}", where=f"{what} of {where}")
