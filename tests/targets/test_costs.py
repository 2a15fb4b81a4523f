"""What kernels cost, as it is predicted: what their loops do, what the text of routines tells, and whole nets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compiling import in_long_runs
from mlperf import data
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

import graphopt
from graphopt.ir import Graph
from graphopt.passes import Fuse, Quantize
from graphopt.targets.costs import Known, costs_of
from graphopt.targets.instructions import INSTRUCTIONS, find_instruction, portable
from graphopt.targets.instructions.dsp_narrow import Turn, narrow_routine
from graphopt.targets.kernels import KERNEL_RULES
from graphopt.targets.routine_text import costs_by_text, line_count, registers_of
from graphopt.targets.tir import loop, when
from graphopt.targets.work import AROUND, FLOATS, Work, terms_of, work_of

M4 = "cortex-m4"


def test_loops_are_counted_without_running_through_them() -> None:
    """Those with bounds that depend on other loops, and tests in them, are counted exactly too."""
    with IRBuilder() as b, builder.prim_func(s_tir=True):
        builder.func_name("kernel")
        y = builder.arg("y", builder.buffer((100,), "int8"))
        with loop("i", 0, 5) as i, loop("j", 0, i + 1) as j:
            with when(j < 2):
                builder.buffer_store(y, 0, [i + j])
            portable.COPY_RUNS.run(y.access_ptr("w"), y.access_ptr("r"), i, j, 1)
        with loop("k", 0, 7) as k:
            builder.buffer_store(y, y[k], [k])
    work = work_of(b.get())
    assert work.kind == AROUND
    wanted = {"loop": 7, "turn": 5 + 15 + 7, "store": 9 + 7, "load": 7}
    assert {word: work.done[f"{word} {AROUND}"] for word in wanted} == wanted
    assert work.written[f"store {AROUND}"] == 2
    assert work.done["copy_runs"] == 15
    assert work.done["copy_runs count"] == sum(j for i in range(5) for j in range(i + 1))
    assert work.done["copy_runs count * length"] == sum(i * j for i in range(5) for j in range(i + 1))


def test_kinds_of_kernels_have_words_of_their_own() -> None:
    def written(dtype: str) -> Work:
        with IRBuilder() as b, builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            y = builder.arg("y", builder.buffer((8,), dtype))
            with loop("i", 0, 7) as i:
                builder.buffer_store(y, y[i] + y[i + 1], [i])
        return work_of(b.get())

    integers, floats = written("int8"), written("float32")
    assert (integers.kind, integers.done["turn"]) == ("", 7)
    assert (floats.kind, floats.done[f"turn {FLOATS}"], floats.done["arithmetic in float32"]) == (FLOATS, 7, 7)


def test_the_text_of_loops_tells_their_costs() -> None:
    loaded = "ldrsb r4, [r1], #1\nldrsb r5, [r1], #1"
    body = f"push {{r4-r7, lr}}\nmov r3, #6\n1:\n{loaded}\nsubs r3, r3, #1\nbne 1b\npop {{r4-r7, pc}}"
    counted = costs_by_text("one", body, (), None)["one"]
    assert counted.instructions == 3 + 6 * 4
    assert counted.cycles == (5 + 1 + 6) + 6 * (4 + 1 + 2)
    by_run = costs_by_text("one", body, (), "count")
    assert (by_run["one"].instructions, by_run["one count"].instructions) == (3, 4)
    assert costs_by_text("two", body + "\n2:\nbne 2b", (), "count") == {}
    assert costs_by_text("two", body.replace("mov r3, #6", "bx r3"), (), "count") == {}
    assert [registers_of(text) for text in ("ldm r0!, {r1, r4-r6}", "ldrd r2, r3, [sp]", "ldr r1, [r0]")] == [4, 2, 1]


def test_the_text_of_loops_within_each_other_tells_their_costs() -> None:
    """A jump ahead is taken, unless it leaves a loop."""
    inner = "2:\nadds r3, r3, r4\nbeq 4f\nmovs r0, #1\n4:\nstrb r3, [r0]\ncmp r0, r5\nbne 2b"
    body = f"push {{r4, lr}}\n1:\nldr r4, [r1]\n{inner}\nsubs r2, r2, #1\nbeq 5f\nb 1b\n5:\nmov r0, r5\npop {{r4, pc}}"
    found = costs_by_text("one", body, (("1", "rows"), ("2", "5 * rows")), None)
    assert {name: (one.instructions, one.cycles) for name, one in found.items()} == {
        "one": (3, 2 + 1 + 3),
        "one rows": (4, 4 + 1 + 2),
        "one 5 * rows": (5, 5 + 2 + 2),
    }
    assert costs_by_text("one", body, (("1", "rows"),), None) == {}


def test_terms_follow_the_spans_of_routines() -> None:
    texts = [text for text, _ in terms_of(portable.COPY_RUNS)]
    assert texts[:2] == ["count", "count * length"] or texts[:2] == ["count * length", "count"]
    assert "(count % 4) * length" in texts
    for name, isa in list(INSTRUCTIONS):
        assert all(code for _, code in terms_of(INSTRUCTIONS[name, isa]))


def test_costs_are_those_of_the_most_special_set() -> None:
    assert KERNEL_RULES
    m4, *others = (costs_of(graphopt.get_target(core)) for core in (M4, "cortex-m7", "cortex-m33"))
    assert m4 is not None and all(one is not None and one.costs is m4.costs for one in others)
    m0, m3 = (costs_of(graphopt.get_target(core)) for core in ("cortex-m0", "cortex-m3"))
    assert m0 is not None and m3 is not None and m0.costs is not m3.costs is not m4.costs
    assert costs_of(graphopt.get_target("x86-64-v3")) is None  # whose kernels were not measured
    assert m4.shares("multiply_pairs")
    assert m4.routine("multiply_pairs") > 400


def test_what_was_never_measured_is_in_doubt_or_estimated_by_its_text() -> None:
    m4 = costs_of(graphopt.get_target(M4))
    assert m4 is not None
    unmeasured = Known(replace(m4.costs, instructions={}), m4.target)
    turn = narrow_routine(Turn(1, 2, 4095))  # whose text tells all
    for name, told in (("multiply_pairs", False), (turn.name, True)):
        work = Work(written=Counter([name]), kind=AROUND)
        assert m4.doubt(work) == m4.costs.doubts[AROUND]
        assert (unmeasured.doubt(work) is not None) == told
    assert m4.routine(turn.name) == pytest.approx(4 * line_count(find_instruction(turn.name, m4.target)), rel=0.1)


def sww(shared: Path) -> Graph:
    windows = data(shared, "sww_windows.npz")["x"]
    net = graphopt.load(shared / "models" / "mlperf_tiny" / "sww_dscnn.onnx")
    return Fuse()(Quantize(calibration=windows)(net))


@pytest.mark.parametrize("optimize", ["balanced", *in_long_runs("speed")])
def test_a_net_costs_what_was_predicted(optimize: str, shared: Path) -> None:
    """Of the other nets, ``test_what_nets_take`` has it."""
    assert_as_predicted(graphopt.compile(sww(shared), M4, optimize=optimize))


@pytest.mark.parametrize("core", in_long_runs("cortex-m0", "cortex-m3"))
def test_a_net_costs_what_was_predicted_without_dsp(core: str, shared: Path) -> None:
    """Of the others, ``test_thumb_kernels`` has it."""
    assert_as_predicted(graphopt.compile(sww(shared), core))


def assert_as_predicted(program: graphopt.Program) -> None:
    run = program.measure([np.zeros(program.manifest["inputs"][0]["shape"], np.int8)])
    predicted = program.manifest["predicted"]
    assert predicted["instructions"] == pytest.approx(run.instructions, rel=0.05)
    assert predicted["cycles"] == pytest.approx(run.cycles, rel=0.07)
    assert predicted["code_bytes"] == pytest.approx(program.sizes.code, rel=0.1)
