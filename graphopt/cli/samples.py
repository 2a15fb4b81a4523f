"""The samples that commands are given in files: which array of a file is which input of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from graphopt.cli.arrays import StoredArray, open_arrays, read_all, read_some
from graphopt.cli.console import warn
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, TensorType


@dataclass(frozen=True)
class Preparation:
    """How raw samples become what a model takes: channels first, and multiplied by a factor."""

    scale: Fraction | None = None
    channels_last: bool = False

    @classmethod
    def of(cls, scale: str | None, layout: str | None) -> Preparation:
        """What --scale and --layout say; raises ``InvalidInput`` for what they cannot mean."""
        if layout not in (None, "nchw", "nhwc"):
            raise InvalidInput("is none of nchw, nhwc", where=f"--layout {layout}")
        try:
            factor = None if scale is None else Fraction(scale)
        except (ValueError, ZeroDivisionError) as error:
            raise InvalidInput("is no number", where=f"--scale {scale}", advice="write 0.5, or 1/255") from error
        return cls(factor, layout == "nhwc")

    def __call__(self, samples: dict[str, Array]) -> dict[str, Array]:
        return {name: self.prepared(array) for name, array in samples.items()}

    def prepared(self, array: Array) -> Array:
        if self.channels_last and array.ndim > 2:
            array = np.ascontiguousarray(np.moveaxis(array, -1, 1))
        if self.scale is None:
            return array
        return array.astype(np.float32) * np.float32(self.scale.numerator) / np.float32(self.scale.denominator)


AS_THEY_ARE = Preparation()


def read_samples(
    path: Path | None,
    graph: Graph,
    keys: list[str] | None = None,
    labels: str | None = None,
    prepare: Preparation = AS_THEY_ARE,
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
    inputs = {graph.names[value.node]: value.type for value in graph.inputs}
    samples, wanted = read_arrays(path, inputs, keys or [], labels)
    samples = as_floats(prepare(samples), inputs)
    return samples if labels is None or wanted is None else with_labels(samples, labels, wanted)


def read_arrays(
    path: Path, inputs: dict[str, TensorType], keys: list[str], labels: str | None = None
) -> tuple[dict[str, Array], Array | None]:
    """The array of each input, and that called ``labels``, as they are stored, in the rows that are meant."""
    file, rows = sliced(path)
    with open_arrays(file) as found:
        if labels is not None and labels not in found:
            why = f"it has {', '.join(name or 'one without a name' for name in found) or 'none'}"
            raise InvalidInput(f"no array is called so in {file}", where=f"--labels {labels}", why=why)
        chosen = choose({n: a for n, a in found.items() if n != labels}, inputs, keys, str(file))
        arrays = read_some(found, {*chosen.values(), *([] if labels is None else [labels])}, str(file))
    if unused := [name for name in found if name not in arrays]:
        warn(f"{file}: no input of the model takes {', '.join(unused)}: ignored")
    cut = {name: rows_of(array, rows, str(path)) for name, array in arrays.items()}
    return {name: cut[array] for name, array in chosen.items()}, None if labels is None else cut[labels]


def sliced(path: Path) -> tuple[Path, slice]:
    """A file, and which of its rows are meant: ``samples.npz[100:]`` is all but the first hundred."""
    found = re.fullmatch(r"(.+)\[(-?\d+)?:(-?\d+)?\]", str(path))
    if found is None or path.exists():
        return path, slice(None)
    start, stop = (int(text) if text else None for text in found.groups()[1:])
    return Path(found[1]), slice(start, stop)


def rows_of(array: Array, rows: slice, where: str) -> Array:
    """Rows of an array; raises ``InvalidInput`` where there are none."""
    if rows == slice(None):
        return array
    if not array.ndim or not len(cut := array[rows]):
        raise InvalidInput(f"there are no such rows in an array of the shape {list(array.shape)}", where=where)
    return cut


def as_floats(samples: dict[str, Array], inputs: dict[str, TensorType]) -> dict[str, Array]:
    """Floats of any width as those that an input takes."""
    taken = dict(samples)
    for name, wanted in inputs.items():
        if wanted.is_float and samples[name].dtype.kind == "f":
            with np.errstate(over="ignore"):
                taken[name] = samples[name].astype(wanted.dtype, copy=False)
    return taken


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
