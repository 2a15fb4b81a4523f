"""Passes in their command-line form: ``fold-batch-norm,my-pass{ratio=0.5}``."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Sequence

from graphopt.errors import InvalidInput
from graphopt.passes.base import PASSES, Pass

ITEM = re.compile(r"\s*([\w-]+)\s*(?:\{(.*)\})?\s*", re.DOTALL)
MAX_TEXT = 1 << 16
OPENING, CLOSING = "([{", ")]}"


def parse_passes(text: str) -> list[Pass]:
    """Passes from text such as ``quantize{weights=int8, overrides={"conv_1": "float32"}}``.

    The values of options are Python literals; words without quotes are strings. Raises ``InvalidInput`` for an unknown
    pass or option, and for text that does not parse.
    """
    found = [ITEM.fullmatch(item) for item in split(text)]
    if not all(found) or len(text) > MAX_TEXT:
        raise InvalidInput(f"cannot read the passes {text[:200]!r}", advice="write: pass-a,pass-b{option=1}")
    return [make_pass(item[1], item[2] or "") for item in found if item]


def as_passes(given: str | Sequence[Pass | type[Pass] | str]) -> tuple[Pass, ...]:
    """Passes from any form in which people write them: passes, classes, or names with or without options.

    Raises ``InvalidInput`` for anything else, and for a class with required options.
    """
    if isinstance(given, str):
        return tuple(parse_passes(given))
    if isinstance(given, Pass) or not isinstance(given, Sequence):
        name = type(given).__name__
        raise InvalidInput(f"{name} is no list of passes", where="Pipeline", advice="write Pipeline([Fuse()])")
    return tuple(made for item in given for made in passes_of(item))


def passes_of(item: Pass | type[Pass] | str) -> Sequence[Pass]:
    """The passes that one item of a pipeline stands for."""
    if isinstance(item, str):
        return parse_passes(item)
    if isinstance(item, Pass):
        return [item]
    if not (isinstance(item, type) and issubclass(item, Pass)):
        advice = "write a pass, Fuse(), or its name, 'fuse'"
        raise InvalidInput(f"{str(item)[:100]} is no pass", where="Pipeline", advice=advice)
    if needed := [f"{name}=..." for name, default in item.options().items() if default is ...]:
        what = f"{item.__name__} is a class, and has options that must be given"
        raise InvalidInput(what, where="Pipeline", advice=f"write {item.__name__}({', '.join(needed)})")
    return [item()]


def split(text: str) -> Iterator[str]:
    """The parts of a text between commas outside brackets and quotes; the text may end with one comma."""
    depth, quote, start = 0, "", 0
    escaped = False
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        elif character in OPENING or character in CLOSING:
            depth += 1 if character in OPENING else -1
        elif character == "," and not depth:
            yield text[start:position]
            start = position + 1
    if start < len(text) or not text:
        yield text[start:]


def make_pass(name: str, options: str) -> Pass:
    """One pass from its name and its ``key=value`` options."""
    if name not in PASSES:
        close = difflib.get_close_matches(name, PASSES, 3) or sorted(PASSES)
        raise InvalidInput(f"no pass is called {name!r}", advice=f"did you mean {', '.join(close)}?")
    known = list(PASSES[name].options())
    values = read_options(options, name)
    if unknown := set(values) - set(known):
        raise InvalidInput(f"unknown options {sorted(unknown)}", where=name, advice=f"it has {known or 'none'}")
    try:
        return PASSES[name](**values)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"cannot have the options {options!r}", where=name, why=str(error)) from error


def read_options(text: str, where: str) -> dict[str, object]:
    """The values of options by name; raises ``InvalidInput`` for anything that is not ``key=value``."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("not key=value")
        names = [keyword.arg for keyword in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise ValueError("** or the same key twice")
        return {str(k.arg): ast.literal_eval(Words().visit(k.value)) for k in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        advice = 'write key=value, a value being a number, a word, or nested: {"conv_1": "float32"}'
        raise InvalidInput(f"cannot read the options {text[:200]!r}", where=where, advice=advice) from error


class Words(ast.NodeTransformer):
    """Turns words without quotes, such as ``int8`` and ``geometric-median``, into strings."""

    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self.visit(node.left), self.visit(node.right)
        sides = [side.value for side in (left, right) if isinstance(side, ast.Constant)]
        if isinstance(node.op, ast.Sub) and len(sides) == 2 and all(isinstance(side, str) for side in sides):
            return ast.Constant("-".join(map(str, sides)))
        return ast.BinOp(left, node.op, right)
