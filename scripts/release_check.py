"""Builds what would be released of the last commit, and tries it where nothing else is: make release-check.

    .venv/bin/python scripts/release_check.py                     # on every Python of PATH that graphopt supports
    .venv/bin/python scripts/release_check.py --extras torch      # with an extra
    .venv/bin/python scripts/release_check.py --borrow            # in seconds: with the libraries that are here

The sdist is made of the tracked files, and the wheel of the sdist. The wheel must hold all of the package and nothing
else. It is installed with what it requires into a fresh environment of each Python, and there, from an empty folder,
graphopt compiles an ONNX model to C. Needs git and a package index.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
MINORS = range(11, 20)
"""Of Python 3: those that are looked for."""

PROBE = """
import sys
import onnx
from onnx import TensorProto, helper
import graphopt

assert graphopt.__file__.startswith(sys.prefix), graphopt.__file__
ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "small", ports[:1], ports[1:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "small.onnx")
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", action="append", metavar="PATH", help="a Python to try, instead of those of PATH")
    options.add_argument("--extras", default="", help="extras to install, as in torch,testing")
    options.add_argument("--borrow", action="store_true", help="install nothing but the wheel, for this Python alone")
    given = options.parse_args()
    pythons = [sys.executable] if given.borrow else given.python or pythons_of_path()
    if not pythons:
        raise SystemExit("no Python of PATH is one that graphopt supports")
    with tempfile.TemporaryDirectory(prefix="graphopt-release-") as temporary:
        folder = Path(temporary)
        sdist, wheel = build(folder)
        check_contents(sdist, wheel)
        for number, python in enumerate(pythons):
            started = time.monotonic()
            try_wheel(folder / f"python-{number}", python, wheel, given.extras, given.borrow)
            print(f"{python}: installs and compiles, in {time.monotonic() - started:.0f} s", flush=True)


def pythons_of_path() -> list[str]:
    """The Pythons of PATH that graphopt supports and that can make an environment."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least = int(needed.removeprefix(">=3."))
    found = [shutil.which(f"python3.{minor}") for minor in MINORS if minor >= least]
    return [path for path in found if path and works(path)]


def works(python: str) -> bool:
    """Whether it is there and whole: a version manager has names on PATH for what it would not start."""
    return not subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode


def build(folder: Path) -> tuple[Path, Path]:
    """An sdist of the last commit, and a wheel of the sdist."""
    source, made = folder / "source", folder / "dist"
    run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(source)])
    builder = environment(folder / "builder", sys.executable)
    run([builder, "-m", "pip", "install", "--quiet", "build"])
    run([builder, "-m", "build", "--outdir", str(made), str(source)])
    (sdist,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    print(f"built {sdist.name} and {wheel.name}, {wheel.stat().st_size:,} bytes", flush=True)
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Raise ``SystemExit`` if a file of the package is missing from either, or the wheel has another one."""
    listed = run(["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD", "graphopt"])
    package = set(listed.splitlines())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        sources = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    wanted = package | {"LICENSE", "README.md", "pyproject.toml"}
    for what, names in (
        ("the wheel lacks", package - packed),
        ("the wheel has what is not of the package:", packed - package),
        ("the sdist lacks", wanted - sources),
    ):
        if names:
            raise SystemExit(f"{what} {', '.join(sorted(names))}")


def try_wheel(folder: Path, python: str, wheel: Path, extras: str, borrow: bool) -> None:
    """Install a wheel into a fresh environment, and compile a model with it; raises ``SystemExit`` where that fails."""
    fresh = environment(folder / "environment", python)
    required = f"{wheel}[{extras}]" if extras else str(wheel)
    if borrow:
        site = run([fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        Path(site, "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        run([fresh, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)])
    else:
        run([fresh, "-m", "pip", "install", "--quiet", required])
        run([fresh, "-m", "pip", "check"])
    empty = folder / "empty"
    empty.mkdir()
    run([fresh, "-c", PROBE], empty)
    command = str(Path(fresh).with_name("graphopt"))
    run([command, "--version"], empty)
    run([command, "compile", "small.onnx", "--target", "cortex-m4", "--output", "project"], empty)
    if not (empty / "project" / "model.c").is_file():
        raise SystemExit(f"{python}: no C was written")


def environment(folder: Path, python: str) -> str:
    """The Python of a new virtual environment."""
    run([python, "-m", "venv", str(folder)])
    return str(folder / "bin" / "python")


def run(command: Sequence[str], folder: Path | None = None) -> str:
    """What a command prints, run without the variables that would let it see this tree."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed:\n{(done.stdout + done.stderr).strip()[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
