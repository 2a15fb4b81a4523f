"""The state of a run in one file, ``checkpoint.safetensors``: tensors, and the rest as JSON beside them.

The file holds no code and nothing is unpickled. It is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.files import write_atomically

FILE = "checkpoint.safetensors"
FORMAT = 1
ANEW = "give another folder, or remove this one to begin anew"


@dataclass(frozen=True)
class Checkpoint:
    """The folder of a run, and what the run is of: what a checkpoint of another run differs in."""

    folder: Path
    run: Mapping[str, Any]

    def write(self, state: Any) -> None:
        """Store mappings, sequences, texts, numbers and tensors. Raises ``InvalidInput`` for anything else."""
        tensors: dict[str, Tensor] = {}
        written = {"run": self.run, "state": packed(state, tensors)}
        metadata = {"format": "graphopt-training", "version": str(FORMAT), "json": json.dumps(written)}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / FILE, save(tensors, metadata))

    def read(self) -> Any:
        """What was stored last; None if nothing was.

        Raises ``InvalidInput`` for a file that is damaged, or of another run.
        """
        path = self.folder / FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if (metadata.get("format"), metadata.get("version")) != ("graphopt-training", str(FORMAT)):
                raise ValueError("it is of another version, or of something else")
            written = json.loads(metadata["json"])
            run, state = written["run"], unpacked(written["state"], tensors)
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidInput(f"is no checkpoint: {error}", where=str(path), advice=ANEW) from error
        own = json.loads(json.dumps(self.run))
        if other := [key for key in own if run.get(key) != own[key]]:
            what = f"it is of another run: {other[0]} was {run.get(other[0])!r} and is {own[other[0]]!r}"
            raise InvalidInput(what, where=str(path), advice=ANEW)
        return state


def packed(state: Any, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON has it, its tensors put aside under numbers; ``unpacked`` undoes it."""
    match state:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = state.detach().cpu().contiguous().clone()
            return {"tensor": name}
        case Mapping():
            return {"mapping": [[key, packed(value, tensors)] for key, value in state.items()]}
        case list() | tuple():
            return {type(state).__name__: [packed(value, tensors) for value in state]}
        case None | bool() | int() | float() | str():
            return state
    what = f"{type(state).__name__} is no number, text or tensor, and cannot be stored"
    raise InvalidInput(what, where="checkpoint", advice="take an optimizer and a schedule whose state is plain")


def unpacked(written: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that was ``packed``."""
    if not isinstance(written, dict):
        return written
    ((kind, content),) = written.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "mapping":
        return {key: unpacked(value, tensors) for key, value in content}
    return {"list": list, "tuple": tuple}[kind](unpacked(value, tensors) for value in content)


def described(part: Any) -> str:
    """What is told of an option, a function or an object to know it again: names, and values that are plain."""
    if isinstance(part, str | int | float | bool | None):
        return str(part)
    if isinstance(part, Mapping):
        return ", ".join(f"{key}={described(value)}" for key, value in part.items())
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(described, part))}]"
    if dataclasses.is_dataclass(part):
        known = [f.name for f in dataclasses.fields(part) if f.init]
        return f"{type(part).__name__}({', '.join(f'{name}={described(getattr(part, name))}' for name in known)})"
    return str(getattr(part, "__qualname__", type(part).__name__))


def digest(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors and their names."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(f"{name} {tensor.dtype} {[*tensor.shape]} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
