"""Drawing, scoring and simulating agree about the same values."""

from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from continuous_pairs import made

from continuous import Recurrent, SharedGuide
from oracles import all_paths, assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import straight_through
from pyrodgm.distributions.surrogates import MeanFieldBits
from pyrodgm.engine.draws import draw, factors, score, simulate, simulate_like
from pyrodgm.engine.terms import path_terms, terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.models import TSBN, VAE
from variants import SEQUENTIAL, D, frames, output_log_probs, pair, path_log_probs, randomised

K, B = 5, 4


def padded(length=3):
    x = frames("bernoulli", B, length)
    mask = torch.arange(length) < torch.tensor([length, 1, length, 2])[:, None]
    return Batch(x * mask[..., None], mask, torch.arange(B))


@pytest.mark.parametrize("variant", SEQUENTIAL)
def test_scores_of_draws_are_those_of_their_values(variant):
    torch.manual_seed(0)
    model, guide = pair(variant)
    batch = padded()
    draws = draw(guide, batch, K)
    assert {value.shape[:3] for value in draws.values.values()} == {(K, B, 3)}
    again, of_model = score(guide, batch, draws.values), score(model, batch, draws.values)
    expected = path_log_probs(model, batch, draws.values)
    for name in guide.latents:
        torch.testing.assert_close(draws.log_probs[name], again[name])
    for name, nats in expected.items():
        torch.testing.assert_close(of_model[name], nats)
        assert (of_model[name] * ~batch.mask == 0).all()


@pytest.mark.parametrize("variant", ["tsbn", "tsbn order 2", "dtsbn-d", "dtsbn-s"])
def test_the_same_noise_gives_the_same_draws(variant):
    torch.manual_seed(1)
    _, guide = pair(variant)
    batch = padded()
    first = draw(guide, batch, K, keep_noise=True)
    again = draw(guide, batch, K, noise=first.noise)
    other = draw(guide, batch, K)
    for name, value in first.values.items():
        assert torch.equal(value, again.values[name])
        assert not torch.equal(value, other.values[name])


def test_antithetic_noise_gives_draws_of_the_same_distribution():
    torch.manual_seed(2)
    _, guide = pair("tsbn")
    batch = Batch.of(frames("bernoulli", 1, 1))
    draws = draw(guide, batch, 100_000, keep_noise=True)
    mirrored = draw(guide, batch, 100_000, noise={n: -u for n, u in draws.noise.items()})
    probability = factors(guide, batch, draws.values)["z"].distribution.mean[0, 0, 0]
    assert_mean(mirrored.values["z"][:, 0, 0].double(), probability.detach())
    both = draws.values["z"] + mirrored.values["z"]
    assert both.var() < 1.9 * draws.values["z"].var()  # uncorrelated draws have twice the variance


def test_one_draw_has_its_noise_too():
    _, guide = pair("tsbn")
    batch = padded()
    one = draw(guide, batch, keep_noise=True)
    assert torch.equal(draw(guide, batch, noise=one.noise).values["z"], one.values["z"])


def test_terms_are_those_of_the_verbs():
    torch.manual_seed(3)
    model, guide = pair("dtsbn-s")
    batch = padded()
    found = terms(model, guide, batch, K)
    p, q = score(model, batch, found.values), score(guide, batch, found.values)
    torch.testing.assert_close(found.log_w, sum(p.values()) - sum(q.values()))
    torch.testing.assert_close(found.kl["z1"], q["z1"] - p["z1"])
    assert found.particles == K
    assert not found.path


@pytest.mark.parametrize("variant", ["tsbn", "dtsbn-d"])
def test_simulated_observations_have_the_probability_of_the_model(variant):
    """By enumeration of all observations of two frames."""
    torch.manual_seed(4)
    model, _ = pair(variant)
    draws = simulate(model, Batch.of(frames("bernoulli", 1, 2)), 60_000)
    number = (draws.values["x"][:, 0].flatten(-2) * 2 ** torch.arange(2 * D)).sum(-1).long()
    every = (torch.arange(2 ** (2 * D))[:, None] >> torch.arange(2 * D)) & 1
    with torch.no_grad():
        exact = output_log_probs(model, every.view(-1, 2, D).double()).exp()
    assert_mean(torch.nn.functional.one_hot(number, len(every)).double(), exact)


