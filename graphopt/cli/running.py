"""The command that runs a compiled model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.console import show, working

if TYPE_CHECKING:
    from graphopt.ir import Array


def run(
    artifact: Annotated[Path, typer.Argument(help="a folder that `graphopt compile` wrote")],
    inputs: Annotated[list[str], typer.Option("--input", help="x.npy, name=x.npy, or an .npz with all inputs")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="an .npz file for the outputs")] = None,
) -> None:
    """Run a compiled model, here or on the emulator of its target."""
    from graphopt.cli.samples import read_inputs
    from graphopt.runtime import Program
    from graphopt.runtime.program import join

    program = Program.load(artifact)
    given = read_inputs(inputs, [p["name"] for p in program.manifest["inputs"]])
    with working(f"running on {program.manifest['target']}"):
        result = program.measure(given)
    arrays = dict(zip((p["name"] for p in program.manifest["outputs"]), join(result.outputs), strict=True))
    if output is not None:
        write_npz(output, arrays)
    show(tables.outputs_table(arrays, result))


def write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """An .npz file of arrays of any names; ``numpy.savez`` has some that it cannot take."""
    import io
    import zipfile

    import numpy as np

    from graphopt.files import write_atomically

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, data, allow_pickle=False)
    write_atomically(path, packed.getvalue())
