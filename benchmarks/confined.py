"""Runs a benchmark whose peers see a processor of AVX2 alone: without AVX-512, VNNI and AMX.

    python benchmarks/confined.py benchmarks/cpu.py SHARED_FOLDER --target x86-64-v3 ...

What a library takes of a processor it asks by CPUID, and not all libraries can be told to take less. So the packages of
the peers are copied into a folder that is gone afterwards, the CPUID instructions of the copies are replaced by ones
that trap, and ``confined.c`` answers them. It needs Linux on x86-64, a C compiler and objdump.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGES = ("onnxruntime", "openvino", "ai_edge_litert")
CPUID, TRAP = b"\x0f\xa2", b"\x0f\x0b"
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+cpuid\s*$", re.MULTILINE)
SECTION = re.compile(r"^\s*\d+\s+\S+\s+([0-9a-f]+)\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", re.MULTILINE)


def places(library: Path) -> Iterator[int]:
    """Where the file has CPUID instructions, by the disassembler: the same two bytes may be parts of others."""

    def shown(*flags: str) -> str:
        return subprocess.run(["objdump", *flags, library], capture_output=True, text=True, check=True).stdout

    sections = [tuple(int(number, 16) for number in row) for row in SECTION.findall(shown("-h"))]
    for found in INSTRUCTION.findall(shown("-d", "--no-show-raw-insn")):
        address = int(found, 16)
        yield next(offset + address - start for size, start, offset in sections if start <= address < start + size)


def confine(library: Path) -> int:
    """Replaces the instructions, and says how many there were."""
    code, changed = bytearray(library.read_bytes()), 0
    if CPUID not in code:
        return 0
    for at in places(library):
        if code[at : at + 2] != CPUID:
            raise SystemExit(f"{library.name}: no CPUID at byte {at}")
        code[at : at + 2], changed = TRAP, changed + 1
    library.write_bytes(code)
    return changed


def confined_copy(package: str, folder: Path) -> None:
    """The package as it is installed, if it is, its libraries changed."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return
    shutil.copytree(Path(found.origin).parent, folder / package)
    changed = sum(confine(file) for file in (folder / package).rglob("*.so*") if not file.is_symlink())
    print(f"{package}: {changed} CPUID instructions replaced", file=sys.stderr)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with TemporaryDirectory() as made:
        folder = Path(made)
        handler = folder / "confined.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", handler], check=True)
        for package in PACKAGES:
            confined_copy(package, folder)
        paths = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "LD_PRELOAD": str(handler), "PYTHONPATH": paths}
        raise SystemExit(subprocess.run([sys.executable, *sys.argv[1:]], env=environment).returncode)


if __name__ == "__main__":
    main()