def test_a_simulation_has_the_shape_of_a_batch():
    torch.manual_seed(5)
    model, guide = pair("tsbn")
    batch = padded()
    drawn, whole = simulate_like(model, batch, 2)
    assert whole.x.shape == (2 * B, 3, D)
    assert whole.index.tolist() == [0, 1, 2, 3] * 2
    assert (whole.x * ~whole.mask[..., None] == 0).all()
    log_q = score(guide, whole, {"z": drawn["z"].flatten(0, 1)[None]})["z"]
    log_q.sum().backward()
    assert all(parameter.grad is not None for parameter in guide.parameters())


def test_scores_of_a_simulation_are_those_of_its_values():
    torch.manual_seed(9)
    model, _ = pair("tsbn")
    batch = padded()
    draws = simulate(model, batch, 2)
    x = draws.values["x"][1] * batch.mask[..., None]
    nats = score(model, replace(batch, x=x), {"z": draws.values["z"][1:]})
    torch.testing.assert_close(draws.log_probs["z"][1:], nats["z"])


@pytest.mark.parametrize("variant", ["tsbn", "dtsbn-d"])
def test_a_simulation_lacks_what_the_batch_lacks(variant):
    """Later frames depend on the numbers in the place of missing ones, as where it is scored."""
    torch.manual_seed(8)
    model, _ = pair(variant)
    seen = torch.ones(1, 2, D, dtype=torch.bool)
    seen[0, 0, 1:] = False
    batch = replace(Batch.of(torch.full((1, 2, D), 0.9, dtype=torch.double)), seen=seen)
    _, whole = simulate_like(model, batch, 60_000)
    assert torch.equal(whole.observed, seen.expand(60_000, 2, D))
    assert (whole.x[~whole.observed] == 0.9).all()
    bits = whole.x[:, seen[0]]
    number = (bits * 2 ** torch.arange(D + 1)).sum(-1).long()
    every = ((torch.arange(2 ** (D + 1))[:, None] >> torch.arange(D + 1)) & 1).double()
    rows = batch.x.repeat(len(every), 1, 1)
    rows[:, seen[0]] = every
    with torch.no_grad():
        exact = observed_log_probs(model, rows, seen).exp()
    assert_mean(torch.nn.functional.one_hot(number, len(every)).double(), exact)


