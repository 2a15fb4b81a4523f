"""The rules of loops: how long they are must be known, so that their bodies can be written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx.node import OnnxNode, Tensor, onnx_rule
from graphopt.ir import Value

MAX_STEPS = 1024
"""The most steps that a loop is written out for."""


@onnx_rule("Loop", folded=False)
def loop(at: OnnxNode) -> Sequence[Tensor | None]:
    """A loop of known length. Its condition must be known in every step, as it is where the body passes it on."""
    steps = int(at.known(0).item()) if at.has(0) else MAX_STEPS + 1
    going: Tensor | None = at.known(1) if at.has(1) else np.array(True)
    carried: list[Tensor | None] = list(at.inputs[2:])
    count, step = len(carried), 0
    rows: list[list[Tensor | None]] = []
    while step < steps and bool(known(going).item()):
        if step == MAX_STEPS:
            raise Unsupported(f"a loop of more than {MAX_STEPS} steps")
        if any(c is None for c in carried):
            raise Unsupported("a loop that carries optional or refused values")
        going, *results = at.body(
            "body", np.array(step, np.int64), known(going), *(c for c in carried if c is not None)
        )
        carried, step = results[:count], step + 1
        rows.append(results[count:])
    return [*carried, *(stacked(at, column, 0) for column in zip(*rows, strict=True))]


def known(condition: Tensor | None) -> np.ndarray:
    if condition is None or isinstance(condition, Value):
        raise Unsupported("a loop that ends when data says so", advice="export it with a fixed number of steps")
    return condition


@onnx_rule("Scan", folded=False)
def scan(at: OnnxNode) -> Sequence[Tensor | None]:
    """A loop over slices of its last inputs. Opset 8 has a batch in front of everything."""
    if at.opset < 9:
        raise Unsupported("a scan of opset 8", advice="convert the model to a newer opset")
    scanned = at.whole("num_scan_inputs")
    count = len(at.inputs) - scanned
    carried: list[Tensor | None] = list(at.inputs[:count])
    sources = [at.value(i) for i in range(count, len(at.inputs))]
    axes = at.ints("scan_input_axes") or (0,) * scanned
    back = at.ints("scan_input_directions") or (0,) * scanned
    sizes = {x.type.shape[normal.axis_of(a, x.type.rank)] for x, a in zip(sources, axes, strict=True)}
    (steps,) = sizes if len(sizes) == 1 else (None,)
    if not isinstance(steps, int):
        raise InvalidInput(f"a scan over axes of {sizes} elements")
    if steps > MAX_STEPS:
        raise Unsupported(f"a scan of more than {MAX_STEPS} steps")
    rows: list[list[Tensor | None]] = []
    for step in range(steps):
        slices = [
            normal.select(at, x, axis, steps - 1 - step if reverse else step)
            for x, axis, reverse in zip(sources, axes, back, strict=True)
        ]
        results = at.body("body", *(c for c in carried if c is not None), *slices)
        carried = results[:count]
        rows.append(results[count:])
    columns = list(zip(*rows, strict=True))
    out_axes = at.ints("scan_output_axes") or (0,) * len(columns)
    out_back = at.ints("scan_output_directions") or (0,) * len(columns)
    ends = [
        stacked(at, column[::-1] if reverse else column, axis)
        for column, axis, reverse in zip(columns, out_axes, out_back, strict=True)
    ]
    return [*carried, *ends]


def stacked(at: OnnxNode, column: Sequence[Tensor | None], axis: int) -> Tensor | None:
    """The results of all steps along a new axis."""
    found = [c for c in column if c is not None]
    if len(found) < len(column):
        return None
    arrays = [c for c in found if not isinstance(c, Value)]
    if len(arrays) == len(found):
        return np.stack(arrays, axis)
    values = [c if isinstance(c, Value) else at.constant(c, "step") for c in found]
    place = normal.axis_of(axis, values[0].type.rank + 1)
    shape = values[0].type.shape
    return normal.concat(
        at, [normal.reshape(at, v, (*shape[:place], 1, *shape[place:]), "step") for v in values], place
    )
