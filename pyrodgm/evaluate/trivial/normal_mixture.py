"""A mixture of normal distributions, fitted by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrodgm.errors import DataError

STEPS, STARTS = 100, 5
RIDGE = 1e-6  # of the variance of the data, added to every covariance


@dataclass(frozen=True)
class NormalMixture:
    r"""A mixture of M normal distributions.

    .. math:: p(x) = \sum_i w_i \, \mathcal N(x; c_i, S_i)

    Args:
        weights: w, (M,).
        centres: c, (M, D).
        covariances: S, (M, D, D).
    """

    weights: np.ndarray
    centres: np.ndarray
    covariances: np.ndarray

    def joint(self, x: np.ndarray) -> np.ndarray:
        """Log-probabilities log p(x, i) of every row and component, (N, M), in nats."""
        roots = np.linalg.cholesky(self.covariances)
        off = np.linalg.solve(roots, np.moveaxis(x[:, None] - self.centres, 0, -1))  # (M, D, N)
        logdet = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(1)
        constant = x.shape[1] * np.log(2 * np.pi) + logdet
        return np.log(self.weights) - 0.5 * (constant + np.square(off).sum(1).T)

    def log_likelihood(self, x: np.ndarray) -> float:
        """Mean log-likelihood of rows, in nats."""
        return float(np.logaddexp.reduce(self.joint(x), 1).mean())

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Rows of the mixture, (num, D)."""
        which = rng.choice(len(self.weights), size=num, p=self.weights)
        roots = np.linalg.cholesky(self.covariances)[which]
        noise = rng.standard_normal((num, self.centres.shape[1], 1))
        return self.centres[which] + (roots @ noise)[..., 0]


def fit_mixture(x: np.ndarray, components: int, rng: np.random.Generator) -> NormalMixture:
    """The mixture of the best of five starts, by its log-likelihood of the training rows.

    Args:
        x: rows, (N, D).
        components: number of components M.
        rng: of the starts, each from rows far from each other.

    Raises:
        DataError: fewer rows than components.
    """
    if len(x) < components:
        raise DataError(f"{len(x)} rows are too few for a mixture of {components} components")
    fitted = [_fit(x, components, rng) for _ in range(STARTS)]
    return max(fitted, key=lambda each: each.log_likelihood(x))


def _fit(x: np.ndarray, components: int, rng: np.random.Generator) -> NormalMixture:
    """Expectation maximisation from one start."""
    dim = x.shape[1]
    start = float(x.var(0).mean()) / components
    ridge = (RIDGE * float(x.var(0).mean()) + 1e-12) * np.eye(dim)
    made = NormalMixture(
        np.full(components, 1 / components),
        _far_apart(x, components, rng),
        np.tile(start * np.eye(dim) + ridge, (components, 1, 1)),
    )
    for _ in range(STEPS):
        joint = made.joint(x)
        share = np.exp(joint - np.logaddexp.reduce(joint, 1, keepdims=True))
        counts = share.sum(0) + 1e-9
        centres = share.T @ x / counts[:, None]
        off = x[:, None] - centres
        covariances = np.einsum("nm,nmi,nmj->mij", share, off, off) / counts[:, None, None]
        made = NormalMixture(counts / counts.sum(), centres, covariances + ridge)
    return made


def _far_apart(x: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Rows far from each other, chosen with probabilities as squared distances (k-means++)."""
    chosen = [x[rng.integers(len(x))]]
    for _ in range(num - 1):
        apart = np.min([np.square(x - each).sum(1) for each in chosen], axis=0)
        total = apart.sum()
        p = apart / total if total > 0 else None
        chosen.append(x[rng.choice(len(x), p=p)])
    return np.array(chosen)
