"""Targets as data: a user's own board in a few lines, files that cannot be read, budgets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import Weights, check_program, small_net

from graphopt import compile
from graphopt.errors import BudgetExceeded, InvalidInput
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import (
    Cast,
    Concat,
    Conv,
    CumSum,
    Fused,
    Gather,
    LayerNorm,
    Less,
    Linear,
    MatMul,
    ReduceMean,
    Relu,
    Reshape,
    Softmax,
    Sub,
    Transpose,
    Where,
)
from graphopt.targets import Target, builtin_targets, get_target
from graphopt.targets.samples import samples_apart
from graphopt.targets.target import host_name

BOARD = """
[my-board]
base = "cortex-m4"
description = "my own"
ram = 65536
"""


def read(tmp_path: Path, text: str) -> Target:
    path = tmp_path / "board.toml"
    path.write_text(text)
    return get_target(str(path))


def test_a_board_in_a_few_lines(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(BOARD)
    target = get_target(str(tmp_path / "board.toml"))
    assert (target.name, target.ram, target.cpu) == ("my-board", 65536, "cortex-m4")
    program = check_program(small_net(), target)
    assert program.manifest["target"] == "my-board"


def test_the_host_can_be_made_a_lesser_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.targets.target.native_targets", lambda: ("x86-64-v2", "x86-64-v3"))
    uncached = host_name.__wrapped__
    monkeypatch.delenv("GRAPHOPT_HOST", raising=False)
    assert uncached() == "x86-64-v3"
    monkeypatch.setenv("GRAPHOPT_HOST", "x86-64-v2")
    assert uncached() == "x86-64-v2"
    monkeypatch.setenv("GRAPHOPT_HOST", "x86-64-v4")
    with pytest.raises(InvalidInput, match="GRAPHOPT_HOST: 'x86-64-v4' is none of x86-64-v2, x86-64-v3"):
        uncached()


def test_a_table_may_build_on_those_before_and_is_chosen_by_name(tmp_path: Path) -> None:
    two = f'{BOARD}\n[bigger]\nbase = "my-board"\nram = "128 KiB"\n'
    with pytest.raises(InvalidInput, match=r"2 targets in this file\n.*board\.toml:my-board or .*board\.toml:bigger"):
        read(tmp_path, two)
    target = get_target(f"{tmp_path / 'board.toml'}:bigger")
    assert (target.name, target.ram, target.description) == ("bigger", 131072, "my own")
    assert get_target(f"{tmp_path / 'board.toml'}:my-board").ram == 65536
    with pytest.raises(InvalidInput, match="no target is called 'small'"):
        get_target(f"{tmp_path / 'board.toml'}:small")


@pytest.mark.parametrize("text", ["64K", "64k", "64KB", "64 KiB", "65536", "0.0625M", "65536B"])
def test_sizes_of_memories_may_have_units(text: str, tmp_path: Path) -> None:
    runner = f'{{ kind = "board", ram = {{ origin = 0, size = "{text}" }} }}'
    target = read(tmp_path, f'[b]\nbase = "cortex-m4"\nflash = "1M"\nram = "{text}"\nrunner = {runner}')
    assert target.runner.ram is not None
    assert (target.flash, target.ram, target.runner.ram.size) == (1 << 20, 65536, 65536)


BAD = {
    "nothing": ("", "no target"),
    "no table": ("x = 3", "x = 3"),
    "not TOML": ("x = [", "not a TOML file"),
    "unknown base": ('[b]\nbase = "cortx-m4"', "cortex-m4"),
    "base of another type": ("[b]\nbase = [1]", "base"),
    "unknown field": ('[b]\nbase = "cortex-m4"\nsram = 3', "sram"),
    "text for a number": ('[b]\nbase = "cortex-m4"\nlanes = "4K"', "lanes = '4K'"),
    "an unknown unit": ('[b]\nbase = "cortex-m4"\nram = "64Q"', "64Q"),
    "part of a byte": ('[b]\nbase = "cortex-m4"\nram = "0.3K"', "0.3K"),
    "negative": ('[b]\nbase = "cortex-m4"\nram = -1', "ram = -1"),
    "true for a number": ('[b]\nbase = "cortex-m4"\nlanes = true', "lanes = True"),
    "odd lanes": ('[b]\nbase = "cortex-m4"\nlanes = 3', "lanes = 3"),
    "no registers": ('[b]\nbase = "cortex-m4"\nregisters = 0', "registers"),
    "odd alignment": ('[b]\nbase = "cortex-m4"\nalignment = 12', "alignment = 12"),
    "unknown code": ('[b]\nbase = "cortex-m4"\ncodegen = "rust"', "rust"),
    "unknown runner": ('[b]\nbase = "cortex-m4"\nrunner = { kind = "cloud" }', "cloud"),
    "runner is no table": ('[b]\nbase = "cortex-m4"\nrunner = 3', "runner"),
    "memory is no table": ('[b]\nbase = "cortex-m4"\nrunner = { kind = "board", flash = 4 }', "runner.flash"),
    "memory of text": (
        '[b]\nbase = "cortex-m4"\nrunner = { kind = "board", ram = { origin = "0x0", size = 4 } }',
        "runner.ram: origin",
    ),
    "toolchain of numbers": ('[b]\nbase = "cortex-m4"\ntoolchain = { compiler = 3 }', "compiler = 3"),
    "a name": ('[b]\nbase = "cortex-m4"\nname = "c"', "name"),
    "fields are missing": ('[b]\ndescription = "x"', "codegen"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_and_where(case: str, tmp_path: Path) -> None:
    text, named = BAD[case]
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    assert named in str(caught.value)
    assert "board.toml" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such target file"):
        get_target(str(tmp_path / "none.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"binary\.toml"):
        get_target(str(tmp_path / "binary.toml"))


def test_an_unknown_target_suggests_near_ones() -> None:
    with pytest.raises(InvalidInput, match="cortex-m4"):
        get_target("cortex_m4")
    with pytest.raises(InvalidInput) as caught:
        compile(small_net(), "zzz")
    assert all(name in str(caught.value) for name in builtin_targets())


def layers() -> Graph:
    g = Weights()
    x = arg("x", "float32", (1, 4, 16, 16))
    y = Conv()(x, g.w(32, 4, 1, 1), g.w(32), name="wide_conv")
    y = Conv()(y, g.w(32, 32, 1, 1), g.w(32), name="second_conv")
    y = Conv()(y, g.w(2, 32, 1, 1), g.w(2), name="narrow_conv")
    return Graph((x,), (Linear()(Reshape(shape=(1, 512))(Relu()(y)), g.w(100, 512), g.w(100), name="head"),))


def test_too_little_ram_names_the_layers_that_take_it(tmp_path: Path) -> None:
    target = read(tmp_path, '[tiny]\nbase = "cortex-m4"\nram = 30000')
    with pytest.raises(BudgetExceeded) as caught:
        compile(layers(), target)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "wide_conv (32,768 bytes)" in message
    assert "second_conv (32,768 bytes)" in message
    assert "30,000" in message
    assert "tiny" in message


def test_too_little_flash_names_the_weights_that_take_it(tmp_path: Path) -> None:
    target = read(tmp_path, '[tiny]\nbase = "cortex-m4"\nflash = 100000')
    with pytest.raises(BudgetExceeded, match=r"flash needed.*head_weight \(204,800 bytes\)"):
        compile(layers(), target)  # type: ignore[arg-type]


def test_budgets_are_met_to_the_byte(tmp_path: Path) -> None:
    manifest = compile(layers(), "cortex-m4").manifest
    ram, flash = manifest["workspace_bytes"], manifest["weight_bytes"]
    text = '[exact]\nbase = "cortex-m4"\nram = {}\nflash = {}'
    compile(layers(), read(tmp_path, text.format(ram, flash)))  # type: ignore[arg-type]
    for less in ((ram - 1, flash), (ram, flash - 1)):
        with pytest.raises(BudgetExceeded):
            compile(layers(), read(tmp_path, text.format(*less)))  # type: ignore[arg-type]


def batched(make: object) -> Graph:
    x = arg("x", "float32", (Batch(), 2, 3))
    y = make(x)  # type: ignore[operator]
    return Graph((x,), (y,))


APART = {
    "relu": Relu(),
    "rows": Reshape(shape=(Batch(2), 3)),
    "softmax of rows": Softmax(axis=1),
    "mean of rows": ReduceMean(axes=(1,)),
    "transposed rows": Transpose(perm=(0, 2, 1)),
    "beside each other": lambda x: Concat(axis=1)(x, x),
    "product of rows": lambda x: MatMul()(x, Transpose(perm=(0, 2, 1))(x)),
    "fused": lambda x: Fused(body=batched(Relu()))(x),
    "running sum of rows": CumSum(axis=1),
    "where a row is less": lambda x: Where()(Less()(x, Relu()(x)), x, Relu()(x)),
    "normed rows": lambda x: LayerNorm()(x, *(constant(np.ones(3, np.float32)),) * 2),
    "picked from rows": lambda x: Gather(axis=2)(x, constant(np.array([0, 2]))),
}
MIXED = {
    "softmax over the batch": Softmax(axis=0),
    "less the mean of the batch": lambda x: Sub()(x, ReduceMean(axes=(0,))(x)),
    "one batch behind the other": lambda x: Concat(axis=0)(x, x),
    "rows of all samples, then the next": lambda x: Reshape(shape=(Batch(2), 3))(Transpose(perm=(1, 0, 2))(x)),
    "fused": lambda x: Fused(body=batched(lambda y: Sub()(y, ReduceMean(axes=(0,))(y))))(x),
    "running sum of the batch": CumSum(axis=0),
    "samples put in the order of others": lambda x: Gather(axis=0)(
        x, Cast(to="int64")(ReduceMean(axes=(1, 2), keepdims=False)(x))
    ),
    "no batch in the output": ReduceMean(axes=(0, 1, 2)),
}


@pytest.mark.parametrize("name", APART)
def test_samples_that_stay_apart_may_be_run_one_by_one(name: str) -> None:
    assert samples_apart(batched(APART[name]))


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_mix_may_not(name: str) -> None:
    assert not samples_apart(batched(MIXED[name]))


def test_a_program_whose_samples_mix_refuses_other_batches() -> None:
    program = compile(batched(MIXED["softmax over the batch"]), "host", batch=2)
    data = np.ones((2, 2, 3), "float32")
    np.testing.assert_allclose(program.run(data), 0.5)
    for samples in (1, 4):
        with pytest.raises(InvalidInput, match="needed"):
            program.run(np.ones((samples, 2, 3), "float32"))


def test_a_graph_without_a_batch_has_no_samples() -> None:
    x = arg("x", "float32", (2, 3))
    assert not samples_apart(Graph((x,), (Relu()(x),)))
