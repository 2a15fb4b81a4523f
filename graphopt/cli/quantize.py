"""The command that says where quantisation loses accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli import tables_quantization as tables
from graphopt.cli.common import (
    ActivationsOption,
    ConstantOption,
    JsonOption,
    KeyOption,
    LoadOption,
    ModelArgument,
    ObserverOption,
    OverrideOption,
    PerTensorOption,
    QuantizeOptions,
    ShapeOption,
    load_model,
    load_outside,
    quantize_pass,
)
from graphopt.cli.console import print_json, show, working


def analyze(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", help="an .npz or .npy of samples: calibrates, and is compared on")],
    quantize: Annotated[str, typer.Option("--quantize", help="weights of int8, int4 or binary")] = "int8",
    activations: ActivationsOption = None,
    observer: ObserverOption = None,
    per_tensor: PerTensorOption = False,
    override: OverrideOption = None,
    key: KeyOption = None,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    json: JsonOption = False,
) -> None:
    """Rank the layers by what quantising each costs, and say which overrides would buy the most."""
    from graphopt.cli.samples import read_samples
    from graphopt.passes import analyze_quantization

    load_outside(load)
    graph = load_model(model, shape, constant)
    samples = read_samples(data, graph, key)
    assert samples is not None
    chosen = quantize_pass(QuantizeOptions(quantize, activations, observer, per_tensor, override or []))
    with working("quantising each layer alone"):
        report = analyze_quantization(graph, samples, chosen)
    if json:
        print_json("analyze", report)
        return
    show(tables.losses_table(report), tables.suggestions_table(report))
