"""In games every frame counts alike: as a row of its own, or in a sequence with others."""

import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.guides import FeedForwardImplicit, NoGuide
from pyrodgm.models import MODELS, VAE
from pyrodgm.objectives import AAE, ALI, ALICE, AVB, FGAN, GAN, WGAN, SymmetricVAE

INFO = DataInfo("points", "real", 2, (0.0, 0.0), 2.0, 3, std=(1.0, 1.0))
FRAMES, LENGTH = 300, 3
IN_ANOTHER_ORDER = ("alice", "avb")  # of random numbers


def generator_game(kind):
    torch.manual_seed(0)
    model = MODELS["generator"](INFO, hidden_dim=4)
    return kind(model, NoGuide(model))


def pair_game(kind, **options):
    torch.manual_seed(0)
    model = VAE(INFO, latent_dim=2, hidden_dim=4)
    return kind(model, FeedForwardImplicit(model, hidden_dim=4), **options)


GAMES = {
    "gan": lambda: generator_game(GAN),
    "f-gan": lambda: generator_game(FGAN),
    "wgan": lambda: generator_game(WGAN),
    "ali": lambda: pair_game(ALI),
    "alice": lambda: pair_game(ALICE),
    "svae": lambda: pair_game(SymmetricVAE),
    "aae": lambda: pair_game(AAE),
    "wae": lambda: pair_game(AAE, by="mmd"),
    "avb": lambda: pair_game(AVB),
}


@pytest.mark.parametrize("name", GAMES)
def test_a_frame_counts_in_a_sequence_as_it_does_alone(name):
    """The loss is a mean over sequences, so that it is larger by their length."""
    game = GAMES[name]()
    x = torch.randn(FRAMES, 2)
    for phase in game.phases():
        losses = []
        for rows in (x[:, None], x.reshape(-1, LENGTH, 2)):
            torch.manual_seed(1)
            losses.append(phase.loss(Batch.of(rows)).surrogate)
        near = 0.2 if name in IN_ANOTHER_ORDER else 1e-4
        torch.testing.assert_close(losses[1], LENGTH * losses[0], rtol=near, atol=1e-5)
