"""A damaged manifest is refused before anything is called: by its fields, and by the sizes of what was compiled."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiling import Weights, assert_close, small_net

from graphopt import Program, compile
from graphopt.errors import GraphoptError, InvalidInput, ToolFailed
from graphopt.ir import Batch, Graph, arg
from graphopt.ops import Relu
from graphopt.passes.contract import random_inputs
from graphopt.runtime.manifest import sealed

STRANGE: list[Any] = [None, -1, 0, 1.5, 1e400, True, "", "\0", "../../x", [], {}, [[]], [-1], 10**30, {"x": 1}]


@pytest.fixture(scope="module")
def program() -> Program:
    x = arg("x", "float32", (Batch(), 3))
    return compile(Graph((x,), (Relu()(x),), ("y",)), "host")


def mutants(value: Any) -> Iterator[Any]:
    """The value with one part of it replaced by something strange, or left out, each in turn."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        for other in [*STRANGE, *mutants(part)]:
            made = copy.copy(value)
            made[key] = other
            yield made
        left = copy.copy(value)
        del left[key]
        yield left
    if isinstance(value, dict):
        yield {**value, "unknown": 1}
    if isinstance(value, int) and not isinstance(value, bool):
        yield from (value - 1, value + 1, value * 2)


def test_every_mutant_is_refused_or_runs_as_before(program: Program) -> None:
    x = np.array([[1, -2, 3]], "float32")
    accepted = 0
    for manifest in mutants(program.manifest):
        text = json.dumps(manifest).encode()
        changed = Program({**program.files, "manifest.json": text})
        try:
            given = changed.manifest
            if given["runner"] != program.manifest["runner"] or given["name"] != "model":
                continue  # another emulator is another matter
            if accepted < 60 or given["inputs"] != program.manifest["inputs"]:
                result = changed.run(x)
                assert isinstance(result, np.ndarray) and result.size == 3
            accepted += 1
        except GraphoptError:
            pass
    assert accepted > 20, "a name, the text of a kernel: what does not matter"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'{"name": "x"}',
        b"\xff\xfe{",
        b'{"name": NaN}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"name": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_manifest(text: bytes, program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(text)
    with pytest.raises(InvalidInput, match="manifest"):
        Program.load(tmp_path / "out")


@pytest.mark.parametrize("target", ["host", "aarch64", "cortex-m4"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("outputs", 0, "shape"), [1, 2]),
        (("outputs", 0, "dtype"), "int8"),
        (("inputs", 0, "shape"), [1, 2]),
        (("workspace_bytes",), 0),
        (("alignment",), 1),
    ],
)
def test_sizes_must_be_those_of_the_code(target: str, path: tuple[Any, ...], value: Any) -> None:
    program = programs(target)
    manifest = json.loads(program.files["manifest.json"])
    place = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    changed = Program({**program.files, "manifest.json": json.dumps(manifest).encode()})
    inputs = {p["name"]: np.zeros(p["shape"], p["dtype"]) for p in manifest["inputs"]}
    with pytest.raises(InvalidInput, match="its sizes are not those of manifest"):
        changed.measure(inputs)


MADE: dict[str, Program] = {}


def programs(target: str) -> Program:
    if target not in MADE:
        MADE[target] = compile(small_net(), target)
    return MADE[target]


def test_files_that_are_missing_or_damaged(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "out")
    library = tmp_path / "out" / "libmodel.so"
    data = library.read_bytes()
    library.write_bytes(data[:-1] + b"!")
    with pytest.raises(InvalidInput, match=r"libmodel\.so: is not what was compiled"):
        Program.load(tmp_path / "out")
    library.unlink()
    with pytest.raises(InvalidInput, match=r"libmodel\.so: is missing"):
        Program.load(tmp_path / "out")
    with pytest.raises(InvalidInput, match="is not what was compiled"):
        Program({**program.files, "libmodel.so": data[:1000]}).run(np.zeros((1, 3), "float32"))
    foreign = sealed({**program.files, "libmodel.so": programs("aarch64").files["libmodel.so"]})
    with pytest.raises(ToolFailed, match="cannot be loaded"):
        Program(foreign).run(np.zeros((1, 3), "float32"))


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_ports_of_every_kind_pass(target: str) -> None:
    """A number, booleans, eight bytes: their sizes agree in manifest, header and library."""
    g = Weights()
    inputs = [g.x(dtype="float64"), g.x(3, dtype="bool"), g.x(2, 2, dtype="int64"), g.x(5, dtype="uint16")]
    graph = g.graph(*(v for v in inputs))
    given = random_inputs(graph, 0)
    assert_close(graph(**given), compile(graph, target).measure(given).outputs[0])
