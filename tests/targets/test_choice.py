"""What `optimize=` means: the choice among candidates, held to every choice there is, and to the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Conv, Relu
from graphopt.passes import Fuse, PruneChannels, Quantize
from graphopt.targets.candidates import Candidate
from graphopt.targets.choice import SLOWER, Layers, flash_of_balanced, within_ram
from graphopt.targets.plan import Lifetime
from graphopt.targets.target import OPTIMIZE


def drawn(rng: np.random.Generator) -> list[list[Candidate]]:
    """Layers with some candidates, which share some of their parts."""
    sizes = {f"routine {i}": float(rng.integers(500, 9_000)) for i in range(4)}

    def candidate(layer: int, place: int) -> Candidate:
        own = {f"constant {layer} {place}": float(rng.integers(1_000, 20_000))}
        shared = {part: size for part, size in sizes.items() if rng.random() < 0.4}
        cycles = float(rng.integers(1000, 9000))
        return Candidate(f"rule {place}", cycles * rng.uniform(0.5, 0.9), cycles, 0, own | shared)

    return [[candidate(layer, place) for place in range(int(rng.integers(1, 4)))] for layer in range(5)]


def costs(layers: Layers, places: Sequence[int]) -> tuple[float, float, float]:
    """Bytes of flash, cycles as they are compared, and instructions."""
    ends = np.cumsum([0, *map(len, layers.layers)])
    cycles = sum(layers.cycles[ends[i] + place] for i, place in enumerate(places))
    return layers.bytes_of(places), float(cycles), layers.instructions_of(places)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_choice_is_better(seed: int) -> None:
    layers = Layers(drawn(np.random.default_rng(seed)))
    chosen = {optimize: costs(layers, layers.choose(optimize)) for optimize in OPTIMIZE}
    every = [costs(layers, places) for places in product(*(range(len(layer)) for layer in layers.layers))]
    assert chosen["speed"][1] == pytest.approx(min(cycles for _, cycles, _ in every), rel=1e-9)
    size, balanced = chosen["size"], chosen["balanced"]
    assert balanced[0] <= flash_of_balanced(size[0])
    assert balanced[1] == pytest.approx(min(c for n, c, _ in every if n <= flash_of_balanced(size[0])), rel=1e-9)
    assert size[2] <= SLOWER * balanced[2]
    assert size[0] == pytest.approx(min(n for n, _, took in every if took <= SLOWER * balanced[2]), abs=0.01)


def test_the_flash_of_the_target_bounds_each() -> None:
    layers = drawn(np.random.default_rng(3))
    free = Layers(layers)
    least = min(free.bytes_of(places) for places in product(*(range(len(layer)) for layer in layers)))
    for optimize in OPTIMIZE:
        tight = Layers(layers, least)
        assert tight.bytes_of(tight.choose(optimize)) == least
        impossible = Layers(layers, least - 1)
        assert impossible.choose(optimize) == free.choose(optimize)


def test_a_kernel_of_another_kind_must_be_better_by_more_than_it_may_be_off() -> None:
    def usual_or(cycles: float, kind: str) -> Layers:
        usual, other = Candidate("usual", 90.0, 100.0, 0), Candidate("other", cycles, cycles, 0, kind=kind, doubt=0.2)
        return Layers([[usual, other]])

    for optimize in ("balanced", "speed"):
        assert usual_or(90, "of floats").choose(optimize) == [0]
        assert usual_or(70, "of floats").choose(optimize) == [1]
        assert usual_or(90, "").choose(optimize) == [1]


def test_as_many_cycles_and_instructions_take_the_usual_kernel() -> None:
    candidates = [Candidate("usual", 100.0, 100.0, 0), Candidate("other", 99.0, 98.0, 0)]
    fewer = [candidates[0], Candidate("other", 90.0, 98.0, 0)]
    assert [Layers([candidates]).choose(optimize) for optimize in ("balanced", "speed")] == [[0], [0]]
    assert [Layers([fewer]).choose(optimize) for optimize in ("balanced", "speed")] == [[0], [1]]


def image_net(channels: int = 16) -> Graph:
    rng = np.random.default_rng(0)
    plane = image = arg("image", "float32", (1, 3, 12, 12))
    for inner, outer, size in ((3, channels, 3), (channels, channels, 3), (channels, channels, 1)):
        weight = constant(rng.normal(0, 0.3, (outer, inner, size, size)).astype(np.float32), name=f"w{inner}x{size}")
        bias = constant(np.zeros(outer, np.float32))
        plane = Relu()(Conv(pads=(size // 2,) * 4)(plane, weight, bias))
    return Graph((image,), (plane,), ("plane",))


def quantized(graph: Graph) -> Graph:
    samples = np.random.default_rng(1).normal(0, 1, (4, 3, 12, 12)).astype(np.float32)
    return Fuse()(Quantize(calibration=samples)(graph))


def test_each_gives_the_same_bytes_and_what_was_predicted() -> None:
    graph = quantized(image_net())
    rng = np.random.default_rng(2)
    sample = rng.integers(-128, 128, (1, 3, 12, 12)).astype(np.int8)
    wanted = graphopt.compile(graph).run(sample)
    flash, found = {}, dict[str, Any]()
    for optimize in OPTIMIZE:
        program = graphopt.compile(graph, "cortex-m4", optimize=optimize)
        run = program.measure([sample])
        assert np.array_equal(run.outputs[0][0], wanted)
        predicted = program.manifest["predicted"]
        assert run.instructions is not None and run.cycles is not None
        assert predicted["instructions"] == pytest.approx(run.instructions, rel=0.05)
        assert predicted["cycles"] == pytest.approx(run.cycles, rel=0.05)
        assert predicted["code_bytes"] == pytest.approx(program.sizes.code, rel=0.1)
        flash[optimize] = program.sizes.code + program.sizes.weights
        found[optimize] = run
    assert flash["size"] <= flash["balanced"] <= flash_of_balanced(flash["size"])
    assert found["speed"].cycles <= 1.01 * found["balanced"].cycles <= 1.02 * found["size"].cycles


def test_candidates_are_told_once_each_and_one_of_a_layer_is_chosen() -> None:
    program = graphopt.compile(quantized(image_net()), "cortex-m4")
    rows = program.manifest["candidates"]
    nodes = [row["node"] for row in rows if row["chosen"]]
    assert nodes == list(dict.fromkeys(row["node"] for row in rows))
    assert len({(row["node"], row["rule"]) for row in rows}) == len(rows) > len(nodes)
    assert "candidates" not in graphopt.compile(quantized(image_net())).manifest


@pytest.mark.parametrize(("ram", "left"), [(None, [60, 40]), (160, [60, 40]), (159, [40]), (100, [40])])
def test_scratch_that_the_ram_has_no_room_for_is_no_candidate(ram: int | None, left: list[int]) -> None:
    """Where it has room for none, the least is left: rows may save the rest, or the budget is refused."""
    layer = [Candidate("rule", 1.0, 1.0, scratch) for scratch in (60, 40)]
    lowering: Any = SimpleNamespace(
        target=SimpleNamespace(alignment=1),
        lifetimes=lambda: [Lifetime("plane", 100, 1, 1)],
        named_overlaps=dict,
        calls=[SimpleNamespace(node="layer", step=1)],  # behind copies, which are no layers
    )
    assert [one.scratch for one in within_ram(lowering, {"layer": layer}, ram)["layer"]] == left


def test_a_cost_orders_pruned_nets_as_boards_do() -> None:
    nets = [quantized(image_net(channels)) for channels in (8, 12)]
    for unit in ("instructions", "bytes", "ram"):
        small, large = (graphopt.cost("cortex-m4", unit).cost(net) for net in nets)
        assert small < large
        if unit == "instructions":
            zeros = [np.zeros((1, 3, 12, 12), np.int8)]
            counted = [graphopt.compile(net, "cortex-m4").measure(zeros).instructions for net in nets]
            assert [small, large] == pytest.approx(counted, rel=0.05)


def test_pruning_to_what_a_board_pays() -> None:
    graph, model = image_net(), graphopt.cost("cortex-m4", "ram")
    small = PruneChannels(target_cost=0.7, cost=model, min_channels=2)(graph)
    assert model.cost(small) <= 0.7 * model.cost(graph)
    with pytest.raises(InvalidInput, match="unknown unit 'joules'"):
        graphopt.cost("cortex-m4", "joules")


def test_a_target_without_known_costs_gets_the_usual_kernels() -> None:
    machine = replace(graphopt.get_target("cortex-m4"), name="plain", isa=())
    program = graphopt.compile(quantized(image_net()), machine, optimize="size")
    assert "predicted" not in program.manifest
