"""The weights from latent units to features, which show what each unit represents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from pyrodgm.models import Model


@dataclass(frozen=True)
class Dictionary:
    """Contribution of every unit of a layer to a frame.

    Args:
        site: the layer, "z" or "z1" for latents, "h" for deterministic units.
        weights: contribution of each unit to every feature when it is on, (J, D): to log-odds of
            bits, to logits of words, to means in standard deviations.
        activity: share of the frames in which each unit is on, (J,); None if unknown.
    """

    site: str
    weights: np.ndarray
    activity: np.ndarray | None = None

    @property
    def effect(self) -> np.ndarray:
        r"""Size of the variation that each unit causes in the frames, (J,).

        .. math:: \|W_j\| \sqrt{a_j (1 - a_j)}

        The norm of its weights times the standard deviation of a bit that is on with probability a.
        A unit that never changes has no effect beyond a bias, so its value is zero.
        """
        size = np.linalg.norm(self.weights, axis=1)
        if self.activity is None:
            return size
        return size * np.sqrt(self.activity * (1 - self.activity))

    @property
    def order(self) -> np.ndarray:
        """Units in descending order of effect, (J,)."""
        return np.argsort(-self.effect, kind="stable")


def read_dictionary(model: Model, dim: int) -> Dictionary | None:
    """The weights of the layer next to the observation; None if a model has no such layer.

    For a Gaussian emission these are the weights of the mean, for NADE those of the visible units.

    Args:
        model: a model whose latents, or the deterministic units that they drive, enter the
            emission linearly, as an attribute ``x_from_z`` or ``x_from_h``.
        dim: features D, or symbols S of categorical data.
    """
    latents = list(getattr(model, "latents", ()))
    if not latents:
        return None
    for name, site in (("x_from_z", latents[0]), ("x_from_h", "h")):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Linear):
            return Dictionary(site, layer.weight.detach().cpu().numpy()[:dim].T)
    return None
