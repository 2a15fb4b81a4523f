"""The device that a run is on: one, or by Lightning Fabric as many as there are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.extras import optional_packages

T = TypeVar("T")


class Devices(Protocol):
    """What the loop needs of ``lightning_fabric.Fabric``, under its names; ``OneDevice`` has it too."""

    world_size: int
    global_rank: int

    def setup(self, module: nn.Module, *optimizers: torch.optim.Optimizer) -> Any: ...
    def autocast(self) -> AbstractContextManager[Any]: ...
    def to_device(self, obj: Any) -> Any: ...
    def backward(self, tensor: Tensor) -> None: ...
    def all_reduce(self, data: Tensor) -> Any: ...
    def broadcast(self, obj: T) -> T: ...
    def barrier(self) -> None: ...


class OneDevice:
    """The GPU if PyTorch has one, where matrix products and convolutions are of bfloat16; else the CPU."""

    world_size = 1
    global_rank = 0

    def __init__(self, name: str | None = None, bfloat16: bool | None = None) -> None:
        self.device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.bfloat16 = on_gpu if bfloat16 is None else bfloat16

    def setup(self, module: nn.Module, *optimizers: torch.optim.Optimizer) -> tuple[Any, ...]:
        return (module.to(self.device), *optimizers)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def to_device(self, obj: Any) -> Any:
        return {name: tensor.to(self.device) for name, tensor in obj.items()}

    def backward(self, tensor: Tensor) -> None:
        torch.autograd.backward(tensor)

    def all_reduce(self, data: Tensor) -> Tensor:
        return data

    def broadcast(self, obj: T) -> T:
        return obj

    def barrier(self) -> None:
        pass


def launch(options: Mapping[str, Any]) -> Devices:
    """A Fabric of these options, launched: what calls this runs in every process from here on.

    Raises ``MissingPackage`` where Lightning Fabric is not installed, ``InvalidInput`` for options that it refuses.
    """
    with optional_packages():
        from lightning_fabric import Fabric
    try:
        fabric: Any = Fabric(**options)
        fabric.launch()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"Fabric does not take that: {error}", where="fabric") from error
    return fabric  # type: ignore[no-any-return]


def devices_of(fabric: Devices | None) -> Devices:
    """The devices that are asked for. Raises ``InvalidInput`` for a Fabric of several that is not launched."""
    if fabric is None:
        return OneDevice()
    if not all(hasattr(fabric, name) for name in ("setup", "backward", "all_reduce", "global_rank")):
        raise InvalidInput(f"{type(fabric).__name__} is no Fabric", where="fabric", advice="Fabric(devices=2)")
    if fabric.world_size > 1 and not getattr(fabric, "_launched", True):
        raise InvalidInput("it is not launched", where="fabric", advice="call fabric.launch() first in the script")
    return fabric
