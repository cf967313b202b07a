"""What does each latent unit stand for? The weights from units to features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from pyrodgm.models import Model


@dataclass(frozen=True)
class Dictionary:
    """What every unit of a layer adds to a frame.

    Args:
        site: the layer, "z" or "z1" for latents, "h" for deterministic units.
        weights: what each unit adds to every feature when it is on, (J, D): to log-odds of bits,
            to logits of words, to means in standard deviations.
        activity: share of the frames in which each is on, (J,); None where that is unknown.
    """

    site: str
    weights: np.ndarray
    activity: np.ndarray | None = None

    @property
    def effect(self) -> np.ndarray:
        r"""How much each unit moves the frames, (J,).

        .. math:: \|W_j\| \sqrt{a_j (1 - a_j)}

        Its weights times the standard deviation of a switch that is on with frequency a: a unit
        that never changes is a bias, however large its weights are.
        """
        size = np.linalg.norm(self.weights, axis=1)
        if self.activity is None:
            return size
        return size * np.sqrt(self.activity * (1 - self.activity))

    @property
    def order(self) -> np.ndarray:
        """Units, the one with most effect first, (J,)."""
        return np.argsort(-self.effect, kind="stable")


def read_dictionary(model: Model, dim: int) -> Dictionary | None:
    """The weights of the layer next to the observation; None where a model has no such layer.

    Of a Gaussian's numbers those of the mean, and of a NADE's those of the visible units.

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
