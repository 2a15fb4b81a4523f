"""Reading ONNX files, of which nothing is trusted: not that they are ONNX, nor where they say their weights lie."""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx

from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends.limits import MAX_FILE_BYTES, MAX_NODES
from graphopt.frontends.onnx.stored import EMBEDDED, put_place, without_tensors

PICKLES = frozenset([".pt", ".pt2", ".pth", ".pkl", ".pickle", ".ckpt"])
FIRST_OPSET = 6
NUMBER = re.compile("[0-9]{1,18}")


def read(path: Path) -> onnx.ModelProto:
    """The model in a file, without its external data, and without that of large tensors, as ``stored`` has it.

    Raises ``InvalidInput`` for what is not ONNX or is cut short; a pickle is refused without being opened by torch.
    """
    where = str(path)
    if not path.is_file():
        raise InvalidInput("there is no such file", where=where)
    with path.open("rb") as file:
        refuse_other_formats(path, file.read(8))
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise InvalidInput(f"a file of {size:,} bytes is no ONNX model", where=where)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    model = onnx.ModelProto()
    try:
        with data, memoryview(data) as view:
            model.ParseFromString(smaller(view))
    except Exception as error:  # protobuf has no typed error to name
        raise InvalidInput("the file is not ONNX, or is cut short", where=where, why=str(error)) from error
    return model


def smaller(view: memoryview) -> bytes | memoryview:
    """The bytes of a model without its large tensors; what is no model is left for protobuf to say so."""
    try:
        return without_tensors(view)
    except (ValueError, IndexError):
        return view


def refuse_other_formats(path: Path, head: bytes) -> None:
    """Raise ``InvalidInput`` for files of torch, pickles and zip archives."""
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if path.suffix.lower() in PICKLES or pickled or head[:2] == b"PK":
        raise InvalidInput(
            "this is a file of PyTorch or an archive, not ONNX",
            where=str(path),
            why="unpickling it could run any code",
            advice="load it in your own program and give the module to graphopt.trace, or export it to ONNX",
        )


def check_model(model: onnx.ModelProto, where: str) -> int:
    """The opset of the model. Raises ``InvalidInput`` or ``Unsupported`` if there is nothing to import."""
    if not model.graph.node and not model.graph.output:
        raise InvalidInput("the model has no graph", where=where, advice="it may be cut short, or not be ONNX")
    newest = onnx.defs.onnx_opset_version()
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None and any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        raise InvalidInput("the model names no ONNX opset", where=where)
    opset = newest if opset is None else opset
    if any(not isinstance(name, str) for name in names_in(model.graph)):
        raise InvalidInput("the model has names that are not text", where=where)
    check_functions(model, where)
    if not FIRST_OPSET <= opset <= newest:
        raise Unsupported(
            f"opset {opset}",
            where=where,
            why=f"opsets {FIRST_OPSET} to {newest} are read",
            advice="convert it with onnx.version_converter",
        )
    if any(part.sparse_initializer for part in parts_of(model) if isinstance(part, onnx.GraphProto)):
        raise Unsupported("sparse initializers", where=where, advice="store the weights dense")
    negative = [t.name for t in stored_tensors(model) if any(d < 0 for d in t.dims)]
    if negative:
        raise InvalidInput(f"tensors of negative dimensions: {', '.join(negative[:5])}", where=where)
    for what, names in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        if repeated := repeats(names):
            raise InvalidInput(f"two {what} have one name, {repeated!r}", where=where)
    for part in parts_of(model):
        if isinstance(part, onnx.GraphProto) and (repeated := repeats([t for t in part.initializer if t.name])):
            raise InvalidInput(f"two initializers have one name, {repeated!r}", where=where)
    odd = [t.name for t in stored_tensors(model) if not known_to_numpy(t.data_type)]
    if odd:
        raise Unsupported(
            f"tensors of types that numpy lacks: {', '.join(odd[:5])}",
            where=where,
            advice="convert the model to float32",
        )
    return int(opset)


def repeats(named: Iterable[onnx.ValueInfoProto | onnx.TensorProto]) -> str | None:
    """A name that there is twice."""
    return next((name for name, count in Counter(n.name for n in named).items() if count > 1), None)


