"""What kernels cost, as it is predicted: what their loops do, what the text of routines tells, and whole nets."""

from __future__ import annotations

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
from graphopt.targets.costs import costs_of
from graphopt.targets.instructions import INSTRUCTIONS, find_instruction, portable
from graphopt.targets.kernels import KERNEL_RULES
from graphopt.targets.routine_text import costs_by_text, registers_of
from graphopt.targets.tir import loop, when
from graphopt.targets.work import terms_of, work_of

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
    assert (work.done["loop"], work.done["turn"]) == (7, 5 + 15 + 7)
    assert (work.done["store"], work.done["load"]) == (9 + 7, 7)
    assert work.written["store"] == 2
    assert work.done["copy_runs"] == 15
    assert work.done["copy_runs count"] == sum(j for i in range(5) for j in range(i + 1))
    assert work.done["copy_runs count * length"] == sum(i * j for i in range(5) for j in range(i + 1))


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
    m4, m7 = (costs_of(graphopt.get_target(core)) for core in (M4, "cortex-m7"))
    assert m4 is not None and m7 is not None and m4.costs is m7.costs
    for other in ("x86-64-v3", "cortex-m55", "cortex-m3"):  # whose own kernels were not measured
        assert costs_of(graphopt.get_target(other)) is None
    routine = find_instruction("multiply_pairs", graphopt.get_target(M4))
    assert m4.shares(routine.name)
    assert m4.routine(routine.name) > 400


def sww(shared: Path) -> Graph:
    windows = data(shared, "sww_windows.npz")["x"]
    net = graphopt.load(shared / "models" / "mlperf_tiny" / "sww_dscnn.onnx")
    return Fuse()(Quantize(calibration=windows)(net))


@pytest.mark.parametrize("optimize", ["balanced", *in_long_runs("speed")])
def test_a_net_costs_what_was_predicted(optimize: str, shared: Path) -> None:
    """Of the other nets, ``test_what_nets_take`` has it."""
    assert_as_predicted(graphopt.compile(sww(shared), M4, optimize=optimize))


def assert_as_predicted(program: graphopt.Program) -> None:
    run = program.measure([np.zeros(program.manifest["inputs"][0]["shape"], np.int8)])
    predicted = program.manifest["predicted"]
    assert predicted["instructions"] == pytest.approx(run.instructions, rel=0.05)
    assert predicted["cycles"] == pytest.approx(run.cycles, rel=0.07)
    assert predicted["code_bytes"] == pytest.approx(program.sizes.code, rel=0.1)
