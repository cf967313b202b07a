r"""Twisted particle filters: weights that anticipate the frames to come.

With a positive function :math:`r_t(z_t, x_{t+1:T})` of every frame but the last,

.. math::
    W^k_t \propto W^k_{t-1} \frac{p(x_t, z^k_t \mid z^k_{<t}, x_{<t})}{q(z^k_t \mid z^k_{<t}, x)}
    \cdot \frac{r_t(z^k_t, x_{t+1:T})}{r_{t-1}(z^k_{t-1}, x_{t:T})}, \qquad r_0 = r_T = 1

so that particles after frame t follow :math:`p(z_{\le t} \mid x_{\le t}) \, r_t`, which is the
posterior given all frames if :math:`r_t \propto p(x_{t+1:T} \mid z_t)`. The twist cancels over the
frames of a path: the estimate of p(x) is unbiased for every r.

Reference: Guarniero, Johansen and Lee, The iterated auxiliary particle filter, 2017;
Lawson, Raventos, Warrington and Linderman, SIXO: smoothing inference with twisted objectives, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.smc import ParticleFilter, Resampling, Values


class Twist(Protocol):
    """The logarithm of :math:`r_t(z_t, x_{t+1:T})`."""

    def encode(self, batch: Batch) -> Tensor:
        """What is needed of the frames after each frame, (B, T, E)."""
        ...

    def __call__(self, values: Mapping[str, Tensor], encoded: Tensor) -> Tensor:
        """Log r, in nats, of latents (..., J) by site and features (..., E) of the same frames."""
        ...


def followed(batch: Batch) -> Tensor:
    """True where a frame of data is followed by another one, (B, T).

    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> followed(Batch(torch.zeros(2, 3, 1), mask, torch.arange(2))).tolist()
    [[True, True, False], [False, False, False]]
    """
    return F.pad(batch.mask[:, 1:], (0, 1))


def log_twist(twist: Twist, batch: Batch, values: Mapping[str, Tensor]) -> Tensor:
    """Log r of all frames, (K, B, T), zero in the last frame and in padding.

    Args:
        twist: r.
        batch: B sequences of T frames.
        values: of every latent site, (K, B, T, J).
    """
    return twist(values, twist.encode(batch)).masked_fill(~followed(batch), 0.0)


def twist_changes(log_r: Tensor, resamplings: Sequence[Resampling | None]) -> Tensor:
    r"""Log of :math:`r_t / r_{t-1}` along the ancestors of every particle, (K, B, T).

    Args:
        log_r: of all frames, (K, B, T).
        resamplings: before each frame; None where nothing was resampled.
    """
    before, changes = torch.zeros_like(log_r[..., 0]), []
    for now, resampling in zip(log_r.unbind(-1), resamplings, strict=True):
        if resampling is not None:
            before = before.gather(0, resampling.ancestors)
        changes.append(now - before)
        before = now
    return torch.stack(changes, -1)


class TwistedFilter(ParticleFilter):
    """A particle filter whose weights have a twist.

    Args:
        model, guide, batch, particles: as of `ParticleFilter`.
        twist: r.
        **options: of `ParticleFilter`.

    Attributes:
        log_r: of the last latents of every particle, (K, B).
    """

    def __init__(self, *of_filter: Any, twist: Twist, **options: Any) -> None:
        super().__init__(*of_filter, **options)
        self.twist = twist
        self.encoded = twist.encode(self.batch)
        self.followed = followed(self.batch)
        self.log_r = self.batch.x.new_zeros(self.shape)

    def choose(self, index: Tensor) -> None:
        """Replace all particles by those of an index (K, B)."""
        super().choose(index)
        self.log_r = self.log_r.gather(0, index)

    def weigh(self, values: Values, moving: Tensor | None) -> tuple[Values, Tensor]:
        """As of `ParticleFilter`, with the change of the twist."""
        values, log_ratio = super().weigh(values, moving)
        before, t = self.log_r, self.t
        with torch.no_grad():  # only gradients of densities are recorded
            here = self.twist(values, self.encoded[:, t])
        self.log_r = here.masked_fill(~self.followed[:, t], 0.0)
        return values, log_ratio + self.log_r - before