def names_in(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """Every name in a graph and in the graphs in its attributes; protobuf gives one that is not UTF-8 as bytes."""
    graphs = [graph]
    for inner in graphs:
        yield inner.name
        for info in (*inner.input, *inner.output, *inner.initializer):
            yield info.name
        for node in inner.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                yield attribute.name
                graphs += [attribute.g, *attribute.graphs]


def check_functions(model: onnx.ModelProto, where: str) -> None:
    """Raise ``InvalidInput`` if functions of the model call each other in a circle, or write out to too many nodes."""
    functions = {(f.domain, f.name): f for f in model.functions}
    calls = {
        key: [(n.domain, n.op_type) for n in f.node if (n.domain, n.op_type) in functions]
        for key, f in functions.items()
    }
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise InvalidInput("a function of the model calls itself", where=where, why=str(error.args[1])) from error
    size: dict[tuple[str, str], int] = {}
    for key in order:
        size[key] = len(functions[key].node) + sum(size[c] for c in calls[key])
    if sum(size.get((n.domain, n.op_type), 0) for n in model.graph.node) > MAX_NODES:
        raise InvalidInput(f"the functions of the model write out to more than {MAX_NODES:,} nodes", where=where)


def known_to_numpy(kind: int) -> bool:
    """Whether a type of element is not bfloat16 or narrower than a byte, which would be converted in silence."""
    if kind not in onnx.helper.get_all_tensor_dtypes():
        return False
    return onnx.helper.tensor_dtype_to_np_dtype(kind).kind != "V"


def locate_data(model: onnx.ModelProto, path: Path) -> None:
    """Find the tensors that lie outside of the model, which ``check_model`` has passed: in its file, or beside it."""
    outside = [t for t in stored_tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    entries = [{e.key: e.value for e in tensor.external_data} for tensor in outside]
    embedded = [EMBEDDED in found and "location" not in found for found in entries]
    limits = {False: ("in other files", MAX_FILE_BYTES), True: ("in its file", path.stat().st_size)}
    for inside, (where, limit) in limits.items():
        total = sum(nbytes(t) for t, own in zip(outside, embedded, strict=True) if own == inside)
        if total > limit:
            raise InvalidInput(f"the model keeps {total:,} bytes {where}", why=f"{limit:,} are the most")
    for tensor, found, own in zip(outside, entries, embedded, strict=True):
        where = f"tensor {tensor.name!r}"
        file = path if own else external_file(where, found, path.parent)
        put_place(tensor, file, offset_in(file, found, nbytes(tensor), where, EMBEDDED if own else "offset"))


def nbytes(tensor: onnx.TensorProto) -> int:
    """The bytes that the shape and the type of a tensor ask for."""
    size: int = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return size


def refuse_external_data(model: onnx.ModelProto, where: str) -> None:
    """Raise ``InvalidInput`` if tensors of a model in memory lie in a file: its folder is not known."""
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in stored_tensors(model)):
        raise InvalidInput("the model keeps its weights in another file", where=where, advice="give the path")


def parts_of(model: onnx.ModelProto) -> list[onnx.GraphProto | onnx.FunctionProto]:
    """The graph and the functions of a model, and the graphs in attributes of their nodes."""
    found: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for part in found:
        for node in part.node:
            for attribute in node.attribute:
                found += [attribute.g] if attribute.HasField("g") else []
                found += attribute.graphs
    return found


def stored_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The initializers, and the tensors in attributes, in all parts of a model."""
    for part in parts_of(model):
        yield from part.initializer if isinstance(part, onnx.GraphProto) else ()
        for node in part.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors


def external_file(where: str, entries: dict[str, str], folder: Path) -> Path:
    """The file with the data of one tensor, in the folder: no absolute path, no ``..``, no link out of it."""
    location = Path(entries.get("location", ""))
    try:
        folder = folder.resolve()
        path = (folder / location).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long or with NUL
        raise InvalidInput("its data lies at an impossible place", where=where, why=str(error)[:200]) from error
    if location.is_absolute() or ".." in location.parts or not path.is_relative_to(folder):
        raise InvalidInput(
            f"its data lies in {str(location)!r}, outside the folder of the model",
            where=where,
            advice="keep the weights beside the model",
        )
    if not found:
        raise InvalidInput(f"its data file {str(location)!r} is missing", where=where)
    return path


def offset_in(path: Path, entries: dict[str, str], wanted: int, where: str, key: str) -> int:
    """Where the bytes of one tensor begin in a file, which has as many as it wants; so must its length say, if any."""
    offset, length = entries.get(key, "0"), entries.get("length", "")
    if not NUMBER.fullmatch(offset) or not NUMBER.fullmatch(length or "0"):
        raise InvalidInput(f"its data lies at {offset[:20]!r}, length {length[:20]!r}", where=where)
    if length and int(length) != wanted:
        raise InvalidInput(f"its data has {int(length):,} bytes, its shape and type take {wanted:,}", where=where)
    if int(offset) + wanted > path.stat().st_size:
        raise InvalidInput(f"its data file {path.name!r} is cut short", where=where)
    return int(offset)
