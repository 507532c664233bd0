"""The path of weights from the inner products of its steps alone.

G[s, t] = <W_s - W_0, W_t - W_0> has everything that depends on distances and angles between steps.
Of parts of the weights, such as layers, the matrices add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from accweight_core.metrics.table import Floats


@dataclass(frozen=True)
class Path:
    """A path.

    Attributes:
        gram: (steps, steps) inner products.
    """

    gram: Floats

    @property
    def norms(self) -> Floats:
        """Norm of W_t - W_0 at every step."""
        return np.asarray(np.sqrt(np.maximum(np.diagonal(self.gram), 0)))

    @property
    def cosines(self) -> Floats:
        """(steps, steps) cosines between W_s - W_0 and W_t - W_0; NaN of steps without a move."""
        lengths = np.outer(self.norms, self.norms)
        found = np.full(self.gram.shape, np.nan)
        np.divide(self.gram, lengths, out=found, where=lengths > 0)
        return np.asarray(np.clip(found, -1, 1))

    @property
    def moves(self) -> Floats:
        """Norm of W_t - W_s, with s the step before; 0 at the first one."""
        gram = self.gram
        squares = [gram[t, t] - 2 * gram[s, t] + gram[s, s] for s, t in pairwise(range(len(gram)))]
        return np.sqrt(np.maximum([0.0, *squares], 0))

    def components(self, count: int) -> tuple[Floats, Floats]:
        """Return principal components of the path, and the share of its variance that each has.

        Args:
            count: Components to return; those that do not exist are 0.

        Returns:
            (steps, count) and (count,). The last step is on the positive side of each component.
        """
        steps = len(self.gram)
        centring = np.eye(steps) - 1 / steps
        values, vectors = np.linalg.eigh(centring @ self.gram @ centring)
        values = np.maximum(values[::-1], 0)
        values[values < values[0] * steps * np.finfo(np.float64).eps] = 0
        coordinates = vectors[:, ::-1] * np.sqrt(values)
        coordinates = coordinates * np.where(coordinates[-1] < 0, -1.0, 1.0)
        total = values.sum()
        shares = values / total if total > 0 else values
        missing = max(count - steps, 0)
        return (
            np.pad(coordinates[:, :count], ((0, 0), (0, missing))),
            np.pad(shares[:count], (0, missing)),
        )
