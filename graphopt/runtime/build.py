"""Run compilers and linkers, with errors that say what is missing or went wrong."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from graphopt.errors import ToolFailed
from graphopt.runtime.machine import Memory, Runner, Toolchain

BOARDS = Path(__file__).parent / "boards"
LIBRARY_SOURCES = ("_sizes.c", ".c", "_static.c", "_batch.c", "_weights.S", "_kernels.o")
"""The parts of a shared library in link order, each after the prefix of the model."""


def require(tool: str, package: str) -> str:
    """The path of a tool; raises ``ToolFailed`` with the command that installs it."""
    path = shutil.which(tool)
    if path is None:
        raise ToolFailed(f"{tool} is not installed", advice=f"sudo apt-get install -y {package}")
    return path


def run_tool(command: Sequence[str], folder: Path | None = None) -> str:
    """Run a command and return what it printed; raises ``ToolFailed`` with its error output."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ToolFailed(f"{Path(command[0]).name} failed", why=(done.stderr or done.stdout).strip()[-2000:])
    return done.stdout


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def build_library(files: Mapping[str, bytes], name: str, toolchain: Toolchain) -> bytes:
    """A shared library of an artifact's driver, weights and kernels; it exports only the driver and its sizes."""
    compiler = require(toolchain.compiler, toolchain.package)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
        folder = Path(temporary)
        write_files(files, folder)
        sources = [f"{name}{suffix}" for suffix in LIBRARY_SOURCES]
        run_tool([compiler, *toolchain.flags, *link_options(name), *sources, "-lm", "-o", "library.so"], folder)
        return (folder / "library.so").read_bytes()


def link_options(name: str) -> list[str]:
    """The linker options of a shared library: its SONAME is the file name, and the bytes are reproducible."""
    linker = [f"--version-script={name}.map", f"-soname=lib{name}.so", "--build-id=none"]
    return ["-O2", "-shared", "-fPIC", *(f"-Wl,{option}" for option in linker), "-s"]


def build_harness(folder: Path, name: str, toolchain: Toolchain) -> Path:
    """The executable that runs an artifact's shared library under a user-mode emulator; both are in ``folder``."""
    compiler = require(toolchain.compiler, toolchain.package)
    sources = ["harness.c", str(BOARDS / "posix.c"), f"lib{name}.so"]
    # at a fixed address, so that the instruction counter finds the measured region
    options = [*toolchain.flags, "-O2", "-no-pie", f"-I{BOARDS}", "-I.", "-Wl,-rpath,$ORIGIN"]
    run_tool([compiler, *options, *sources, "-o", "harness"], folder)
    return folder / "harness"


def build_image(folder: Path, name: str, toolchain: Toolchain, runner: Runner, cflags: Sequence[str]) -> Path:
    """The image that runs an artifact's C project, in ``folder``, on a bare board."""
    compiler = require(toolchain.compiler, toolchain.package)
    flags = [*toolchain.flags, "-std=c99", *cflags, "-ffunction-sections", "-fdata-sections"]
    for source in (name, f"{name}_weights"):
        run_tool([compiler, *flags, "-I.", "-c", f"{source}.c", "-o", f"{source}.o"], folder)
    on_board = [*flags, "-std=gnu99", f"-I{BOARDS}"]
    run_tool([compiler, *on_board, "-I.", "-c", "harness.c", "-o", "harness.o"], folder)
    (folder / "semihosting.o").write_bytes(semihosting_object(compiler, tuple(on_board)))
    objects = [f"{name}.o", f"{name}_weights.o", "harness.o", "semihosting.o"]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    memory = [*memory_symbols("FLASH", runner.flash), *memory_symbols("RAM", runner.ram)]
    link += [*memory, "-T", str(BOARDS / "board.ld")]
    run_tool([compiler, *toolchain.flags, *link, *objects, "-lm", "-o", "image.elf"], folder)
    return folder / "image.elf"


@cache
def semihosting_object(compiler: str, flags: tuple[str, ...]) -> bytes:
    """The object with start-up code and semihosting, which is the same for all programs of a target."""
    with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
        folder = Path(temporary)
        run_tool([compiler, *flags, "-c", str(BOARDS / "semihosting.c"), "-o", "semihosting.o"], folder)
        return (folder / "semihosting.o").read_bytes()


def memory_symbols(name: str, memory: Memory | None) -> list[str]:
    if memory is None:
        raise ToolFailed(f"the runner of this target has no {name.lower()}", advice="give it in the target file")
    return [f"-Wl,--defsym={name}_ORIGIN={memory.origin:#x}", f"-Wl,--defsym={name}_SIZE={memory.size:#x}"]


def build_counter(folder: Path) -> Path:
    """The QEMU plugin that counts instructions, for this machine."""
    plugin = folder / "count.so"
    if not plugin.exists():
        run_tool([require("gcc", "gcc"), "-O2", "-shared", "-fPIC", str(BOARDS / "count.c"), "-o", str(plugin)])
    return plugin


def symbols(image: Path, toolchain: Toolchain) -> dict[str, tuple[int, int]]:
    """The addresses of the symbols of an image that have a size, and where they end."""
    lines = run_tool([require(f"{toolchain.prefix}nm", toolchain.package), "-S", str(image)]).splitlines()
    sized = (parts for line in lines if len(parts := line.split()) == 4)
    return {name: (int(start, 16), int(start, 16) + int(size, 16)) for start, size, _, name in sized}


def code_bytes(folder: Path, name: str, toolchain: Toolchain, cflags: Sequence[str], codegen: str) -> int:
    """The size of the code of an artifact: its text section, without the weights."""
    size = require(f"{toolchain.prefix}size", toolchain.package)
    if codegen == "llvm":
        table = run_tool([size, "-A", f"lib{name}.so"], folder)
        return next(int(line.split()[1]) for line in table.splitlines() if line.startswith(".text"))
    compiler = require(toolchain.compiler, toolchain.package)
    run_tool([compiler, *toolchain.flags, "-std=c99", *cflags, "-c", f"{name}.c", "-o", "size.o"], folder)
    return int(run_tool([size, "size.o"], folder).splitlines()[1].split()[0])