def test_simulated_counts_lack_words_whose_number_would_tell_the_latents():
    """Latents are draws from the posterior that the scores of what was simulated give."""
    torch.manual_seed(10)
    info = DataInfo("words", "count", 3, (4.0, 3.0, 3.0), 1.0, 1)
    model = TSBN(info, hidden_dim=1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.x_bias.bias[:] = torch.tensor([0.0, 0.5, 3.0])
        model.x_from_z.weight[:] = torch.tensor([[2.0], [0.8], [-3.0]])  # the last word is missing
    seen = torch.tensor([[[True, True, False]]])
    drawn, whole = simulate_like(
        model, replace(Batch.of(torch.ones(1, 1, 3).double()), seen=seen), 20_000
    )
    z = drawn["z"].flatten()
    nats = [
        sum(score(model, whole, {"z": torch.full((1, 20_000, 1, 1), bit).double()}).values())
        for bit in (0.0, 1.0)
    ]
    posterior = (nats[1] - nats[0]).sigmoid().flatten().detach()
    assert posterior.std() > 0.2
    for weight in (torch.ones_like(z), posterior, posterior.square()):
        assert_mean(weight * (z - posterior) + 1, 1.0)


def observed_log_probs(model, x, seen):
    """Log-probabilities (N,) of what is seen of rows x (N, T, D), over all latent paths."""
    paths = all_paths(x.shape[1], sum(site.dim for site in model.latents.values()))
    dims = [site.dim for site in model.latents.values()]
    parts = paths[:, None].expand(-1, len(x), -1, -1).split(dims, -1)
    batch = replace(Batch.of(x), seen=seen.expand(len(x), -1, -1))
    nats = score(model, batch, dict(zip(model.latents, parts, strict=True)))
    return sum(each.sum(-1) for each in nats.values()).logsumexp(0)


def test_a_recurrence_that_model_and_guide_share_runs_once():
    torch.manual_seed(6)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    batch = padded()
    found = terms(model, guide, batch, K)
    assert model.cell.calls == batch.length
    draws = found.values
    torch.testing.assert_close(found.p["x"], score(model, batch, draws)["x"])
    torch.testing.assert_close(found.q["z"], score(guide, batch, draws)["z"])
    torch.manual_seed(7)
    once = terms(model, guide, batch, K)
    torch.manual_seed(7)
    draws = draw(guide, batch, K)
    log_w = sum(score(model, batch, draws.values).values()) - score(guide, batch, draws.values)["z"]
    torch.testing.assert_close(once.log_w, log_w)
    weights = [*model.parameters(), *guide.parameters()]
    one, other = (torch.autograd.grad(each.sum(), weights) for each in (once.log_w, log_w))
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", ["vrnn", "srnn"])
def test_draws_are_scored_by_what_they_were_drawn_from_where_units_are_dropped(name):
    torch.manual_seed(0)
    model, guide = made(name, dropout=0.5)
    batch = Batch.of(frames("bernoulli", 3, 4))
    found = draw(guide, batch, 2)
    nats = found.log_probs["z"]
    along = path_terms(model, guide, batch, found.values, found.encoded)
    torch.testing.assert_close(along.q["z"], nats)
    again = path_terms(model, guide, batch, found.values)
    assert not torch.allclose(again.q["z"], nats, atol=1e-3)


def test_draws_without_path_gradients():
    torch.manual_seed(8)
    guide = randomised(SharedGuide(randomised(Recurrent())))
    draws = draw(guide, padded(), K, pathwise=False)
    assert not draws.values["z"].requires_grad
    assert not draws.factors["z"].pathwise
    assert draws.log_probs["z"].requires_grad
    assert draw(guide, padded(), K).values["z"].requires_grad


def plain_guide(batch):
    with pyro.plate("data", batch.size, dim=-2), pyro.plate("time", batch.length, dim=-1):
        pyro.sample("z", dist.Normal(batch.x.sum(-1), 1.0))


def test_a_plain_program_is_drawn_and_scored():
    batch = padded()
    draws = draw(plain_guide, batch, K)
    assert draws.values["z"].shape == (K, B, 3)
    torch.testing.assert_close(score(plain_guide, batch, draws.values)["z"], draws.log_probs["z"])
    with pytest.raises(CompatibilityError, match="given noise"):
        draw(plain_guide, batch, K, noise=dict(draws.values))


def test_what_does_not_fit_is_refused():
    model, guide = pair("tsbn")
    batch = padded()
    with pytest.raises(CompatibilityError, match="'y'"):
        score(model, batch, {"y": torch.zeros(1, B, 3, 2)})
    guide = randomised(SharedGuide(randomised(Recurrent())))
    with pytest.raises(CompatibilityError, match="not made from noise"):
        draw(guide, batch, noise={"z": torch.zeros(1, B, 3, 2).double()})


@pytest.mark.parametrize("particles", [1, 3])
def test_observations_given_latents_have_the_gradient_that_is_asked_for(particles):
    """Bits given latents; a surrogate gives the derivative of their means."""
    info = DataInfo("bits", "binary", 4, (0.5,) * 4, 1.0, 9)
    model, batch = VAE(info, latent_dim=2, hidden_dim=3), Batch.of(torch.zeros(5, 1, 4))
    latents = {"z": torch.randn(particles, 5, 1, 2)}
    bits = simulate(model, batch, particles, given=latents, surrogate=straight_through)
    means = simulate(model, batch, particles, given=latents, surrogate=MeanFieldBits)
    assert set(bits.values) == {"x"}
    assert bits.values["x"].shape == (particles, 5, 1, 4)
    assert set(bits.values["x"].detach().unique().tolist()) <= {0.0, 1.0}
    exact = model.decoded(latents["z"], None).mean
    torch.testing.assert_close(means.values["x"], exact)
    slopes = (
        torch.autograd.grad(found.sum(), list(model.parameters()), retain_graph=True)
        for found in (bits.values["x"], exact)
    )
    for one, two in zip(*slopes, strict=True):
        torch.testing.assert_close(one, two)
