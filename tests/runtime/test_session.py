"""Sessions: what they give, what they take where it is, what they refuse, threads, and how they end."""

from __future__ import annotations

import ctypes
import gc
import json
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiling import Weights, assert_close, small_net

import graphopt.runtime.session
from graphopt import Program, compile
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, arg, bind_batch
from graphopt.ops import Conv, Linear, Relu
from graphopt.passes.contract import random_inputs
from graphopt.runtime import Session


def two_ports() -> Graph:
    """Two inputs and two outputs whose samples have sizes that no alignment divides, and weights."""
    g = Weights()
    x, y = arg("x", "float32", (Batch(), 5)), arg("y", "int8", (Batch(2), 3))
    return Graph((x, y), (Linear()(x, g.w(7, 5), g.w(7)), Relu()(y)))


def samples(count: int, seed: int = 0) -> list[Array]:
    return list(random_inputs(bind_batch(two_ports(), count), seed).values())


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(two_ports(), "host")


@pytest.fixture
def session(program: Program) -> Iterator[Session]:
    with program.session() as made:
        yield made


class Recorder:
    """In the place of a library's function: keeps what it is called with, and calls it."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch, first: Callable[[], None] | None = None):
        assert session._library is not None
        self.real, self.first, self.calls = session._library.run_batch, first, list[tuple[int, list[int], list[int]]]()
        monkeypatch.setattr(session._library, "run_batch", self)

    def __call__(self, runs: ctypes.c_size_t, inputs: Any, outputs: Any, *rest: Any) -> int:
        self.calls.append((runs.value, list(inputs), list(outputs)))
        if self.first is not None:
            self.first()
        status: int = self.real(runs, inputs, outputs, *rest)
        return status


def test_outputs_are_new_or_go_where_they_are_told(program: Program, session: Session) -> None:
    for seed in range(3):
        x, y = samples(1, seed)
        wanted = two_ports()(x, y)
        first = session.run(x, y)
        out = session.output_buffers()
        assert session.run(x, y, out=out) == out
        assert_close(wanted, first)
        assert_close(wanted, out)
        assert_close(wanted, program.run(x, y))
        assert not np.shares_memory(first[0], session.run(x, y)[0])


def test_one_output_is_an_array() -> None:
    g = Weights()
    program = compile(g.graph(Relu()(g.x(2, 3))), "host")
    x, out = np.full((2, 3), -1, "float32"), np.full((2, 3), 9, "float32")
    with program.session() as session:
        assert session.run(x, out=out) is out and not out.any()
        assert session.run(x).shape == (2, 3)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_loop_over_a_batch_is_in_c(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call, though samples begin anywhere and are of another size than the alignment."""
    program = compile(two_ports(), "host", batch=batch)
    x, y = samples(6)
    wanted = two_ports()(x, y)
    raw = np.empty(x.nbytes + 4, np.uint8)
    shifted = raw[4:].view("float32").reshape(x.shape)
    shifted[...] = x
    with program.session() as session:
        recorder = Recorder(session, monkeypatch)
        assert_close(wanted, session.run(x, y))
        assert_close(wanted, session.run(shifted, y))
        out = np.empty_like(wanted[0]), np.empty_like(wanted[1])
        session.run(shifted, y, out=out)
        assert_close(wanted, out)
        assert_close(wanted, program.run(x, y))
    assert [runs for runs, _, _ in recorder.calls] == [6 // batch] * 4


def test_arrays_and_tensors_are_used_where_they_are(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = samples(2)
    x.flags.writeable = False
    out = [np.empty((2, 7), "float32"), np.empty((4, 3), "int8")]
    recorder = Recorder(session, monkeypatch)
    session.run(x, torch.from_numpy(y), out=[out[0], torch.from_numpy(out[1])])
    assert recorder.calls == [(2, [x.ctypes.data, y.ctypes.data], [a.ctypes.data for a in out])]
    assert_close(two_ports()(x, y), out)


def test_buffers_are_aligned_zeroed_and_of_any_number_of_runs(session: Session, program: Program) -> None:
    made = [*session.input_buffers(3), *session.output_buffers(3)]
    assert [a.shape for a in made] == [(3, 5), (6, 3), (3, 7), (6, 3)]
    assert all(a.ctypes.data % program.manifest["alignment"] == 0 and not a.any() for a in made)


def changed(position: int, change: Callable[[Array], Any]) -> list[Any]:
    arrays: list[Any] = samples(2)
    arrays[position] = change(arrays[position])
    return arrays


def outputs(count: int) -> list[Array]:
    return [np.zeros((count, 7), "float32"), np.zeros((2 * count, 3), "int8")]


def overlapping() -> tuple[list[Array], list[Array]]:
    x, y = samples(2)
    return [x, y], [np.zeros((2, 7), "float32"), y]


def twice() -> tuple[list[Array], list[Array]]:
    raw = np.zeros(2 * 7 * 4 + 8, np.uint8)
    return samples(2), [raw[:56].view("float32").reshape(2, 7), raw[52:].view("int8")[:12].reshape(4, 3)]


def read_only() -> list[Array]:
    made = outputs(2)
    made[0].flags.writeable = False
    return made


REFUSED: dict[str, tuple[list[Any], Any, str]] = {
    "too few": (samples(2)[:1], None, "1 inputs given, 2 needed: x, y"),
    "dtype": (changed(0, lambda x: x.astype("float64")), None, r"input 'x': float64\[2, 5\] given, float32\[1, 5\]"),
    "byte order": (changed(0, lambda x: x.astype(">f4")), None, "input 'x': >f4"),
    "shape": (changed(1, lambda y: y[:, :2]), None, r"input 'y': int8\[4, 2\] given"),
    "part of a batch": (changed(1, lambda y: y[:3]), None, r"input 'y': int8\[3, 3\] given"),
    "batches that differ": (changed(1, lambda y: y[:2]), None, r"different numbers of samples: \[1, 2\]"),
    "strides": (changed(0, lambda x: np.asfortranarray(x)), None, "input 'x': is not contiguous .*strides"),
    "strides of a tensor": (changed(0, lambda x: torch.from_numpy(x.T.copy()).T), None, "not contiguous"),
    "a list": (changed(0, lambda x: x.tolist()), None, "a list is no array"),
    "a gradient": (changed(0, lambda x: torch.from_numpy(x).requires_grad_()), None, "input 'x': gives no view .*grad"),
    "one out of two": (samples(2), outputs(2)[0], "1 outputs given, 2 needed"),
    "room": (samples(2), outputs(3), "out: the outputs have room for 3 runs, the inputs are for 2"),
    "read-only": (samples(2), read_only(), "output 'output_0': is read-only"),
    "an input as output": (*overlapping(), "output 'output_1': overlaps"),
    "outputs in one place": (*twice(), "output 'output_1': overlaps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_reason(case: str, session: Session) -> None:
    inputs, out, message = REFUSED[case]
    with pytest.raises(InvalidInput, match=message):
        session.run(*inputs, out=out)


def test_threads_share_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each computes in a workspace of its own, made once."""
    g = Weights()
    conv = Conv(pads=(1, 1, 1, 1))
    graph = g.graph(conv(Relu()(conv(g.x(1, 8, 16, 16), g.w(8, 8, 3, 3), g.w(8))), g.w(8, 8, 3, 3), g.w(8)))
    program, made, real = compile(graph, "host"), [], graphopt.runtime.session.aligned

    def counting(shape: tuple[int, ...], dtype: Any, alignment: int) -> Array:
        made.append(dtype)
        return real(shape, dtype, alignment)

    monkeypatch.setattr(graphopt.runtime.session, "aligned", counting)
    session, wrong = program.session(), list[int]()
    given = [random_inputs(graph, seed)["x0"] for seed in range(4)]
    wanted = [session.run(x) for x in given]
    assert_close(graph(given[0]), [wanted[0]])
    barrier = threading.Barrier(4)

    def work(i: int) -> None:
        out = np.empty_like(wanted[i])
        barrier.wait()
        for _ in range(100):
            session.run(given[i], out=out)
            wrong.extend([i] * (not np.array_equal(out, wanted[i])))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert made.count("uint8") == 1 + 4


def test_a_library_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program, loads, real = compile(two_ports(), "host"), list[str](), ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda path: loads.append(path) or real(path))  # type: ignore[func-returns-value]
    for _ in range(3):
        program.run(*samples(4))
        program.measure(samples(1))
        program.session().run(*samples(1))
    assert len(loads) == 1 and not Path(loads[0]).parent.exists()


def mapped(name: str) -> bool:
    return f"lib{name}.so" in Path("/proc/self/maps").read_text()


def test_a_library_goes_with_the_last_that_needs_it() -> None:
    program = compile(two_ports(), "host", name="goes")
    assert not mapped("goes")
    with program.session() as session:
        session.run(*samples(1))
        assert mapped("goes")
    with pytest.raises(InvalidInput, match="the session is closed"):
        session.run(*samples(1))
    other = program.session()
    del program
    gc.collect()
    assert mapped("goes")
    assert_close(two_ports()(*samples(1)), other.run(*samples(1)))
    del other
    gc.collect()
    assert not mapped("goes")


def test_a_call_outlives_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another thread closes it meanwhile."""
    held = [compile(two_ports(), "host", name="outlives")]
    session = held[0].session()

    def end() -> None:
        session.close()
        held.clear()
        gc.collect()

    recorder = Recorder(session, monkeypatch, end)
    assert_close(two_ports()(*samples(1)), session.run(*samples(1)))
    assert len(recorder.calls) == 1


def same(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_saved_and_sent_programs_have_sessions(program: Program, session: Session, tmp_path: Path) -> None:
    program.save(tmp_path / "net")
    wanted = session.run(*samples(3))
    for copy in (Program.load(tmp_path / "net"), pickle.loads(pickle.dumps(program))):
        with copy.session() as other:
            assert same(other.run(*samples(3)), wanted)


def test_emulated_programs_have_none() -> None:
    with pytest.raises(InvalidInput, match="was compiled for cortex-m4, which is emulated here"):
        compile(small_net(), "cortex-m4").session()


def test_a_library_without_the_loop_is_refused(program: Program) -> None:
    manifest = {key: value for key, value in program.manifest.items() if key not in ("files", "seal")}
    library = program.files["libmodel.so"].replace(b"model_run_batch", b"model_run_botch")
    older = Program({"libmodel.so": library, "manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(InvalidInput, match=r"libmodel\.so: is of an earlier graphopt"):
        older.session()


def test_a_call_like_the_last_one_is_checked_too(session: Session) -> None:
    """Arrays that were taken once may be others since: of another type, read-only, shorter, or one over the other."""
    x, y = session.input_buffers()
    out = list(session.output_buffers())
    for _ in range(2):
        session.run(x, y, out=out)
    assert session._latest.takes((x, y, *out))
    for bad, why in (
        ((x.view("int32"), y, *out), "float32"),
        ((x[:, :4], y, *out), "needed"),
        ((x.T.copy().T[:, ::-1], y, *out), "contiguous"),
        ((x, y[:1], *out), "needed"),
        ((x, y, out[0], out[0].view("int8")[:, :3]), "needed"),
    ):
        with pytest.raises(InvalidInput, match=why):
            session.run(*bad[:2], out=bad[2:])
    out[0].flags.writeable = False
    with pytest.raises(InvalidInput, match="read-only"):
        session.run(x, y, out=out)
    x.shape = (5, 1)
    with pytest.raises(InvalidInput, match="needed"):
        session.run(x, y, out=session.output_buffers())


def test_the_last_call_holds_no_arrays(session: Session) -> None:
    x, y = session.input_buffers()
    gone = weakref.ref(x)
    session.run(x, y, out=session.output_buffers())
    del x
    assert gone() is None
