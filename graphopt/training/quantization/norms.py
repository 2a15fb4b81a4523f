"""Batch norms in the training of a quantized graph: statistics of batches first, then those of the data, for good."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphopt.passes.data import Data
from graphopt.training.companion import Companion
from graphopt.training.quantization.module import QuantizedModule

FROM = 0.75
"""The part of the epochs after which norms keep their statistics, so that the rest is spent on the very program."""


class FreezeNorms(Companion):
    """Re-estimates the batch norms of a module on ``data`` after a part of ``epochs``, and keeps them so."""

    def __init__(self, data: Data, epochs: int) -> None:
        self.data, self.after = data, max(round(FROM * epochs), 1)
        self.frozen = False

    def start(self, module: nn.Module) -> None:
        assert isinstance(module, QuantizedModule)
        module.norms_frozen |= self.frozen

    def after_epoch(self, module: nn.Module, epoch: int) -> None:
        assert isinstance(module, QuantizedModule)
        if epoch == self.after and not module.norms_frozen:
            module.freeze_norms(self.data)
            self.frozen = True

    def state(self) -> dict[str, Tensor]:
        return {"frozen": torch.tensor(self.frozen)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.frozen = bool(state["frozen"])
