"""Densities in the plane beside the true one: divergences in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.landscape import has_landscape, landscape
from pyrodgm.figures.landscape import landscapes
from pyrodgm.models import RBM
from pyrodgm.models.base import ModelTraits
from pyrodgm.models.energy import EnergyModel

INFO = DataInfo(
    "one", "real", 2, (1.0, -1.0), 1.0, 1,
    std=(0.5, 0.5), centre=(1.0, -1.0), modes=((1.2, -1.0),), mode_std=0.5,
)  # fmt: skip


class Bowl(EnergyModel):
    """A normal distribution of precision 2 around the centre, in batches at zero."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info):
        super().__init__(info)
        self.precision = nn.Parameter(torch.tensor(2.0))

    def potential(self, x, batch):
        return -0.5 * self.precision * x.square().sum(-1)


def kl(std, precision, off):
    """KL(N(off, std^2 I) || N(0, I / precision)) in the plane."""
    ratio = precision * std**2
    return ratio - 1 - math.log(ratio) + 0.5 * precision * off**2


def test_divergences_of_normal_distributions_are_those_of_the_closed_form():
    found = landscape(Bowl(INFO), INFO)
    assert found.kl_to_learned == pytest.approx(kl(0.5, 2.0, 0.2), rel=1e-5)
    assert found.kl_to_true == pytest.approx(kl(0.5**0.5, 4.0, 0.2), rel=1e-5)
    assert found.text().startswith("KL(true || learned) = 0.233")
    assert set(found.to_dict()) == {"kl_true_learned_nats", "kl_learned_true_nats"}


def test_densities_are_normalised_and_lie_at_their_places():
    found = landscape(Bowl(INFO), INFO)
    cell = float(np.diff(found.across).mean() * np.diff(found.up).mean())
    for nats, mode in ((found.learned, (1.0, -1.0)), (found.true, (1.2, -1.0))):
        assert np.exp(nats).sum() * cell == pytest.approx(1.0, rel=1e-5)
        i, j = np.unravel_index(nats.argmax(), nats.shape)
        assert (found.across[i], found.up[j]) == pytest.approx(mode, abs=0.02)


def test_without_known_modes_there_is_no_true_density():
    info = DataInfo("plain", "real", 2, (0.0, 0.0), 1.0, 1, std=(1.0, 1.0))
    found = landscape(Bowl(info), info)
    assert found.true is None
    assert (found.text(), found.to_dict()) == ("", {})
    assert has_landscape(Bowl(info), info)
    bits = DataInfo("bits", "binary", 2, (0.5, 0.5), 1.0, 1)
    assert not has_landscape(RBM(bits), bits)


@pytest.mark.usefixtures("without_drawing")
def test_landscapes_are_drawn():
    found = landscape(Bowl(INFO), INFO)
    both = {"learned": found.learned, "true": found.true}
    figure = landscapes(found.across, found.up, both, np.random.default_rng(0).normal(size=(9, 2)))
    assert [ax.get_title() for ax in figure.axes[:2]] == ["learned", "true"]
