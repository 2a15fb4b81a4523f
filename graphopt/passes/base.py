"""A pass: a named, registered dataclass with a contract. Its fields are its options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, dataclass_transform

from graphopt.errors import GraphoptError, InvalidGraph, InvalidInput
from graphopt.ir import Graph, verify
from graphopt.ir.registry import place, redefines
from graphopt.passes.collector import RARE_COLLECTIONS
from graphopt.passes.contract import Contract
from graphopt.passes.data import Data
from graphopt.rewrite import RewriteLog, Rule, rewrite

PASSES: dict[str, type[Pass]] = {}
"""Every concrete pass by its command-line name."""


@dataclass(frozen=True)
class Note:
    """Something that a pass did, or declined, at a node; nobody should miss an ``alarm``."""

    pass_name: str
    node: str
    text: str
    declined: bool = False
    alarm: bool = False

    def __str__(self) -> str:
        return f"{self.pass_name}: {self.node}: {self.text}"

    @property
    def for_users(self) -> bool:
        """Whether to show it to users unasked: alarms, and what was declined by passes with ``tells_users``.

        Why a rule of a clean-up did not match interests only its author.
        """
        known = PASSES.get(self.pass_name)
        return self.alarm or (self.declined and known is not None and known.tells_users)


@dataclass
class Context:
    """The notes of the passes and the data of a pipeline, passed along beside the graph."""

    notes: list[Note] = field(default_factory=list)
    calibration: Data | None = None
    """The data from which quantization takes its ranges."""
    reference: Graph | None = None
    """The float graph with which quantization started; nodes are matched by name."""


NO_OPTION = {"option": False}
"""The metadata of a field that the command line cannot set: data, a loss, a callable."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
@dataclass(frozen=True)
class Pass:
    """A transformation of graphs. Subclasses give ``name=`` and ``contract=`` and define ``run``.

    Subclasses are made frozen dataclasses. Fields not marked ``NO_OPTION`` must be serializable, since
    they are the options on the command line: ``my-pass{ratio=0.5}``.
    """

    name: ClassVar[str]
    contract: ClassVar[Contract]
    tells_users: ClassVar[bool] = False
    """Whether users see unasked what it declines (see ``Note.for_users``)."""

    def __init_subclass__(cls, *, name: str | None = None, contract: Contract | None = None) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if name is None:
            return
        if contract is None:
            raise InvalidGraph("a pass must declare its contract", where=name, advice="contract=Exact(), for one")
        if (known := PASSES.get(name)) and not redefines(cls, known):
            what = f"the name {name!r} is taken by {place(known)}"
            raise InvalidGraph(what, where=cls.__name__, advice="choose another")
        cls.name, cls.contract = name, contract
        PASSES[name] = cls

    @classmethod
    def options(cls) -> dict[str, object]:
        """The fields that the command line can set, with their defaults; ``...`` for a required one."""
        fields = [f for f in dataclasses.fields(cls) if f.metadata.get("option", True)]
        return {f.name: default_of(f) for f in fields}

    def run(self, graph: Graph, context: Context) -> Graph:
        """The transformed graph."""
        raise NotImplementedError(f"{type(self).__name__}.run")

    def __call__(self, graph: Graph, context: Context | None = None) -> Graph:
        """Run this pass alone, and verify the types of its result; an error names the pass.

        Raises ``InvalidGraph`` if the pass raises an error that is not graphopt's, or does not return a graph.
        """
        try:
            with RARE_COLLECTIONS:
                result = self.run(graph, context or Context())
            if not isinstance(result, Graph):
                what = f"it gave {type(result).__name__}, which is no graph"
                raise InvalidGraph(what, advice="return the new graph from run")
            verify(result)
        except GraphoptError as error:
            if error.where and error.where.startswith(self.name):
                raise
            raise error.told(where=f"{self.name}: {error.where}" if error.where else self.name) from error
        except Exception as error:
            raise InvalidGraph(f"it failed with {type(error).__name__}: {error}", where=self.name) from error
        return result


def default_of(option: dataclasses.Field[Any]) -> object:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    return ... if option.default is dataclasses.MISSING else option.default


class RewritePass(Pass):
    """A pass that applies rules to a fixed point."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init_subclass__(cls, *, name: str | None = None, contract: Contract | None = None) -> None:
        rules = cls.rules if isinstance(cls.rules, list | tuple) else (cls.rules,)
        if wrong := [rule for rule in rules if not isinstance(rule, Rule)]:
            advice = (
                "decorate functions with @rule(lambda relu, x: relu(x)) or @node_rule(Relu), and write rules = (a, b)"
            )
            raise InvalidInput(f"{wrong[0]!r} is no rule", where=f"{cls.__name__}.rules", advice=advice)
        cls.rules = tuple(rules)
        super().__init_subclass__(name=name, contract=contract)

    def run(self, graph: Graph, context: Context) -> Graph:
        log = RewriteLog()
        result = rewrite(graph, self.rules, log)
        context.notes += [Note(self.name, node, rule) for rule, node in log.fired]
        context.notes += [Note(self.name, node, f"{rule}: {why}", declined=True) for rule, node, why in log.declined]
        return result
