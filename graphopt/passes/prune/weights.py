"""Unstructured, N:M and block sparsity: masks over the weights of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Value, cast_floats, constant, rebuild
from graphopt.ops import Cast, Mul, stored_bytes
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Masked
from graphopt.passes.prune.criteria import find_scores, layer_weights
from graphopt.passes.prune.importance import Importance, ScoreFunction
from graphopt.passes.prune.names import named_layers
from graphopt.passes.prune.sparse import compress
from graphopt.progress import counted

PATTERNS = {"unstructured": 1, "block4x1": 4, "2:4": 1}
"""By pattern, the number of outputs that share a bit of the mask."""

DEFAULT = 0.5
"""The sparsity where nothing is said."""


class PruneWeights(Pass, name="prune-weights", contract=Masked()):
    """Mask the least important weights of layers: each weight w becomes ``w * mask`` with an int8 mask.

    Training changes only float constants, so it keeps the mask; ``fold-constants`` multiplies both. ``sparsity`` is the
    fraction of weights to mask (by default half), of all layers together (``scope="global"``) or of each;
    ``threshold`` masks those of a smaller magnitude instead. Patterns are ``unstructured``; ``block4x1``, four outputs
    at one input, by the sum of their scores; and ``2:4``, two of four consecutive inputs for every output, whatever
    ``sparsity`` says (layers whose inputs are no multiple of four do not change). ``keep`` holds patterns of layers
    that do not change. ``steps`` is the number of steps, each with new scores; ``fine_tune`` gets the graph after each
    step, with zeros for the masked weights, and returns it trained. Notes give the bytes, dense and compressed. No
    target has a kernel that skips zeros, so programs do not get faster.
    """

    tells_users = True
    sparsity: float | None = None
    threshold: float | None = None
    pattern: str = "unstructured"
    importance: str | Importance | ScoreFunction = "magnitude"
    scope: str = "local"
    keep: tuple[str, ...] | list[str] = ()
    steps: int = 1
    fine_tune: Callable[[Graph], Graph] | None = None

    def __post_init__(self) -> None:
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InvalidInput(f"sparsity {self.sparsity} is not in [0, 1)", where=self.name)
        if self.threshold is not None:
            self.check_threshold(self.threshold)
        if self.steps < 1:
            raise InvalidInput(f"steps {self.steps} is less than 1", where=self.name)
        if self.pattern not in PATTERNS:
            raise InvalidInput(f"unknown pattern {self.pattern!r}", where=self.name, advice=f"one of {[*PATTERNS]}")
        if self.scope not in ("local", "global"):
            raise InvalidInput(f"unknown scope {self.scope!r}", where=self.name, advice="local or global")

    def check_threshold(self, threshold: float) -> None:
        """Raises ``InvalidInput`` for a threshold that is no magnitude, or beside options that it leaves no say."""
        if not 0 <= threshold < math.inf:
            raise InvalidInput(f"threshold {threshold} is no magnitude", where=self.name)
        if self.sparsity is not None:
            raise InvalidInput("a threshold and a sparsity are given", where=self.name, advice="give one of them")
        if (self.pattern, self.importance) != ("unstructured", "magnitude"):
            why = "it is of single weights and their magnitudes"
            raise InvalidInput("a threshold goes with no other pattern or importance", where=self.name, why=why)

    def run(self, graph: Graph, context: Context) -> Graph:
        *_, masking = self.walk(graph)
        context.notes += self.left_alone(masking)
        for weight, mask in masking.masks.items():
            assert weight.constant is not None
            packed = compress(weight.constant * mask, PATTERNS[self.pattern])
            text = f"{1 - mask.mean():.1%} zeros, {stored_bytes(weight):,} bytes dense, {packed.nbytes:,} compressed"
            context.notes.append(Note(self.name, masking.graph.names[weight.node], text))
        return masking.apply()

    def removals(self, graph: Graph) -> Iterator[MaskedGraph]:
        """What is masked, step by step, each of the graph that the one before left."""
        return self.walk(graph)

    def walk(self, graph: Graph) -> Iterator[MaskedGraph]:
        for step in counted(range(self.steps), "step"):
            masking = self.masking(graph, (step + 1) / self.steps)
            graph = masking.masked()
            if self.fine_tune is not None:
                graph = self.fine_tune(graph)
                masking = masking.onto(graph)
            yield masking

    def candidates(self, graph: Graph) -> list[Value]:
        """The weights of all layers except those to keep and quantized ones."""
        kept = {v for node in named_layers(graph, self.keep) for v in node.inputs}
        return [w for w, _ in layer_weights(graph) if w not in kept and w.constant is not None]

    def left_alone(self, masking: MaskedGraph) -> Iterator[Note]:
        """Notes on layers that could have a mask but got none, with the reason."""
        why = "the criterion says nothing of it"
        if self.pattern == "2:4":
            why = f"{why}, or its inputs are no multiple of four"
        for weight in self.candidates(masking.graph):
            if weight not in masking.masks:
                yield Note(self.name, masking.graph.names[weight.node], f"left alone: {why}", declined=True)

    def masking(self, graph: Graph, part: float = 1.0) -> MaskedGraph:
        """The masks of a part of what is to go."""
        candidates = self.candidates(graph)
        if self.threshold is not None:
            limit = part * self.threshold
            return MaskedGraph(graph, {w: np.abs(w.constant) >= limit for w in candidates if w.constant is not None})
        scores = find_scores(self.importance, graph)
        weights = {w: scores[w] for w in candidates if w in scores}
        if candidates and not weights:
            advice = "take one that does: Magnitude, Taylor, Hessian, or a function that scores them"
            raise InvalidInput("it says nothing of the weights of layers", where="importance", advice=advice)
        for weight, array in weights.items():
            if array.shape != weight.type.shape:
                raise InvalidInput("the criterion does not speak of single weights", where=graph.names[weight.node])
        saliency = {w: np.abs(a) for w, a in weights.items()}
        if self.pattern == "2:4":
            whole = {w: a for w, a in saliency.items() if a.ndim > 1 and a.shape[1] % 4 == 0}
            return MaskedGraph(graph, {w: two_of_four(a) for w, a in whole.items()})
        return MaskedGraph(graph, self.least(saliency, part * (DEFAULT if self.sparsity is None else self.sparsity)))

    def least(self, saliency: dict[Value, Array], sparsity: float) -> dict[Value, Array]:
        """The masks without the least important blocks, of each layer or of all together."""
        block = PATTERNS[self.pattern]
        sums = {w: block_sums(a, block) for w, a in saliency.items()}
        pools = [[w] for w in sums] if self.scope == "local" else [list(sums)]
        masks: dict[Value, Array] = {}
        for pool in pools if sums else ():
            flat = np.concatenate([sums[w].ravel() for w in pool])
            kept = np.ones(len(flat), bool)
            kept[np.argsort(flat, kind="stable")[: int(sparsity * len(flat) + 0.5)]] = False
            ends = np.cumsum([sums[w].size for w in pool])
            for weight, part in zip(pool, np.split(kept, ends[:-1]), strict=True):
                blocks = part.reshape(sums[weight].shape).repeat(block, axis=0)
                masks[weight] = blocks[: saliency[weight].shape[0]]
        return masks


def block_sums(scores: Array, block: int) -> Array:
    """Sums over blocks of ``block`` outputs; the last block may be smaller."""
    return np.add.reduceat(scores, np.arange(0, scores.shape[0], block), axis=0)


def two_of_four(scores: Array) -> Array:
    """The mask of the two highest of every four consecutive elements of the second axis."""
    rows = np.moveaxis(scores, 1, -1)
    fours = rows.reshape(*rows.shape[:-1], -1, 4)
    rank = np.argsort(np.argsort(-fours, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.moveaxis((rank < 2).reshape(rows.shape), -1, 1)


@dataclass(frozen=True, eq=False)
class MaskedGraph:
    """A graph and the masks of its weights; true means that a weight stays."""

    graph: Graph
    masks: dict[Value, Array]

    def apply(self) -> Graph:
        """The graph with every weight times its mask."""
        return replaced(self.graph, {w: times(w, mask) for w, mask in self.masks.items()})

    def onto(self, graph: Graph) -> MaskedGraph:
        """The same masks on a graph whose constants have the same names: the trained one.

        Raises ``InvalidInput`` where a weight is not there any more, or has another shape.
        """
        twins = {graph.names[node]: node.results[0] for node in graph.nodes}
        masks = {}
        for weight, mask in self.masks.items():
            name = self.graph.names[weight.node]
            twin = twins.get(name)
            if twin is None or twin.constant is None or twin.type.shape != mask.shape:
                raise InvalidInput("the fine-tuned graph has no such weight", where=name)
            masks[twin] = mask
        return MaskedGraph(graph, masks)

    def cast(self, dtype: str) -> MaskedGraph:
        """The same masks on the graph with its float32 in ``dtype``."""
        new = cast_floats(self.graph, dtype)
        twin = dict(zip(self.graph.nodes, new.nodes, strict=True))
        return MaskedGraph(new, {twin[w.node].results[0]: mask for w, mask in self.masks.items()})

    def masked(self, seed: int | None = None) -> Graph:
        """The graph with zeros for masked weights; with a seed, the masks apply to random numbers there."""
        rng = np.random.default_rng(seed)
        new = {}
        for weight, mask in self.masks.items():
            other = rng.uniform(1, 3, mask.shape) if seed is not None else np.zeros(mask.shape)
            drawn = constant(np.where(mask, weight.constant, other).astype(weight.type.dtype), like=weight)  # type: ignore[arg-type]
            new[weight] = drawn if seed is None else times(drawn, mask)
        return replaced(self.graph, new)


def times(weight: Value, mask: Array) -> Value:
    bits = constant(mask.astype(np.int8), name=f"{weight.node.name}.mask")
    return Mul()(
        weight, Cast(to=weight.type.dtype)(bits), name=f"{weight.node.name}.masked", origins=weight.node.origins
    )


def replaced(graph: Graph, new: dict[Value, Value]) -> Graph:
    """The graph with other values in place of constants."""
    return rebuild(graph, lambda node, _: [new[node.results[0]]] if node.results[0] in new else None)
