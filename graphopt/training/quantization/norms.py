"""Batch norms in quantization-aware training: they use the statistics of batches first, then fixed ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphopt.passes.data import Data
from graphopt.training.companion import Companion, Moment
from graphopt.training.quantization.module import QuantizedModule

FROM = 0.75
"""The part of a run after which norms are frozen; from then on training computes the program."""


class FreezeNorms(Companion):
    """Freezes the batch norms of a module at the end of an epoch, with statistics measured on data."""

    def __init__(self, module: QuantizedModule, data: Data) -> None:
        self.module, self.data = module, data

    def after_epoch(self, module: nn.Module, at: Moment) -> None:
        if at.progress >= FROM and not self.module.norms_frozen:
            self.module.freeze_norms(self.data)

    def state(self) -> dict[str, Tensor]:
        return {"frozen": torch.tensor(self.module.norms_frozen)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.module.norms_frozen = bool(state["frozen"])
