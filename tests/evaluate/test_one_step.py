import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.distributions import BernoulliVector
from pyrodgm.evaluate.one_step import one_step
from pyrodgm.guides import GuideTraits, RecurrentBernoulli, SequenceGuide
from pyrodgm.models import TSBN

DIM, HIDDEN, LENGTH = 3, 4, 6


class Smoother(SequenceGuide):
    """Every latent sees the whole sequence."""

    traits = GuideTraits(latents="binary", sequential=True)
    history = 1

    def __init__(self):
        super().__init__()
        self.latents = {"z": HIDDEN}

    def encode(self, batch):
        total = batch.x.sum((1, 2))[:, None, None]
        return (6 * (total % 2) - 3).expand(-1, batch.length, HIDDEN)

    def step(self, draw, past, encoded, t):
        del past, t
        draw("z", BernoulliVector(encoded))


@pytest.fixture
def info():
    part = Sequences(np.array([[0] * DIM, [1] * DIM], np.uint8), np.array([1, 1]))
    return Splits.of("toy", "binary", {"train": part, "valid": part, "test": part}).info


@pytest.fixture
def x():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 2, (LENGTH, DIM))).float()


def model(info, history=1):
    torch.manual_seed(0)
    return TSBN(info, hidden_dim=HIDDEN, init_scale=2.0, history=history)


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("look_ahead", [False, True])
def test_what_is_expected_of_a_frame_depends_on_earlier_frames_alone(info, x, history, look_ahead):
    p = model(info, history)
    q = Smoother() if look_ahead else RecurrentBernoulli(info, hidden_dim=HIDDEN, history=history)
    changed = x.clone()
    changed[3] = 1 - changed[3]
    one, two = one_step(p, q, x), one_step(p, q, changed)
    assert torch.equal(one[:4], two[:4])
    assert not torch.allclose(one[4], two[4])


def test_without_latents_in_the_way_it_is_the_mean_given_the_past(info, x):
    p = model(info)
    with torch.no_grad():
        p.x_from_z.weight.zero_()
        past = torch.nn.functional.pad(x, (0, 0, 1, 0))[:-1]
        bias = torch.stack([p.x_bias(torch.tensor(t)) for t in range(LENGTH)])
        expected = (p.x_from_x(past) + bias).sigmoid()
    found = one_step(p, RecurrentBernoulli(info, hidden_dim=HIDDEN), x, draws=3)
    assert torch.allclose(found, expected, atol=1e-6)


def test_latents_of_the_frame_come_from_the_model(info, x):
    """The guide says one, the model says zero for the next frame whatever was before."""
    p = model(info)
    with torch.no_grad():
        for name, parameter in p.named_parameters():
            parameter.fill_(-40.0 if "layers.0.bias" in name else 0.0)
        p.x_from_z.weight.fill_(40.0)
    q = RecurrentBernoulli(info, hidden_dim=HIDDEN)
    with torch.no_grad():
        for bias in q.layers[0].bias.parameters():
            bias.fill_(40.0)
    assert torch.allclose(one_step(p, q, x), torch.full_like(x, 0.5))
