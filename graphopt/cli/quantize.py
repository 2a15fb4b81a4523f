"""The command that says where quantisation loses accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli import tables_quantization as tables
from graphopt.cli.common import (
    ConstantOption,
    KeyOption,
    LoadOption,
    ModelArgument,
    ShapeOption,
    app,
    load_model,
    load_outside,
    out,
    print_text,
    working,
)


@app.command()
def analyze(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", help="an .npz or .npy of samples: calibrates, and is compared on")],
    quantize: Annotated[str, typer.Option("--quantize", help="weights of int8, int4 or binary")] = "int8",
    activations: Annotated[str, typer.Option(help="int8 or int16")] = "int8",
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="one scale for all weights of a layer")] = False,
    observer: Annotated[str, typer.Option(help="of ranges: minmax, percentile, mse or entropy")] = "minmax",
    key: KeyOption = None,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Rank the layers by what quantising each costs, and say which overrides would buy the most."""
    from graphopt.cli.samples import read_samples
    from graphopt.passes import Quantize, analyze_quantization

    load_outside(load)
    graph = load_model(model, shape, constant)
    samples = read_samples(data, graph, key)
    assert samples is not None
    chosen = Quantize(weights=quantize, activations=activations, per_channel=not per_tensor, observer=observer)
    with working("quantising each layer alone"):
        report = analyze_quantization(graph, samples, chosen)
    if json:
        print_text(report.to_json())
        return
    out.print(tables.losses_table(report))
    out.print(tables.suggestions_table(report))
