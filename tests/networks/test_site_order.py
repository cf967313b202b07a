"""Critics read latents by the names of their sites; a guide may draw them in another order."""

import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.sites import Site
from pyrodgm.networks.critics import InnerProductCritic, JointCritic, PathCritic
from pyrodgm.networks.pair_critics import PairCritic
from pyrodgm.networks.quadratic_critic import QuadraticCritic

INFO = DataInfo("points", "real", 2, (0.0, 0.0), 2.0, 3, std=(1.0, 1.0))
SITES = {"z1": Site(2, "continuous"), "z2": Site(1, "continuous")}


@pytest.mark.parametrize("kind", [InnerProductCritic, JointCritic, PathCritic, QuadraticCritic])
def test_the_order_of_draws_does_not_matter(kind):
    torch.manual_seed(0)
    critic, batch = kind(INFO, SITES, 4), Batch.of(torch.randn(3, 2, 2))
    latents = {name: torch.randn(5, 3, 2, site.dim) for name, site in SITES.items()}
    exchanged = dict(reversed(latents.items()))
    assert critic(batch, **latents).equal(critic(batch, **exchanged))


def test_the_order_of_pairs_does_not_matter():
    torch.manual_seed(0)
    critic, batch = PairCritic(INFO, SITES, 4), Batch.of(torch.randn(3, 2, 2))
    latents = {name: torch.randn(1, 3, 2, site.dim) for name, site in SITES.items()}
    exchanged = dict(reversed(latents.items()))
    x = batch.x[None]
    assert critic(x, latents, batch).equal(critic(x, exchanged, batch))
