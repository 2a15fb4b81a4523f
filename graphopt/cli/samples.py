"""The samples that commands are given in files: which array of a file is which input of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphopt.cli.arrays import StoredArray, open_arrays, read_all, read_some
from graphopt.cli.console import warn
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, TensorType


def read_samples(
    path: Path | None, graph: Graph, keys: list[str] | None = None, labels: str | None = None
) -> dict[str, Array] | None:
    """Samples by input name, None without a file. ``keys`` choose arrays of the file, as ``array`` or ``input=array``.

    Without a key an input takes the array of its name, and the one input of a model the one array of a file that fits
    it. The array ``labels`` is given beside them under its own name. Arrays that are left over are named on stderr.
    Raises ``InvalidInput`` where it is not clear which array is meant, and for labels that are not as many as samples.
    """
    if path is None:
        if labels is not None:
            raise InvalidInput("labels need samples", where=f"--labels {labels}", advice="give --data samples.npz")
        return None
    names = [graph.names[value.node] for value in graph.inputs]
    with open_arrays(path) as found:
        if labels is not None and labels not in found:
            raise InvalidInput(f"no array is called so in {path}", where=f"--labels {labels}")
        inputs = {name: value.type for name, value in zip(names, graph.inputs, strict=True)}
        chosen = choose({n: a for n, a in found.items() if n != labels}, inputs, keys or [], str(path))
        arrays = read_some(found, {*chosen.values(), *([] if labels is None else [labels])}, str(path))
    unused = [name for name in found if name not in arrays]
    if unused:
        warn(f"{path}: no input of the model takes {', '.join(unused)}: ignored")
    samples = {name: arrays[array] for name, array in chosen.items()}
    for name, value in zip(names, graph.inputs, strict=True):
        if value.type.is_float and samples[name].dtype.kind == "f":
            with np.errstate(over="ignore"):
                samples[name] = samples[name].astype(value.type.dtype, copy=False)
    return samples if labels is None else with_labels(samples, labels, arrays[labels])


def with_labels(samples: dict[str, Array], name: str, labels: Array) -> dict[str, Array]:
    if any(array.shape[:1] != labels.shape[:1] for array in samples.values()):
        raise InvalidInput("there are not as many labels as samples", where=f"--labels {name}")
    return {**samples, name: labels}


def choose(found: dict[str, StoredArray], inputs: dict[str, TensorType], keys: list[str], where: str) -> dict[str, str]:
    """The array for each input."""
    names = list(inputs)
    listing = ", ".join(f"{name or 'one array'} {array}" for name, array in found.items()) or "nothing"
    chosen: dict[str, str] = {}
    for key in keys:
        name, _, array = key.rpartition("=") if key not in found else ("", "", key)
        name = name or (names[0] if len(names) == 1 else array)
        if array not in found:
            raise InvalidInput(f"has no array {array!r}", where=where, why=f"it has {listing}")
        if name not in names:
            advice = f"write --key input=array; the inputs are {', '.join(names)}"
            raise InvalidInput(f"{name!r} is no input of the model", where=f"--key {key}", advice=advice)
        chosen[name] = array
    if not chosen and len(names) == 1 and names[0] not in found:
        fitting = list(found) if len(found) == 1 else [n for n, a in found.items() if fits(a, inputs[names[0]])]
        if len(fitting) == 1:
            return {names[0]: fitting[0]}
    chosen = {**{name: name for name in names if name in found}, **chosen}
    if missing := [name for name in names if name not in chosen]:
        advice = "say which array it is: --key array" if len(names) == 1 else "say which arrays: --key input=array"
        raise InvalidInput(f"nothing for {', '.join(missing)}", where=where, why=f"it has {listing}", advice=advice)
    return chosen


def fits(array: StoredArray, wanted: TensorType) -> bool:
    """Whether an array can be samples of an input: of its kind of numbers, and of its shape but for the batch."""
    alike = (array.dtype.kind == "f") == wanted.is_float
    return alike and len(array.shape) == wanted.rank and array.shape[1:] == wanted.shape[1:]


def read_inputs(texts: list[str], names: list[str]) -> dict[str, Array]:
    """The arrays that --input options name: ``x.npy`` by position, ``name=x.npy``, or an ``.npz`` with all."""
    given: dict[str, Array] = {}
    for position, text in enumerate(texts):
        key, found, path = text.partition("=")
        if not found:
            key, path = (names[position] if position < len(names) else ""), text
        arrays = read_all(path)
        given.update({key: arrays[""]} if list(arrays) == [""] else arrays)
    return given
