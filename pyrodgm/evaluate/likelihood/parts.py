"""The parts of the evidence lower bound of rows with one or two latents, exactly where possible."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.engine.auxiliary import AuxiliaryProgram
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.grid import POINTS_AT_ONCE, log_volume, points, refined
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CriticWarning, QuadratureWarning
from pyrodgm.evaluate.likelihood.bound import standard_error
from pyrodgm.evaluate.likelihood.quadrature import MASS, distinct, log_probs, refuse_without_grid
from pyrodgm.evaluate.passes import drawing
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import Model

DRAWS = 100_000  # of the guide over the whole split, where its density is not known
NEIGHBOURS = 5  # with which the bias is 0.001 nats for so many draws of a normal distribution
MOST_ROWS = 1000  # distinct rows, up to which the aggregate posterior is summed over all of them
ROWS_AT_ONCE = 5_000
FEW_CELLS = 8  # of a grid on which the priors of rows are compared
GRID, DRAWN = "quadrature", "draws"


@dataclass(frozen=True)
class Parts:
    r"""Parts of the evidence lower bound by frame, and how far q(z) is from the prior; in nats.

    .. math::
        L = E\, E_{q(z \mid x)} \log p(x \mid z) - E\, \mathrm{KL}(q(z \mid x), p(z)), \qquad
        q(z) = E\, q(z \mid x)

    where E is the mean over the frames of a split. L is at most the log-likelihood, and
    :math:`E\,\mathrm{KL}(q(z \mid x), p(z))` at least :math:`\mathrm{KL}(q(z), p(z))`.

    Args:
        by: "quadrature": all numbers are exact; "draws": they are means over draws of the guide,
            and the last one an estimate from distances between them.
        elbo_nats_per_frame: L; with a guide that has auxiliary sites, the bound below it that
            includes them. None where the guide has no density.
        elbo_standard_error: over draws; zero by quadrature.
        reconstruction_error_nats_per_pixel: :math:`-E\, E_q \log p(x \mid z) / D`, where D is the
            mean number of observed features.
        aggregate_kl_nats: :math:`\mathrm{KL}(q(z), p(z))`; None where the prior depends on
            conditions.
    """

    by: str
    elbo_nats_per_frame: float | None
    elbo_standard_error: float | None
    reconstruction_error_nats_per_pixel: float
    aggregate_kl_nats: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def bound_parts(model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0) -> Parts:
    """The parts of the evidence lower bound of rows with one or two continuous latents.

    Args:
        model: the model p.
        guide: the guide q. Without a density, with auxiliary sites, or for more than 1000 distinct
            rows, 100,000 draws are taken.
        sequences: the split.
        seed: of draws; the global generator is left alone.

    Raises:
        CompatibilityError: there is no grid for the latents, see
            `pyrodgm.evaluate.likelihood.quadrature.quadrature`.

    Warns:
        QuadratureWarning: the guide's density is too narrow for the grid.
    """
    refuse_without_grid(model)
    rows, which = distinct(sequences)
    shares = torch.from_numpy(np.bincount(which) / len(which))
    known = isinstance(guide, StepGuide) and not isinstance(guide, AuxiliaryProgram)
    if known and len(rows) <= MOST_ROWS:
        return _by_grid(model, guide, rows, shares)
    return _by_draws(model, guide, rows, shares, seed)


def _by_grid(model: Model, guide: Guide, rows: Sequences, shares: Tensor) -> Parts:
    sums = partial(_sums, model, guide, rows, shares)
    seen, kl, aggregate, error = refined(sums, "a part of the bound").tolist()
    if error > MASS:
        warnings.warn(
            f"the density of {type(guide).__name__} has an integral that differs from 1 by "
            f"{error:.2g} on the grid of latents: it is too narrow for the grid or extends beyond "
            "it, and the parts of the bound are inexact",
            QuadratureWarning,
            stacklevel=3,
        )
    error_per_feature = -seen / _features(rows, shares)
    return Parts(
        GRID, seen - kl, 0.0, error_per_feature, None if _prior_varies(model, rows) else aggregate
    )


def _sums(model: Model, guide: Guide, rows: Sequences, shares: Tensor, cells: int) -> Tensor:
    r"""Sums over one grid, (4,), in double precision.

    They are the reconstruction, the KL divergences of :math:`q(z \mid x)` and of q(z) from the
    prior, and the largest error of :math:`\int q(z \mid x)\, dz = 1`.
    """
    dim = sum(site.dim for site in model.latents.values())
    found = torch.zeros(4, dtype=torch.float64)
    mass = torch.zeros(len(rows), dtype=torch.float64)
    with torch.no_grad():
        for z in points(dim, cells).split(POINTS_AT_ONCE):
            p, q = log_probs(model, model, rows, z), log_probs(model, guide, rows, z)
            log_prior = torch.stack([p[name] for name in model.latents]).sum(0)
            log_seen = torch.stack([p[name] for name in model.observed]).sum(0)
            log_q = torch.stack([q[name] for name in model.latents]).sum(0)
            log_mean = (log_q + shares.log()).logsumexp(1)
            weights, of_mean = log_q.exp() * shares, log_mean.exp()
            found[0] += (weights * log_seen).sum()
            found[1] += (weights * (log_q - log_prior)).sum()
            found[2] += (of_mean * (log_mean - log_prior[:, 0])).sum()
            mass += log_q.exp().sum(0)
    volume = math.exp(log_volume(dim, cells))
    found *= volume
    found[3] = (volume * mass - 1).abs().max()
    return found


def _by_draws(model: Model, guide: Guide, rows: Sequences, shares: Tensor, seed: int) -> Parts:
    """Means over draws, whose rows are at equal distances in the split."""
    places = (np.arange(DRAWS) + 0.5) / DRAWS
    which = np.searchsorted(shares.cumsum(0).numpy(), places).clip(max=len(rows) - 1)
    parts: list[tuple[Tensor, ...]] = []
    with drawing(model, seed, "parts of the bound") as device:
        for chosen in np.array_split(which, math.ceil(DRAWS / ROWS_AT_ONCE)):
            parts.append(_of_draws(model, guide, rows.batch(chosen).to(device)))
    z, log_prior, log_seen, log_w = (
        torch.cat(each).double().cpu() for each in zip(*parts, strict=True)
    )
    kl = float((log_density(z) - log_prior).mean())
    known = guide.traits.has_density
    return Parts(
        DRAWN,
        float(log_w.mean()) if known else None,
        standard_error(log_w.numpy()) if known else None,
        -float(log_seen.mean()) / _features(rows, shares),
        None if _prior_varies(model, rows) else kl,
    )


def _features(rows: Sequences, shares: Tensor) -> float:
    """Mean number of observed features of a row."""
    return float((~rows.x.isnan()).sum(1).double() @ shares)


def _prior_varies(model: Model, rows: Sequences) -> bool:
    """Whether the prior of the latents of a row depends on its conditions."""
    if not model.info.num_conditions:
        return False
    few = rows.select(np.unique(np.linspace(0, len(rows) - 1, 100).astype(int)))
    dim = sum(site.dim for site in model.latents.values())
    with torch.no_grad():
        p = log_probs(model, model, few, points(dim, FEW_CELLS))
        log_prior = torch.stack([p[name] for name in model.latents]).sum(0)
    return not torch.allclose(log_prior, log_prior[:, :1].expand_as(log_prior), atol=1e-4)


def _of_draws(model: Model, guide: Guide, batch: Batch) -> tuple[Tensor, ...]:
    """A draw of every row: values (B, J), and log p(z), log p(x | z) and log w, (B,)."""
    if guide.traits.has_density:
        found = terms(model, guide, batch)
        values, p, log_w = found.values, found.p, found.log_w
    else:
        values = draw(guide, batch).values
        p = score(model, batch, values)
        log_w = torch.full(batch.mask.shape, math.nan)[None]
    log_prior = sum((p[name] for name in model.latents), torch.zeros(()))
    log_seen = sum((p[name] for name in model.observed), torch.zeros(()))
    z = torch.cat([values[name] for name in model.latents], -1)
    return z[0, :, 0], log_prior[0, :, 0], log_seen[0, :, 0], log_w[0, :, 0]


def excess(estimate: float, log_likelihood: float) -> float:
    """The difference of an adversarial estimate of the bound and the log-likelihood, in nats.

    Args:
        estimate: of the evidence lower bound by a critic, in nats per frame.
        log_likelihood: exact, in nats per frame.

    Warns:
        CriticWarning: the estimate is higher, which a lower bound cannot be.
    """
    if (found := estimate - log_likelihood) > 0:
        warnings.warn(
            f"the critic's estimate of the lower bound, {estimate:.4f} nats per frame, exceeds the "
            f"log-likelihood, {log_likelihood:.4f}: the critic takes the guide for closer to the "
            "prior than it is; more critic steps or a larger critic_lr may help",
            CriticWarning,
            stacklevel=2,
        )
    return found


def log_density(draws: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    r"""Estimates of the log-density of draws at each of them, by the distance to its neighbours.

    .. math:: \log \hat q(z_i) = \psi(k) - \psi(M) - \log V_J - J \log \rho_k(z_i)

    where :math:`\rho_k` is the distance to the k-th nearest other draw and :math:`V_J` the volume
    of the unit ball: the share of the distribution within that distance is a Beta(k, M - k) number,
    and the estimate is unbiased where the density is constant there. The mean is an estimate of
    minus the entropy, whose bias vanishes as M grows.

    Args:
        draws: M of J variables, (M, J), more than k.
        neighbours: k.

    Reference: Kozachenko and Leonenko, 1987; Kraskov, Stoegbauer and Grassberger, Estimating
    mutual information, 2004, equation 20.
    """
    from scipy.spatial import KDTree  # slow to import

    number, dim = draws.shape
    distance = KDTree(draws.numpy()).query(draws.numpy(), neighbours + 1)[0][:, -1]
    log_ball = 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim + 1)
    counts = torch.tensor([neighbours, number], dtype=draws.dtype).digamma()
    return counts[0] - counts[1] - log_ball - dim * torch.from_numpy(distance).log()
