"""The log-likelihood of rows with one or two continuous latents, by integration over a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import score
from pyrodgm.engine.grid import COARSEST, EDGE, FINEST, log_integral, on_grid
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StepModel

MOST_DIM = 2
MASS = 1e-4  # tolerance for the integral of the prior
NUMBERS_AT_ONCE = 2_000_000  # bounds memory, not results
LEAST_POINTS = 64  # of a portion, so that a decoder has a batch of them
AFFORDABLE = 100_000  # largest number of training values for which quadrature is the default


def obstacle(model: Model) -> str | None:
    """The reason why latents of a model cannot be integrated over a grid; None if they can."""
    name = type(model).__name__
    dim = sum(sizes(model.latents).values())
    if model.traits.density != "normalised":
        return f"{name} has no normalised density"
    if not isinstance(model, StepModel) or model.traits.sequential is not False:
        return f"{name} is not a model of independent rows (a StepModel without time)"
    if {site.kind for site in model.latents.values()} != {"continuous"}:
        return f"{name} has latents that are not continuous, or none"
    if dim > MOST_DIM:
        return f"{name} has {dim} latents, but a grid is possible for at most {MOST_DIM}"
    blank = torch.zeros(1, 1, model.info.dim)
    given = torch.zeros(1, 1, model.info.num_conditions) if model.info.num_conditions else None
    device = next(model.parameters(), blank).device
    batch = Batch.of(blank, given).to(device)
    mass = float(on_grid(lambda z: _prior(model, batch, z), dim, COARSEST).exp())
    if abs(mass - 1) > MASS:
        return (
            f"the prior of {name} has probability {mass:.4f} on the grid from {-EDGE:g} to "
            f"{EDGE:g} in every latent, and not 1"
        )
    return None


def refuse_without_grid(model: Model) -> None:
    """Raise where latents cannot be integrated over a grid.

    Raises:
        CompatibilityError: quadrature is not possible for the model, or its prior exceeds the grid.
    """
    if (why := obstacle(model)) is not None:
        raise CompatibilityError(f"the log-likelihood cannot be computed by quadrature: {why}")


def integrates(model: Model) -> bool:
    """Whether quadrature is the default estimator of the log-likelihood.

    It must be possible and cheap, with at most 100,000 values in the training data.
    """
    size = model.info.num_frames * model.info.dim
    return size <= AFFORDABLE and obstacle(model) is None


def quadrature(model: Model, sequences: Sequences, *, finest: int = FINEST) -> np.ndarray:
    r"""The log-likelihood of every sequence of independent rows, (N,), in nats.

    .. math:: \log p(x) = \log \int p(z) \, p(x \mid z) \, dz

    Equal rows are integrated only once.

    Args:
        model: a model of rows with one or two continuous latents.
        sequences: the split.
        finest: largest number of cells per latent.

    Raises:
        CompatibilityError: quadrature is not possible for the model, or its prior exceeds the grid.
    """
    refuse_without_grid(model)
    rows, which = distinct(sequences)
    dim = sum(sizes(model.latents).values())
    nats = log_integral(lambda z: _joint(model, rows, z), dim, finest=finest).numpy()
    return np.add.reduceat(nats[which], sequences.starts)


def distinct(sequences: Sequences) -> tuple[Sequences, np.ndarray]:
    """The distinct frames, as separate sequences, and the index of each frame among them, (F,)."""
    x, given = sequences.x.numpy(), sequences.conditions
    table = x if given is None else np.concatenate([x, given.numpy()], 1)
    _, places, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return sequences.single(places), which.reshape(-1)


def _joint(model: Model, rows: Sequences, z: Tensor) -> Tensor:
    """The joint log p(x, z) of all rows at all points (S, J), (S, N)."""
    return sum(log_probs(model, model, rows, z).values(), torch.zeros(()))


def log_probs(
    model: Model, program: Model | Guide, rows: Sequences, z: Tensor
) -> dict[str, Tensor]:
    """Log-probabilities of every site of a program, for all rows at all points (S, J), (S, N).

    Args:
        model: the model p, whose latents the points are.
        program: the model itself, or a guide with a density over the same latents.
        rows: N rows, each a sequence of its own.
        z: points of the grid.
    """
    device = next(model.parameters()).device
    nats: dict[str, Tensor] = {}
    for places, part in _portions(len(rows), len(z), model.frame_size):
        batch = rows.batch(places).to(device)
        values = _by_site(model, z[part], batch)
        if program is not model:  # a model needs every point once for all rows
            values = {name: each.expand(-1, batch.size, -1, -1) for name, each in values.items()}
        for name, found in score(program, batch, values).items():
            of_site = nats.setdefault(name, torch.empty(len(z), len(rows), dtype=torch.float64))
            shown = found.expand(-1, len(places), 1)[..., 0]
            of_site[part, torch.from_numpy(places)] = shown.double().cpu()
    return nats


def _portions(rows: int, points: int, width: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Rows with a slice of the points; few groups of rows, as each has all points decoded.

    Args:
        rows: number of rows.
        points: number of points.
        width: numbers of a row at a point.
    """
    most = max(1, NUMBERS_AT_ONCE // width)
    together = min(rows, max(1, most // LEAST_POINTS))
    for places in np.array_split(np.arange(rows), math.ceil(rows / together)):
        size = max(1, most // len(places))
        for start in range(0, points, size):
            yield places, slice(start, min(start + size, points))


def _prior(model: Model, batch: Batch, z: Tensor) -> Tensor:
    """The prior log p(z) at all points, (S, 1)."""
    found = score(model, batch, _by_site(model, z, batch))
    return torch.stack([found[name] for name in model.latents]).sum(0)[..., 0]


def _by_site(model: Model, z: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Points (S, J) as values of the latent sites, (S, 1, 1, J) each."""
    parts = z.to(batch.x)[:, None, None].split(list(sizes(model.latents).values()), -1)
    return dict(zip(model.latents, parts, strict=True))
