"""A program: running, batches, saving and loading, sizes, and what it says to wrong inputs and missing tools."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compiling import Weights, assert_close, small_net

from graphopt import Program, compile
from graphopt.errors import BudgetExceeded, InvalidInput, ToolFailed
from graphopt.ir import Batch, Graph, arg, bind_batch
from graphopt.ops import Add, Linear, Relu
from graphopt.passes.contract import random_inputs
from graphopt.runtime import Run


def two_inputs() -> Graph:
    """Two inputs of different dtypes and names, one output; N samples of a batch."""
    g = Weights()
    x, y = arg("image", "float32", (Batch(), 4)), arg("self", "float32", (Batch(2), 4))
    return Graph((x, y), (Linear()(x, g.w(3, 4), g.w(3)), Relu()(y)), ("file", "self"))


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(two_inputs(), "host")


@pytest.fixture(scope="module")
def project() -> Program:
    return compile(small_net(), "cortex-m4")


def data(samples: int = 1) -> dict[str, np.ndarray]:
    return random_inputs(bind_batch(two_inputs(), samples), 5)


def test_inputs_go_by_position_or_by_name_whatever_the_name(program: Program) -> None:
    named = data()
    wanted = two_inputs()(**named)
    assert_close(wanted, program.run(*named.values()))
    assert_close(wanted, program.run(**named))
    assert_close(wanted, program.measure(named).outputs[0])
    with pytest.raises(InvalidInput, match="not both"):
        program.run(named["image"], self=named["self"])


@pytest.mark.parametrize("target", ["host", "aarch64", "cortex-m4"])
def test_a_batch_is_cut_into_runs(target: str) -> None:
    named = data(6)
    wanted = two_inputs()(**named)
    for batch in (1, 2, 3, 6):
        program = compile(two_inputs(), target, batch=batch)
        result = program.measure(named)
        assert len(result.outputs) == 6 // batch
        assert_close(wanted, program.run(**named))
        assert result.instructions is None if target == "host" else result.instructions > 0
        assert (result.seconds is not None) == (target == "host")


def test_one_output_is_an_array(program: Program) -> None:
    g = Weights()
    x = g.x(2, 3)
    assert isinstance(compile(g.graph(Relu()(x)), "host").run(np.ones((2, 3), "float32")), np.ndarray)
    assert isinstance(program.run(**data()), tuple)


WRONG: dict[str, tuple[Callable[[Program], object], str]] = {
    "a name": (lambda p: p.run(image=data()["image"], other=data()["self"]), "other"),
    "too few": (lambda p: p.run(data()["image"]), "2 needed"),
    "dtype": (lambda p: p.run(data()["image"].astype("float64"), data()["self"]), "float64"),
    "rank": (lambda p: p.run(data()["image"][0], data()["self"]), "image"),
    "shape": (lambda p: p.run(data()["image"][:, :3], data()["self"]), "image"),
    "batches that differ": (lambda p: p.run(data(2)["image"], data(3)["self"]), r"\[2, 3\]"),
    "part of a batch": (lambda p: p.run(data(2)["image"], data(2)["self"][:3]), "self"),
    "no samples": (lambda p: p.run(data()["image"][:0], data()["self"][:0]), "image"),
    "no array": (lambda p: p.run(1.0, 2.0), "image"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_named(case: str, program: Program) -> None:
    call, named = WRONG[case]
    with pytest.raises(InvalidInput, match=named):
        call(program)


def test_a_program_is_shown_in_one_line(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert repr(program) == (
        "<Program model for host: image float32[1, 4], self float32[2, 4] -> file float32[1, 3], self float32[2, 4]; "
        "60 bytes of weights, 0 of workspace>"
    )
    assert repr(Program({})) == "<Program of 0 files: there is no manifest.json>"
    x = arg("x\x1b[31m\n", "float32", (2,))
    many = compile(Graph((x,), tuple(Relu()(x) for _ in range(9))), "cortex-m4")
    assert r"x\x1b[31m\n float32[2]" in repr(many) and "5 more" in repr(many)


def test_nan_and_infinity_pass_through() -> None:
    x = arg("x", "float32", (5,))
    program = compile(Graph((x,), (Add()(x, x),)), "host")
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -1.5], "float32")
    np.testing.assert_array_equal(program.run(values), values + values)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_program_runs_once_more_after_save_and_load(target: str, tmp_path: Path) -> None:
    program = compile(two_inputs(), target, name="net")
    program.save(tmp_path / "new" / "net")
    loaded = Program.load(tmp_path / "new" / "net")
    assert loaded.files == program.files
    assert loaded.manifest == program.manifest
    assert_close(program.run(**data()), loaded.run(**data()))  # type: ignore[arg-type]
    assert loaded.sizes == program.sizes
    assert 0 < loaded.sizes.code < 20_000
    assert loaded.sizes.weights == 60


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("forever", [True, False], ids=["killed", "one call fails"])
@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("before", [True, False], ids=["over an old one", "anew"])
def test_an_end_at_any_step_leaves_old_or_new_or_nothing(
    before: bool, step: int, forever: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Program
) -> None:
    """``forever``: nothing works from that step on, as after a power cut."""
    folder = tmp_path / "out"
    old = Program({**project.files, "manifest.json": project.files["manifest.json"] + b"\n"})
    if before:
        old.save(folder)
    calls = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls - 1 == step or (forever and calls > step):
                raise Killed
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "mkdir", "rmdir", "chmod"):
            patch.setattr(os, name, dying(getattr(os, name)))
        try:
            project.save(folder)
            done = True
        except Killed:
            done = False
    if done:
        assert Program.load(folder).files == project.files
    elif folder.exists():
        assert Program.load(folder).files in ((old.files, project.files) if before else (project.files,))
    if before and not forever:
        assert folder.exists(), "what was there is put back"
        assert not done or [f.name for f in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "x"}', "\xff"])
def test_a_broken_manifest_is_an_error_of_its_own(text: str, project: Program, tmp_path: Path) -> None:
    project.save(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match="manifest"):
        Program.load(tmp_path / "out")


def test_artifacts_of_another_version_are_refused(project: Program, tmp_path: Path) -> None:
    project.save(tmp_path / "out")
    manifest = {**project.manifest, "abi_version": 99}
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="version 99"):
        Program.load(tmp_path / "out")


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"manifest\.json"):
        Program.load(tmp_path)


@pytest.mark.parametrize(
    ("target", "tool", "package"),
    [
        ("aarch64", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("cortex-m4", "arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("host", "gcc", "gcc"),
    ],
)
def test_a_missing_compiler_comes_with_its_apt_command(
    target: str, tool: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed) as caught:
        compile(two_inputs(), target).run(**data())
    assert f"{tool} is not installed" in str(caught.value)
    assert "sudo apt-get install -y" in str(caught.value)
    assert package in str(caught.value)


def test_a_missing_emulator_comes_with_its_apt_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Program
) -> None:
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-nm"):
        real = next(Path(p) / tool for p in os.environ["PATH"].split(":") if (Path(p) / tool).exists())
        (tmp_path / tool).symlink_to(real)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolFailed, match=r"qemu-system-arm is not installed\n  sudo apt-get install -y qemu-system-arm"
    ):
        project.measure(random_inputs(small_net(), 0))


def test_weights_beyond_the_flash_of_the_emulated_board(project: Program) -> None:
    manifest = {**project.manifest, "weight_bytes": 1 << 30}
    big = Program({**project.files, "manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(BudgetExceeded, match="the emulated mps2-an386 has 4,194,304 of flash"):
        big.measure(random_inputs(small_net(), 0))


def test_instructions_are_counted_exactly(project: Program) -> None:
    inputs = random_inputs(small_net(), 0)
    runs: list[Run] = [project.measure(inputs) for _ in range(2)]
    assert runs[0].instructions == runs[1].instructions
    assert runs[0].instructions is not None
    assert 10_000 < runs[0].instructions < 200_000
    assert project.measure(inputs, count=False).instructions is None
