"""Kernels that have forms of less scratch: the same numbers, each byte is held until it was read, and RAM is saved."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from compiling import check_program
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged import lowered_with_values, run_tagged
from targets.test_overlap import chain, conv, three
from targets.test_rows import drawn_net, streams_of

from graphopt.errors import BudgetExceeded
from graphopt.ir import Graph, arg
from graphopt.passes import Fuse
from graphopt.targets import compile, get_target
from graphopt.targets.kernels import ScratchForm
from graphopt.targets.plan import covered

M4 = get_target("cortex-m4")
ROOMS = st.sampled_from([0, 128, 256, 512])


def forms(graph: Graph) -> list[tuple[ScratchForm, ...]]:
    """The forms of each kernel."""
    lowering, _ = lowered_with_values(graph, M4)
    return list(lowering.forms.values())


def scratch(graph: Graph, room: int | None) -> list[int]:
    """The scratch that kernels take, in their order."""
    _, lowered = lowered_with_values(graph, M4, room=room)
    sizes = {name: [one.nbytes for _, one in built.scratch] for name, built in lowered.kernels.items()}
    return [sum(-(-size // 8) * 8 for size in sizes[call.kernel]) for call in lowered.calls]


def first_layer(channels: int = 3) -> Graph:
    x = arg("x", "int8", (1, channels, 24, 40))
    y = conv(x, 8, 3, 2, (0, 0, 1, 1), depthwise=False)
    return Fuse()(Graph((x,), (conv(y, 3, 1, 1, (0,) * 4, depthwise=False),)))


NETS = {"dense": three("int8", False, 3), "depthwise": three("int8", True, 3), "first": first_layer()}


@pytest.mark.parametrize("net", NETS)
def test_forms_are_what_kernels_take(net: str) -> None:
    """Ever less scratch for ever more instructions; a kernel takes the first that fits, or the last."""
    (offered,) = [found for found in forms(NETS[net]) if len(found) > 1]
    assert [one.nbytes for one in offered] == sorted({one.nbytes for one in offered}, reverse=True)
    assert offered[0].slower == 0 < offered[-1].slower
    for wanted, room in ((offered[0], None), *((one, one.nbytes) for one in offered), (offered[-1], 0)):
        assert wanted.nbytes in scratch(NETS[net], room)


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m3", "cortex-m4"])
def test_the_least_scratch_gives_the_same(target: str) -> None:
    for net in NETS.values():
        with pytest.raises(BudgetExceeded) as caught:
            compile(net, target, io_in_arena=True, ram=0)
        least = int(caught.value.what.partition(" ")[0].replace(",", ""))
        assert compile(net, target, io_in_arena=True).manifest["workspace_bytes"] >= least
        check_program(net, replace(get_target(target), ram=least))


@settings(max_examples=5)
@given(data=st.data(), room=ROOMS, rows=st.sampled_from([None, Fraction(1, 2), Fraction(2)]))
def test_drawn_rooms(
    data: st.DataObject, room: int, rows: Fraction | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    graph = chain(draw) if rows is None else drawn_net(draw)
    streams = {} if rows is None else {"streams": lambda g: streams_of(g, rows)}
    assert run_tagged(graph, M4, tmp_path_factory.mktemp("tagged"), room=room, **streams) == ""


def test_what_lies_within_a_stream_lies_over_another(tmp_path: Path) -> None:
    """Of two results that no turn holds on to, the second takes the place of the first, and that of the stream's."""
    x = arg("x", "int8", (1, 1, 9, 5))
    y = conv(x, 16, 1, 1, (0,) * 4, depthwise=False)
    for _ in range(2):
        y = conv(y, 16, 1, 1, (0,) * 4, depthwise=False)
    y = conv(y, 2, 3, 1, (1,) * 4, depthwise=False)
    graph = Fuse()(Graph((x,), (conv(y, 2, 1, 1, (0,) * 4, depthwise=False),)))
    streams = lambda g: streams_of(g, Fraction(1))  # noqa: E731
    lowering, _ = lowered_with_values(graph, M4, streams)
    assert lowering.overlaps
    assert run_tagged(graph, M4, tmp_path, streams=streams) == ""


def test_bytes_in_common() -> None:
    """A result and operands that begin so far above its start."""
    assert covered(10, [(0, 4)]) == 4
    assert covered(10, [(8, 4)]) == 2
    assert covered(10, [(8, 4), (8, 4)]) == 2
    assert covered(10, [(6, 2), (8, 4)]) == 4
    assert covered(10, [(12, 4)]) == 0


def test_the_refusal_of_a_budget_names_it() -> None:
    with pytest.raises(BudgetExceeded, match=r"bytes of RAM needed, the budget ram= is 10") as caught:
        compile(NETS["first"], "cortex-m4", ram=10)
    assert "allow ram=" in str(caught.value)
