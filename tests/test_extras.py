"""Without the packages of extras: what needs them says which extra to install, and all else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from shell import save_model

HIDDEN = "import sys; sys.modules.update(dict.fromkeys({modules}))\n"
"""Python's way to say that a module cannot be found."""


def without(modules: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """A process in which these modules are not installed."""
    return subprocess.run(
        [sys.executable, "-c", HIDDEN.format(modules=modules) + code], capture_output=True, text=True, timeout=300
    )


def message(module: str, code: str) -> str:
    """What is said where a module is missed, in Python."""
    caught = f"try:\n  {code}\nexcept ImportError as error:\n  print(type(error).__name__, error)"
    return without((module,), "exec(" + repr(caught) + ")").stdout


def test_each_missed_package_is_named_with_its_extra() -> None:
    said = "MissingPackage torch is not installed, and this needs it\n  pip install 'graphopt[torch]'\n"
    assert message("torch", "import graphopt; graphopt.trace(None)") == said
    assert message("torch", "import graphopt; graphopt.to_torch(None)") == said
    assert message("torch", "import graphopt; graphopt.with_parameters(None, None)") == said
    assert message("torch", "import graphopt.training") == said
    said = message("flwr", "import graphopt.federated.flower")
    assert "'graphopt[federated]'" in said
    said = message("opacus", "import graphopt.federated as f; f.Privacy(clip=1.0, noise=1.0).epsilon(1, 1.0)")
    assert "'graphopt[federated]'" in said
    said = message("hypothesis", "import graphopt.testing.strategies")
    assert "'graphopt[testing]'" in said


def test_a_module_of_no_extra_is_missed_as_usual() -> None:
    assert message("scipy", "import graphopt.passes").startswith("ModuleNotFoundError")


def test_the_command_line_says_it_without_a_traceback(tmp_path: Path) -> None:
    samples = str(tmp_path / "x.npy")
    np.save(samples, np.zeros((4, 3, 6, 6), "float32"))
    words = ["graphopt", "prune", str(save_model(tmp_path / "m.onnx")), "--ratio", "0.2", "--data", samples]
    code = f"""
sys.argv = {[*words, "--importance", "taylor"]!r}
from graphopt.cli import main
main()
"""
    done = without(("torch",), code)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: torch is not installed, and this needs it",
        "  pip install 'graphopt[torch]'",
    ]


def test_a_model_is_compiled_without_torch_and_torch_is_not_imported(tmp_path: Path) -> None:
    """Where it is missing; where it is there, for the time that it takes, and it can still be imported after."""
    code = f"""
import graphopt
graph = graphopt.optimize(graphopt.load({str(save_model(tmp_path / "m.onnx"))!r}))
graphopt.compile(graph, target="cortex-m4").save({str(tmp_path / "out")!r})
print(sys.modules.get("torch"))
"""
    assert without(("torch",), code).stdout == "None\n"
    assert (tmp_path / "out" / "model.c").is_file()
    there = code + "import torch; print(torch.ones(1).item())"
    assert without((), there).stdout == "None\n1.0\n"
