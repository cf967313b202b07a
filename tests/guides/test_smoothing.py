"""The guide that sees the whole sequence: its equation, padding, and what it gains."""

import math

import torch

from pyrodgm.batch import Batch
from pyrodgm.guides import RecurrentBernoulli, SmoothingBernoulli
from pyrodgm.models import TSBN
from variants import INFOS, latent_paths, path_log_probs, randomised


def pair(guide, **options):
    torch.manual_seed(0)
    model = randomised(TSBN(INFOS["bernoulli"], hidden_dim=2))
    return model, randomised(guide(model, **options))


def test_log_odds_are_those_of_the_equation():
    _, guide = pair(SmoothingBernoulli, layer_dim=4)
    batch = Batch.of(torch.rand(1, 3, 3).double())
    layer, cell, b, logits = guide.layers[0], guide.backward_cell, torch.zeros(1, 4).double(), {}
    for t in reversed(range(3)):
        b = cell(batch.x[:, t], b)
        before = batch.x[:, t - 1] if t else torch.zeros(1, 3).double()
        logits[t] = (
            layer.now(batch.x[:, t])
            + layer.past(before)
            + layer.bias(torch.tensor(t))
            + guide.from_future(b)
        )
    expected = torch.stack([logits[t] for t in range(3)], 1)
    torch.testing.assert_close(guide.encode(batch), expected)


def test_padding_is_not_seen_and_the_future_is():
    _, guide = pair(SmoothingBernoulli, layer_dim=4)
    x = torch.rand(1, 5, 3).double()
    mask = torch.tensor([[True, True, True, False, False]])
    padded = Batch(x * mask[..., None], mask, torch.arange(1))
    short = guide.encode(Batch.of(x[:, :3]))
    torch.testing.assert_close(guide.encode(padded)[:, :3], short)
    changed = x[:, :3].clone()
    changed[:, 2] += 1
    assert (guide.encode(Batch.of(changed)) - short)[:, 0].abs().min() > 1e-4


def copied():
    """A TSBN whose only bit keeps its value, and is seen in all frames but the first."""
    model = TSBN(INFOS["bernoulli"], hidden_dim=1).double()
    values = {
        "layers.0.own.weight": 12.0,
        "layers.0.past.weight": 0.0,
        "layers.0.bias.bias": torch.tensor([[0.0], [-6.0]]),
        "x_from_z.weight": 12.0,
        "x_from_x.weight": 0.0,
        "x_bias.bias": torch.tensor([[60.0], [-6.0]]),
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.as_tensor(values[name]))
    return model


def test_it_finds_a_bit_that_only_later_frames_show():
    """KL(p(z | x), q(z | x)) by enumeration: one bit for the guide without the future."""
    x = torch.tensor([[[1.0] * 3, [bit] * 3, [bit] * 3] for bit in (0.0, 1.0)]).double()
    model, batch, gaps = copied(), Batch.of(x), []
    paths = latent_paths(model, 3)
    with torch.no_grad():
        log_p = sum(path_log_probs(model, batch, paths).values()).sum(-1)
    log_posterior = log_p - log_p.logsumexp(0)
    for kind in (RecurrentBernoulli, SmoothingBernoulli):
        torch.manual_seed(0)
        guide = kind(model).double()
        optimizer = torch.optim.Adam(guide.parameters(), lr=0.05)
        for _ in range(60):
            log_q = sum(path_log_probs(guide, batch, paths).values()).sum(-1)
            gap = (log_posterior.exp() * (log_posterior - log_q)).sum(0).mean()
            optimizer.zero_grad()
            gap.backward()
            optimizer.step()
        gaps.append(float(gap.detach()))
    assert gaps[0] > 0.99 * math.log(2)
    assert gaps[1] < 0.05
