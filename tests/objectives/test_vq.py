"""Vector quantisation: its loss by hand, its bound as that of the discrete model, dead codes."""

import math
from dataclasses import replace

import pytest
import torch
from rows import log_softmax_of, network, one_hots

from oracles import bernoulli, gradient
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CodebookWarning, CompatibilityError, ConfigError, UsageError
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.guides import Factorised, NearestCode
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO, VQ
from pyrodgm.setup.config import resolve
from variants import INFOS, frames, randomised

J, C, M = 2, 3, 4
BETA = 0.3


def made(std=0.8, **options):
    sizes = {"latent_dim": J, "classes": C, "code_dim": M, "hidden_dim": 5}
    model = VAE(INFOS["bernoulli"], latents="codebook", **sizes, **options)
    return randomised(model, std), randomised(NearestCode(model, hidden_dim=4), std)


def vectors_of(guide, x):
    """The vectors (B, J, M), by hand."""
    first, _, last = guide.network
    h = (x @ first.weight.T + first.bias).clamp(min=0)
    return (h @ last.weight.T + last.bias).view(-1, J, M)


def chosen(model, vectors):
    """The number of the nearest code, (B, J)."""
    return (vectors[:, :, None] - model.codebook).square().sum(-1).argmin(-1)


def published(model, guide, x, *, codes_learn=True):
    """The published loss of rows x (B, D), mean over rows, and the bound of every row."""
    e = vectors_of(guide, x)
    c = model.codebook[chosen(model, e)]
    read = (e + (c - e).detach()).flatten(1)
    bound = bernoulli(network(model.decoder, read), x)
    prior = model.prior["z"].view(J, C).log_softmax(-1) if "z" in model.prior else None
    if prior is None:
        bound = bound - J * math.log(C)
    else:
        bound = bound + prior[torch.arange(J), chosen(model, e)].sum(-1)
    term = (e.detach() - c).square().sum((1, 2)) if codes_learn else 0
    commitment = (e - c.detach()).square().sum((1, 2))
    return (term + BETA * commitment - bound).mean(), bound


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_loss_and_its_gradient_are_those_published(prior, ema):
    torch.manual_seed(0)
    model, guide = made(prior=prior)
    x = frames("bernoulli", 6)
    objective = VQ(model, guide, commitment=BETA, ema=ema).eval()
    loss = objective(Batch.of(x[:, None]))
    expected, bound = published(model, guide, x, codes_learn=ema is None)
    torch.testing.assert_close(loss.surrogate, expected)
    torch.testing.assert_close(loss.report["elbo_nats_per_frame"], bound.mean().detach())
    parameters = [*model.parameters(), *guide.parameters()]
    torch.testing.assert_close(gradient(loss.surrogate, parameters), gradient(expected, parameters))
    of_codes = gradient(loss.surrogate, [model.codebook])
    assert bool(of_codes.any()) == (ema is None)


def test_the_bound_is_that_of_the_discrete_model_and_below_its_likelihood():
    torch.manual_seed(1)
    model, guide = made(prior="learned")
    x = frames("bernoulli", 5)
    _, bound = published(model, guide, x)
    batch = Batch.of(x[:, None])
    for particles in (1, 3):  # all draws are the same
        found = ELBO(model, guide, particles=particles).trace(batch).log_w[..., 0]
        torch.testing.assert_close(found, bound.expand_as(found))
    every = one_hots(J, C)
    codes = (every.view(-1, J, C) @ model.codebook).flatten(1)
    given = bernoulli(network(model.decoder, codes)[:, None], x)
    prior = log_softmax_of(model.prior["z"], every, C)
    likelihood = (prior[:, None] + given).logsumexp(0)
    assert bool((bound < likelihood).all())
    split = Sequences(x.float().numpy(), torch.ones(5).long().numpy())
    nats, _ = sequence_bounds(model.float(), guide.float(), split)
    torch.testing.assert_close(torch.from_numpy(nats).double(), bound.detach(), rtol=1e-5, atol=0)


def test_padding_and_missing_features_do_not_count():
    torch.manual_seed(2)
    model, guide = made()
    x = frames("bernoulli", 2, 1)
    padded = Batch(torch.cat([x, 0.5 + 0 * x], 1), torch.tensor([[True, False]] * 2),
                   torch.arange(2))  # fmt: skip
    objective = VQ(model, guide).eval()
    torch.testing.assert_close(objective(padded).surrogate, objective(Batch.of(x)).surrogate)
    some = Batch.of(x)
    some.seen = torch.ones_like(x, dtype=torch.bool)
    some.seen[..., 0] = False
    whole, less = (objective(b).report["elbo_nats_per_frame"] for b in (Batch.of(x), some))
    assert less > whole  # a feature less, whose log-probability is negative


