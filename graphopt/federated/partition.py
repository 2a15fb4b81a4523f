"""Data of one place, cut into the data of clients that are not alike."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array


def dirichlet(labels: Array, clients: int, alpha: float = 0.5, seed: int = 0, least: int = 1) -> list[Array]:
    """The places of the samples of each client, in order: each class is shared out by a draw of Dirichlet(alpha).

    The smaller ``alpha``, the less clients are alike (Hsu et al., 2019). Shares are drawn again until each client has
    ``least`` samples; raises ``InvalidInput`` where that does not come about in a hundred draws.
    """
    labels = np.asarray(labels)
    if not (clients >= 1 and alpha > 0 and labels.ndim == 1 and labels.dtype.kind in "iub"):
        raise InvalidInput("classes [n], one client or more and a positive alpha are needed", where="dirichlet")
    rng = np.random.default_rng(seed)
    for _ in range(100):
        owner = np.empty(len(labels), np.int64)
        for one in np.unique(labels):
            places = rng.permutation(np.flatnonzero(labels == one))
            ends = np.round(np.cumsum(rng.dirichlet(np.full(clients, alpha))) * len(places)).astype(np.int64)
            owner[places] = np.minimum(np.searchsorted(ends, np.arange(len(places)), side="right"), clients - 1)
        if np.bincount(owner, minlength=clients).min() >= least:
            return [np.flatnonzero(owner == client) for client in range(clients)]
    what = f"no draw gives each of {clients} clients {least} of {len(labels)} samples"
    raise InvalidInput(what, where="dirichlet", advice="take a larger alpha, or fewer clients")
