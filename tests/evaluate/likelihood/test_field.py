"""The log-likelihood of fields by draws of their noise, against enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models.test_rbm import machine, states
from noisy_fields import INFO, Coins, made, sequences
from small_fields import BITS, REAL, STATES, WEIGHT, Bowl, Pairs, generator

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import ChainWarning, CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.evaluate.likelihood.field import ABOVE_NOISE, field_likelihood
from pyrodgm.evaluate.likelihood.importance import normalisers, weigh
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import GeneratorGuide, Marginals, NoGuide, VAEGuide
from pyrodgm.models import RandomField, SequenceField
from pyrodgm.objectives import DNCE, NCE
from variants import randomised


@pytest.fixture(autouse=True)
def double(double_precision):
    """As the fields are; without gradients."""


def exact(objective, data):
    """log p of every sequence by enumeration."""
    batch = data.batch(np.arange(len(data)))
    model = objective.model
    return (model.potential(batch.x, batch) - model.log_normalisers(batch)).sum(-1).numpy()


@pytest.mark.parametrize(
    ("reference", "log_z"), [("none", "by-length"), ("noise", "by-length"), ("none", "shared")]
)
def test_weights_are_unbiased_and_enumeration_is_their_limit(reference, log_z):
    objective, data = made(NCE, reference, log_z), sequences()
    pair = objective.model, objective.guide
    found, limit = weigh(*pair, data, draws=8_000), weigh(*pair, data, exact=True)
    log_w, log_z_exact = found.of_groups.log_w, limit.of_groups.lower
    assert log_w.shape == (8_000, 1 if log_z == "shared" else 4)
    assert_mean(torch.from_numpy(np.exp(log_w - log_z_exact)), torch.ones(log_w.shape[1]))
    nats = limit.noise + limit.above_noise(log_z_exact)
    np.testing.assert_allclose(nats, exact(objective, data))
    for estimate in (found.of_groups.lower, found.of_groups.upper):
        error = np.abs(found.above_noise(estimate) - limit.above_noise(log_z_exact))
        assert (error < 0.1).all()


def test_log_z_is_bracketed_in_expectation_and_its_error_is_known():
    """Log-normal weights: over many replicates of few draws."""
    draws = torch.randn(32, 20_000).numpy()
    log_w = 0.5 * draws - 0.5**2 / 2  # so that log Z is zero
    found = normalisers(log_w)
    for estimate, sign in ((found.lower, -1), (found.upper, 1)):
        assert sign * estimate.mean() > 5 * estimate.std() / math.sqrt(len(estimate))
    assert np.median(found.error) == pytest.approx(found.lower.std(), rel=0.15)
    half = normalisers(np.array([[0.0], [math.log(3)]]))
    assert half.lower[0] == pytest.approx(math.log(2))
    assert half.upper[0] == pytest.approx(0.5 * (math.log(3) + 3 + 1 / 3) - 1)


def test_a_field_that_is_its_noise_has_equal_weights_and_the_noises_likelihood():
    model = SequenceField(INFO)
    guide = Coins(model)
    model.over(guide)
    found = field_likelihood(model, guide, sequences(), estimator="importance", draws=1000)
    assert (found.above_noise, found.above_noise_error) == (0.0, 0.0)
    assert (found.acceptance, found.efficiency, found.k_hat.max()) == (1.0, 1.0, 0.0)
    assert found.lower.nats_per_frame == found.upper.nats_per_frame == found.noise.nats_per_frame
    assert "log Z can be trusted" in found.text()


def of_flat_field(log_odds):
    """A field of zero over a noise with few ones: these are rare under the noise alone."""
    objective = made(NCE)
    objective.guide.log_odds.fill_(log_odds)
    for parameter in objective.model.parameters():
        parameter.zero_()
    pair = objective.model, objective.guide
    return field_likelihood(*pair, sequences(), estimator="importance", draws=400)


def test_few_draws_do_not_say_whether_log_z_can_be_trusted():
    objective, data = made(NCE), sequences()
    found = field_likelihood(
        objective.model, objective.guide, data, estimator="importance", draws=60
    )
    assert "is reliable from 1000 draws for each normaliser" in found.text()
    assert "can be trusted" not in found.text()
    assert "do not include that of the mean log Z" in found.text()


def test_a_noise_that_misses_the_field_is_found_out():
    found = of_flat_field(-2.5)
    assert found.k_hat.max() > 0.7
    assert "rare draws with large weights may be missing" in found.text()
    assert found.to_dict()["log_normaliser_nats"]["k_hat_above_threshold"] > 0


def test_equal_weights_of_a_noise_without_draws_where_the_data_is_are_not_trusted():
    """All draws are zeros: their weights are equal, and k-hat sees nothing."""
    found = of_flat_field(-40.0)
    assert found.k_hat.max() == 0
    assert "more than the logarithm of the draws, 5.99" in found.text()
    assert "can be trusted" not in found.text()


def test_many_frames_of_a_field_of_frames_are_no_reason_for_distrust():
    """A sequence of 100 frames is many nats above its noise, and each frame a fraction of one."""
    model = RandomField(DataInfo("bits", "binary", 2, (0.5, 0.5), 100.0, 100), hidden_dim=3)
    guide = Marginals(model)
    with torch.no_grad():
        model.network.layers[-1].weight.mul_(4.0)
    every = states(2)[:, None]
    likely = model.potential(every, Batch.of(every)).argmax(0)
    frames = every[likely].reshape(1, 2).repeat(300, 1)
    data = Sequences(frames.numpy(), np.full(3, 100))
    found = field_likelihood(model, guide, data, estimator="importance", draws=2000)
    assert found.above_noise > 10
    assert "log Z can be trusted" in found.text()


def test_one_length_of_many_that_draws_do_not_reach_is_found_out():
    """Of its sequences alone, as the mean over all is small."""
    objective, data = made(NCE), sequences()
    pair = objective.model, objective.guide
    found = field_likelihood(*pair, data, estimator="importance", draws=1000)
    assert "can be trusted" in found.text()
    weighed = weigh(*pair, data, draws=400)
    longest = data.lengths[weighed.owner] == data.lengths.max()
    spiked = replace(weighed, ratio=weighed.ratio + 30.0 * longest)
    above = spiked.above_noise_by_normaliser(spiked.of_groups.lower)
    assert (above > math.log(400)).sum() == 1
    assert "On the data of one normaliser" in replace(found, highest_above=above.max()).text()


def test_a_lower_bound_far_from_the_upper_one_says_nothing():
    objective = made(NCE)
    given = {"estimator": "importance", "draws": 40}
    found = field_likelihood(objective.model, objective.guide, sequences(), **given)
    assert "nats per sequence above its noise" in found.text() or "below its noise" in found.text()
    far = replace(found, apart=11.0)
    assert "the lower bound says nothing" in far.text()


def test_exact_and_sampled_likelihoods_agree_in_every_place_that_gives_them():
    objective, data = made(DNCE, "noise"), sequences()
    pair = objective.model, objective.guide
    found = field_likelihood(*pair, data)
    assert found.exact
    assert found.lower.nats_per_example == pytest.approx(exact(objective, data).mean())
    assert found.above_noise == pytest.approx(
        found.lower.nats_per_example - found.noise.nats_per_example
    )
    assert found.length_nats == pytest.approx(
        float(objective.model.lengths(torch.from_numpy(data.lengths)).mean())
    )
    assert bound(*pair, data).nats_per_frame == pytest.approx(found.lower.nats_per_frame)
    sampled = bound(*pair, data, estimator="importance", particles=5000)
    assert (sampled.estimator, sampled.particles) == ("importance", 5000)
    assert sampled.nats_per_frame == pytest.approx(found.lower.nats_per_frame, abs=0.02)
    valid = objective.validate(data)
    assert (valid.by, valid.score) == ("exact", pytest.approx(found.lower.nats_per_frame))
    assert valid.numbers[ABOVE_NOISE] == pytest.approx(found.above_noise)
    assert "log Z is exact, by enumeration." in found.text()


def test_rows_share_a_normaliser_and_a_sequence_has_that_of_each_frame():
    """A restricted Boltzmann machine, whose log Z is known."""
    torch.manual_seed(0)
    model = machine()
    rows = Sequences(states(4).numpy(), np.array([4, 1, 3, 8]))
    guide = Marginals(model)
    found = weigh(model, guide, rows, draws=40_000)
    log_z = float(model.log_normaliser())
    assert_mean(torch.from_numpy(np.exp(found.of_groups.log_w - log_z)), 1.0)
    assert found.of_groups.lower == pytest.approx([log_z], abs=0.05)
    nats = found.noise + found.above_noise(np.array([log_z]))
    batch = rows.batch(np.arange(4))
    expected = ((model.potential(batch.x, batch) - log_z) * batch.mask).sum(-1)
    np.testing.assert_allclose(nats, expected)


def test_under_conditions_every_sequence_has_its_own_normaliser():
    info = replace(INFO, condition_mean=(0.0,), condition_std=(1.0,))
    model = SequenceField(info, hidden_dim=(3, 2), reference="none").double()
    for parameter in model.parameters():
        parameter.normal_(std=0.7)
    plain = sequences()
    given = np.random.default_rng(0).normal(size=(plain.num_frames, 1))
    data = Sequences(plain.x.numpy(), plain.lengths, conditions=given)
    guide = Coins(model)
    limit = weigh(model, guide, data, exact=True)
    found = weigh(model, guide, data, draws=5_000)
    assert len(np.unique(limit.of_groups.lower)) == len(data)
    w = np.exp(found.of_groups.log_w - limit.of_groups.lower)
    assert_mean(torch.from_numpy(w), torch.ones(len(data)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimator": "ais"}, "choose among auto, exact, importance"),
        ({"estimator": "importance", "draws": 1}, "give at least 2"),
    ],
)
def test_what_does_not_apply_is_refused(options, words):
    objective = made(NCE)
    with pytest.raises(UsageError, match=words):
        field_likelihood(objective.model, objective.guide, sequences(), **options)


def test_a_guide_without_a_density_of_observations_is_refused():
    objective = made(NCE)
    with pytest.raises(UsageError, match="from draws of a guide over observations"):
        weigh(objective.model, NoGuide(objective.model), sequences())
    with pytest.raises(CompatibilityError, match="only whole sequences"):
        objective.model.log_normaliser()


def test_samples_are_distributed_as_the_field_and_a_prefix_is_refused():
    """By chains of proposals from a noise that is another distribution."""
    model = SequenceField(INFO, network="features", reference="none").double()
    for parameter in model.parameters():
        parameter.normal_(std=0.7)
    guide = Marginals(model)
    x = sample(model, guide, INFO, None, num=3000, length=3)["x"]
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))[..., None]
    p = model.potential(every, Batch.of(every)).sum(-1).softmax(0)
    assert (p - 1 / 8).abs().max() > 0.05
    number = (x[..., 0] @ torch.tensor([4.0, 2.0, 1.0])).long()
    assert_mean(F.one_hot(number, 8).to(p), p)
    with pytest.raises(UsageError, match="cannot continue a prefix"):
        sample(model, guide, INFO, sequences(), num=1, length=3, prefix=1)


def test_a_noise_that_is_hardly_accepted_is_said():
    """Every draw has a weight of its own, and that of a state that is kept is large."""
    model = SequenceField(INFO, network="features", reference="none").double()
    guide = Coins(model)
    guide.log_odds.zero_()
    model.network.single.fill_(30.0)
    model.network.first.fill_(10.0)
    with pytest.warns(ChainWarning, match="hardly those of the field"):
        sample(model, guide, INFO, None, num=50, length=40)


def of_rows(kind):
    """A field of rows, a guide whose density is not known, and the exact log Z."""
    torch.manual_seed(4)
    if kind == "vae":
        model = Pairs(BITS)
        guide = VAEGuide(model, latent_dim=1, hidden_dim=(6,)).double()
        randomised(guide.program, std=0.3)
        for parameter in guide.recognition.parameters():
            parameter.mul_(0.5)  # closer to the prior, so that weights have a variance
    elif kind == "generator of bits":
        model = Pairs(BITS)
        guide = randomised(GeneratorGuide(model, noise_dim=2, hidden_dim=6), std=0.5)
    else:
        model = Bowl(REAL, precision=3.0)
        return model, generator(model, WEIGHT), math.log(2 * math.pi / 3.0)
    return model, guide, float(model.potential(STATES, None).logsumexp(0))


@pytest.mark.parametrize("kind", ["vae", "generator of bits", "generator"])
def test_guides_without_a_density_have_unbiased_weights(kind):
    """By latents and their approximate posterior, or by a mixture of outputs."""
    model, guide, log_z = of_rows(kind)
    rows = Sequences(np.zeros((3, model.info.dim)), np.array([2, 1]))
    found = weigh(model, guide, rows, draws=60_000 if kind == "vae" else 20_000)
    weights = torch.from_numpy(np.exp(found.of_groups.log_w - log_z))
    assert weights.std() > 0.05
    assert_mean(weights, 1.0)
    likelihood = field_likelihood(model, guide, rows, estimator="importance", draws=4_000)
    exact = float(model.potential(torch.zeros(model.info.dim), None)) - log_z
    assert likelihood.lower.nats_per_frame == pytest.approx(exact, abs=0.1)
    assert likelihood.upper.nats_per_frame == pytest.approx(exact, abs=0.1)
    assert likelihood.noise.estimator == "elbo"
    assert "a lower bound on its noise" in likelihood.text()


def test_a_mixture_has_the_density_of_its_generator_in_the_mean():
    """That of a linear generator is normal."""
    _, guide, _ = of_rows("generator")
    x = torch.tensor([[0.3, -0.2], [1.5, 0.4]])[:, None]
    nats = torch.stack([guide.log_bound(x, Batch.of(x))[:, 0] for _ in range(100)])
    covariance = WEIGHT @ WEIGHT.T + 0.25 * torch.eye(2)
    normal = torch.distributions.MultivariateNormal(torch.zeros(2), covariance)
    assert_mean((nats - normal.log_prob(x[:, 0])).exp(), torch.ones(2))
