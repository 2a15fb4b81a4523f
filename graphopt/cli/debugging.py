"""The commands that find out what is wrong: ``diff``, ``reduce``, and ``opt --bisect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.common import (
    ConstantOption,
    JsonOption,
    LoadOption,
    ModelArgument,
    PassesOption,
    ShapeOption,
    choose_passes,
    load_model,
    load_outside,
)
from graphopt.cli.console import print_diff, print_json, print_text, working
from graphopt.errors import GraphoptError, InvalidInput

if TYPE_CHECKING:
    from graphopt.ir import Graph
    from graphopt.passes import Pass


def show_culprit(graph: Graph, passes: list[Pass]) -> None:
    """Print the first pass, rule and node that break the graph; exit code 1 if there is one."""
    from graphopt.passes import bisect
    from graphopt.report import graph_diff

    with working("bisecting"):
        culprit = bisect(graph, passes)
    if culprit is None:
        print_text("every pass keeps its contract")
        return
    print_text(f"pass: {culprit.pass_.name}")
    if culprit.rule:
        print_text(f"rule: {culprit.rule}")
    if culprit.node:
        print_text(f"node: {culprit.node}")
    print_text(f"error: {culprit.error}")
    if culprit.after is not None:
        print_diff(graph_diff(culprit.before, culprit.after))
    raise typer.Exit(1)


def reduce(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="the .gopt file to write, and a .txt beside it")
    ] = Path("reduced.gopt"),
    passes: PassesOption = None,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
) -> None:
    """Shrink a model that the passes break to the smallest that they still break in the same way."""
    from graphopt.exporters import save
    from graphopt.files import write_atomically
    from graphopt.passes import Culprit, bisect
    from graphopt.storage import SUFFIX
    from graphopt.testing.reduce import reduce as reduce_graph

    if output.suffix != SUFFIX:
        raise InvalidInput(f"the file to write must end in {SUFFIX}", where=str(output))
    listing = output.with_suffix(".txt")
    if listing.exists() and not listing.read_bytes().startswith(b"graph "):
        raise InvalidInput("exists, and is not the text of a graph", where=str(listing), advice="choose another -o")
    load_outside(load)
    chosen = choose_passes(passes)
    graph = load_model(model, shape, constant)

    def failure(g: Graph) -> tuple[str, type[GraphoptError]] | None:
        found: Culprit | None = bisect(g, chosen)
        return None if found is None else (found.pass_.name, type(found.error))

    wanted = failure(graph)
    if wanted is None:
        raise InvalidInput("every pass keeps its contract on this model", where=str(model), why="nothing to reduce")
    with working("reducing"):
        small = reduce_graph(graph, lambda g: failure(g) == wanted)
    save(small, output)
    write_atomically(listing, f"{small}\n".encode())
    print_text(str(small))
    print_text(f"{len(graph.nodes)} nodes -> {len(small.nodes)}: {wanted[0]} fails; in {output}")


def diff(
    a: ModelArgument,
    b: ModelArgument,
    seed: Annotated[int, typer.Option(help="of the random inputs")] = 0,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    json: JsonOption = False,
) -> None:
    """Show how two models differ, in text and, where inputs and outputs agree, in numbers; exit code 1 if they do."""
    from graphopt.report import compare_models
    from graphopt.storage import SUFFIX

    load_outside(load)
    before, after = (load_model(m) if m.suffix == SUFFIX else load_model(m, shape, constant) for m in (a, b))
    found = compare_models(before, after, seed)
    if json:
        print_json("diff", found)
    elif not found.changes:
        print_text("the same")
    else:
        print_diff(found.changes)
        if found.outputs is None:
            print_text("inputs or outputs differ: their numbers are not compared")
        for output in found.outputs or ():
            print_text(f"output {output.name}: differs by {output.difference:.3g} of max|y| on random inputs")
    if found.changes:
        raise typer.Exit(1)