def test_codes_follow_the_averages_of_their_vectors():
    torch.manual_seed(3)
    model, guide = made()
    objective, decay = VQ(model, guide, ema=0.9).train(), 0.9
    x = frames("bernoulli", 8)
    before = model.codebook.detach().clone()
    e = vectors_of(guide, x).detach().flatten(0, 1)
    index = chosen(model, e[:, None]).flatten()
    objective(Batch.of(x[:, None]))
    torch.testing.assert_close(model.codebook.detach(), before)
    objective(Batch.of(x[:, None]))  # moves codes to the averages of the step before
    for k in range(C):
        mine = e[index == k]
        total = decay * before[k] + (1 - decay) * mine.sum(0)
        expected = total / (decay + (1 - decay) * len(mine))
        torch.testing.assert_close(model.codebook[k].detach(), expected)


def with_a_far_code(revive, ema=None):
    model, guide = made(0.3)
    x = frames("bernoulli", 16)
    with torch.no_grad():
        model.codebook[:2] = vectors_of(guide, x)[0]  # the vectors of a row are in use
        model.codebook[2] = 1e3
    objective = VQ(model, guide, revive=revive, ema=ema).double().train()
    batch = Batch.of(x[:, None])
    for _ in range(470):  # until 0.99^n is below a hundredth
        report = objective(batch).report
    return objective, report, batch


def test_dead_codes_are_told():
    torch.manual_seed(4)
    objective, report, _ = with_a_far_code(revive=False)
    assert float(report["code_use"]) == pytest.approx(2 / 3)
    split = Sequences(frames("bernoulli", 4).float().numpy(), torch.ones(4).long().numpy())
    with pytest.warns(CodebookWarning, match="1 of 3 codes .* set objective.revive=True"):
        objective.float().validate(split)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_dead_codes_are_moved_to_vectors_of_the_data(ema):
    torch.manual_seed(5)
    objective, report, batch = with_a_far_code(revive=True, ema=ema)
    codebook = objective.model.codebook.detach()
    vectors = vectors_of(objective.guide, batch.x[:, 0]).detach().flatten(0, 1)
    assert float((vectors - codebook[2]).norm(dim=-1).min()) < 0.5
    assert float(report["code_use"]) == 1


def test_what_does_not_fit_is_refused_in_words():
    of_classes = {"name": "vae", "latents": "categorical"}
    for values, message in (
        ({"model": of_classes, "objective": {"name": "vq"}}, "needs one that draws the nearest"),
        (
            {"model": of_classes, "guide": {"name": "nearest-code"}},
            "needs one that draws at random",
        ),
        (
            {"model": {"name": "vae", "latents": "codebook"}, "objective": {"name": "rloo"}},
            "draws the nearest codes of a codebook; RLOO .* needs one that draws at random",
        ),
    ):
        with pytest.raises(CompatibilityError, match=message):
            resolve(values)
    with pytest.raises(CompatibilityError, match="needs a codebook, and VAE has none"):
        NearestCode(VAE(INFOS["bernoulli"], latents="categorical"))
    with pytest.raises(UsageError, match="code_dim is 4, but latents='categorical' has none"):
        VAE(INFOS["bernoulli"], latents="categorical", code_dim=4)
    for options in ({"commitment": -1}, {"ema": 1.0}):
        with pytest.raises(ConfigError, match=r"objective\."):
            resolve({"model": {"name": "vae", "latents": "codebook"}, "objective": options})
    with pytest.raises(ConfigError, match=r"model\.classes = 1"):
        resolve({"model": {"name": "vae", "latents": "codebook", "classes": 1}})


def test_a_guide_that_draws_at_random_learns_a_codebook_too():
    torch.manual_seed(6)
    model, _ = made()
    guide = randomised(Factorised(model, hidden_dim=4))
    loss = ELBO(model, guide)(Batch.of(frames("bernoulli", 5, 1))).surrogate
    assert gradient(loss, [model.codebook]).any()


@pytest.mark.parametrize(("network", "layers"), [("dense", 2), ("conv", 1)])
def test_the_guide_has_the_usual_hidden_layers_of_its_network(network, layers):
    info = replace(INFOS["bernoulli"], dim=16, mean=(0.5,) * 16, image_shape=(4, 4))
    guide = NearestCode(VAE(info, latents="codebook"), network=network)
    linear = [each for each in guide.network if isinstance(each, torch.nn.Linear)]
    assert len(linear) == layers + 1
