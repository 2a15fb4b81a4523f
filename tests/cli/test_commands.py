"""Every command on small ONNX files, in this process; and what the user sees when something is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from shell import Shell

from graphopt import Program
from graphopt.cli import main
from graphopt.passes import PASSES, default_pipeline
from graphopt.targets import builtin_targets

MY_PASSES = """
from graphopt.ir import Graph
from graphopt.passes import Context, Exact, Note, Pass


class Stamp(Pass, name="stamp-{n}", contract=Exact()):
    \"\"\"Leaves a note [in brackets] and the graph alone.\"\"\"

    times: int = 1

    def run(self, graph: Graph, context: Context) -> Graph:
        context.notes += [Note(self.name, "everywhere", f"stamped {{self.times}} times")]
        return graph
"""


def test_inspect_shows_ports_operators_and_costs(shell: Shell, model: Path) -> None:
    text = shell("inspect", model, "--batch", 2)
    assert re.search(r"input\W+x\W+float32\[N, 3, 6, 6\]", text)
    assert re.search(r"output\W+scores\W+float32\[N, 4, 1, 1\]", text)
    assert re.search(r"conv\W+1\W+7,776", text)
    assert re.search(r"parameters\W+112", text)


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """A model of x [batch, seq, 4], both of them dynamic."""
    shape = ["batch", "seq", 4]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "sequence", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "s.onnx")
    return tmp_path / "s.onnx"


@pytest.mark.parametrize("bound", ["--shape seq=16", "--shape x=3,16,4", "--shape batch=3 --shape seq=16"])
def test_dynamic_dimensions_are_bound(bound: str, shell: Shell, sequence: Path) -> None:
    batch = "3" if "3" in bound else "N"
    assert "--shape seq=16" in shell("inspect", sequence, status=2)
    assert f"float32[{batch}, 16, 4]" in shell("inspect", sequence, *bound.split())
    assert f"float32[{batch}, 16, 4]" in shell("opt", sequence, *bound.split())
    shell("opt", sequence, "-o", sequence.with_suffix(".gopt"), *bound.split())
    assert "the same" in shell("diff", sequence, sequence.with_suffix(".gopt"), *bound.split())
    assert "nothing to reduce" in shell("reduce", sequence, *bound.split(), status=2)
    shell("compile", sequence, "-o", sequence.with_suffix(""), "-t", "cortex-m4", *bound.split())


@pytest.fixture
def switched(tmp_path: Path) -> Path:
    """A model that reshapes x [2, 3] to what an input says."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in "xy"]
    wanted = helper.make_tensor_value_info("wanted", TensorProto.INT64, ["rank"])
    reshape = helper.make_node("Reshape", ["x", "wanted"], ["y"])
    graph = helper.make_graph([reshape], "switched", [ports[0], wanted], [helper.make_empty_tensor_value_info("y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "w.onnx")
    return tmp_path / "w.onnx"


@pytest.mark.parametrize("bound", ["--constant wanted=6", "--constant wanted=1,6"])
def test_inputs_are_frozen(bound: str, shell: Shell, switched: Path) -> None:
    shape = [int(n) for n in bound.rpartition("=")[2].split(",")]
    assert "--constant wanted=..." in shell("inspect", switched, "--shape", "rank=1", status=2)
    assert f"float32{shape}" in shell("inspect", switched, *bound.split())
    for command in (["opt"], ["prune", "--dead"], ["bench", "-t", "cortex-m4"]):
        shell(command[0], switched, *command[1:], *bound.split())
    assert "nothing to reduce" in shell("reduce", switched, *bound.split(), status=2)
    shell("opt", switched, "-o", switched.with_suffix(".gopt"), *bound.split())
    assert "the same" in shell("diff", switched, switched.with_suffix(".gopt"), *bound.split())
    shell("compile", switched, "-o", switched.with_suffix(""), "-t", "cortex-m4", *bound.split())


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_compile_and_run(target: str, shell: Shell, model: Path, tmp_path: Path) -> None:
    text = shell("compile", model, "-o", tmp_path / "out", "-t", target, "--name", "net", "--check")
    assert f"net for {target}" in text
    assert re.search(r"weight bytes\W+448", text)
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "all.npz", x=x)
    results = []
    for given in ("x.npy", "x=x.npy", "all.npz"):
        name, equals, file = given.rpartition("=")
        text = shell("run", tmp_path / "out", "--input", f"{name}{equals}{tmp_path / file}", "-o", tmp_path / "y.npz")
        results.append(dict(np.load(tmp_path / "y.npz")))
    assert ("ms a run" if target == "host" else "instructions a run") in text
    assert "float32[2, 4, 1, 1]" in text
    assert set(results[0]) == {"file", "scores"}
    np.testing.assert_allclose(results[0]["scores"], results[0]["file"].mean(axis=(2, 3), keepdims=True), rtol=1e-4)
    for other in results[1:]:
        np.testing.assert_array_equal(other["file"], results[0]["file"])


def test_opt_prints_what_it_is_asked_for(shell: Shell, model: Path) -> None:
    plain = shell("opt", model)
    assert "fused" in plain
    assert shell("opt", model, "-p", "fold-constants").count("conv") >= 1
    every = shell("opt", model, "--print-after-all")
    assert all(f"after {p.name}" in every for p in default_pipeline())
    assert "after fuse" in shell("opt", model, "-p", "fuse", "--diff")
    assert "[red]conv[/]" in shell("opt", model, "-p", "fuse", "--explain")
    assert re.search(r"fuse\W+\d+\W+\d+\W+\d", shell("opt", model, "--time", "--check"))


def test_a_users_passes(shell: Shell, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_passes.py"
    file.write_text(MY_PASSES.format(n="a"))
    try:
        text = shell("opt", model, "--load", file, "-p", "stamp-a{times=3},fuse", "--explain")
        assert "stamped 3 times" in text
        listing = shell("passes", "--load", file)
        assert "[in brackets]" in listing
        assert "times=1" in listing
        assert "unknown options ['size']" in shell("opt", model, "--load", file, "-p", "stamp-a{size=1}", status=2)
    finally:
        PASSES.pop("stamp-a", None)


def test_lists(shell: Shell) -> None:
    text = shell("targets")
    assert all(name in text for name in builtin_targets())
    assert "(host)" in text
    text = shell("passes")
    assert all(name in text for name in ("fuse", "fold-batch-norm", "Exact"))
    assert "qemu-system-arm" in shell("doctor")


def test_doctor_says_how_to_install_what_is_missing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["graphopt", "doctor"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    out = shell.capfd.readouterr().out
    assert "sudo apt-get install -y" in out
    assert "gcc-arm-none-eabi" in out


def test_a_board_of_the_user(shell: Shell, model: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text('[tiny]\nbase = "cortex-m4"\nram = 16\n')
    text = shell("compile", model, "-o", tmp_path / "out", "-t", board, "-p", "fold-constants", status=2)
    assert "bytes of RAM needed, tiny has 16" in text
    assert not (tmp_path / "out").exists()


ERRORS = {
    "no model": (["inspect", "{dir}/none.onnx"], "none.onnx"),
    "a model that is text": (["inspect", "{dir}/text.onnx"], "text.onnx"),
    "a model that is a folder": (["inspect", "{dir}"], ""),
    "an unknown target": (["compile", "{model}", "-o", "{dir}/o", "-t", "cortex-m5"], "cortex-m55"),
    "a missing board": (["compile", "{model}", "-o", "{dir}/o", "-t", "x.toml"], "x.toml"),
    "an unknown pass": (["opt", "{model}", "-p", "fuze"], "fuse"),
    "passes that do not parse": (["opt", "{model}", "-p", "fuse{{"], "fuse{"),
    "passes that are no file": (["opt", "{model}", "--load", "{dir}/none.py"], "none.py"),
    "passes that fail": (["opt", "{model}", "--load", "{dir}/broken.py"], "ZeroDivisionError"),
    "a bad prefix": (["compile", "{model}", "-o", "{dir}/o", "--name", "My-Net"], "My-Net"),
    "a shape that is none": (["inspect", "{model}", "--shape", "x=1,three"], "--shape x=1,three"),
    "a shape of no name": (["inspect", "{model}", "--shape", "16"], "--shape 16"),
    "a shape of something else": (["inspect", "{model}", "--shape", "seq=16"], "seq"),
    "a constant that is none": (["inspect", "{model}", "--constant", "sr=fast"], "--constant sr=fast"),
    "a constant of no name": (["inspect", "{model}", "--constant", "16000"], "--constant 16000"),
    "a constant twice": (["inspect", "{model}", "--constant", "x=1", "--constant", "x=2"], "two of that name"),
    "a constant of something else": (["inspect", "{model}", "--constant", "sr=16000"], "the model has x"),
    "a constant of another shape": (["inspect", "{model}", "--constant", "x=1"], "frozen to ()"),
    "batch zero": (["compile", "{model}", "-o", "{dir}/o", "--batch", "0"], "at least 1"),
    "a folder in use": (["compile", "{model}", "-o", "{dir}"], "another folder"),
    "a folder in a file": (["compile", "{model}", "-o", "{dir}/text.onnx/o"], "text.onnx"),
    "no artifact": (["run", "{dir}", "--input", "x.npy"], "manifest.json"),
    "no array": (["run", "{artifact}", "--input", "{dir}/none.npy"], "none.npy"),
    "an array that is text": (["run", "{artifact}", "--input", "{dir}/text.npy"], "text.npy"),
    "an empty array file": (["run", "{artifact}", "--input", "{dir}/empty.npy"], "empty.npy"),
    "a torn archive": (["run", "{artifact}", "--input", "{dir}/torn.npz"], "torn.npz"),
    "pickled objects": (["run", "{artifact}", "--input", "{dir}/objects.npy"], "objects.npy"),
    "another name": (["run", "{artifact}", "--input", "z={dir}/x.npy"], "'z'"),
    "another shape": (["run", "{artifact}", "--input", "{dir}/x.npy"], "float64[2] given"),
    "a folder for the outputs": (["run", "{artifact}", "--input", "{dir}/right.npy", "-o", "{dir}"], ""),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Path]:
    """A folder of things that are wrong, and an artifact that is right."""
    from graphopt import compile, load

    folder = tmp_path_factory.mktemp("scene")
    for name in ("text.onnx", "text.npy"):
        (folder / name).write_text("to whom it may concern")
    (folder / "empty.npy").write_text("")
    (folder / "broken.py").write_text("1 / 0")
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(folder / "x.npy", np.zeros(2))
    np.save(folder / "right.npy", np.zeros((1, 3, 6, 6), "float32"))
    compile(load(model), "host").save(folder / "artifact")
    return {"dir": folder, "model": model, "artifact": folder / "artifact"}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_end_in_one_message_and_status_two(case: str, shell: Shell, scene: dict[str, Path]) -> None:
    words, named = ERRORS[case]
    text = shell(*(w.format(**scene) for w in words), status=2)
    assert "Traceback" not in text
    assert named in text
    assert len(re.findall(r"\berror:", text)) == 1


def test_debug_shows_the_traceback(scene: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "graphopt.cli", "--debug", "inspect", str(scene["dir"] / "text.onnx")]
    command[1:3] = ["-c", "import sys; from graphopt.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "text.onnx" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["compile", "--help"], ["targets"], ["doctor"]])
def test_light_commands_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, atexit; from graphopt.cli import main; sys.argv = ['graphopt', *sys.argv[1:]];"
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'tvm', 'onnx', 'numpy'} & set(sys.modules))));"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy = done.stdout.split("HEAVY ")[1].strip()
    assert heavy in ("[]", "['numpy']"), heavy
    if words[-1] == "--help":
        assert heavy == "[]"


def test_help_names_every_command(shell: Shell) -> None:
    text = shell("--help")
    assert all(word in text for word in ("compile", "opt", "run", "inspect", "targets", "passes", "doctor"))


def test_what_a_program_is_compiled_for(shell: Shell, model: Path, tmp_path: Path) -> None:
    shell("compile", model, "-o", tmp_path / "out", "-t", "cortex-m4", "--optimize", "speed")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["optimize"] == "speed"


def test_ports_with_their_channels_last(shell: Shell, model: Path, tmp_path: Path) -> None:
    shell("compile", model, "-o", tmp_path / "out", "-t", "cortex-m4", "--nhwc", "x", "--io-in-arena")
    (port,) = Program.load(tmp_path / "out").manifest["inputs"]
    assert port["shape"] == [1, 6, 6, 3]
    assert "model_input(void *workspace" in (tmp_path / "out" / "model.h").read_text()
    assert "no port is called 'z'" in shell("compile", model, "-o", tmp_path / "z", "--nhwc", "z", status=2)
