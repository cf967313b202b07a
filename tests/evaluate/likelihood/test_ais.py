"""Annealed importance sampling of latents, against exact log-likelihoods."""

import math

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows
from rows import EnumeratedRow, one_hots

from continuous import as_wide_as_the_prior
from oracles import Enumerated, assert_mean, ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.draws import simulate_like
from pyrodgm.errors import ChainWarning, CompatibilityError, NonFiniteError, UsageError
from pyrodgm.evaluate.likelihood.ais import Chains, annealed
from pyrodgm.evaluate.likelihood.annealing import forward_weights, reverse_weights
from pyrodgm.evaluate.likelihood.latent_path import LatentPath
from pyrodgm.evaluate.likelihood.transitions import switches
from pyrodgm.guides import (
    DiagonalNormal,
    Factorised,
    LayeredBernoulli,
    NearestCode,
    NoGuide,
    RecurrentBernoulli,
)
from pyrodgm.models import HMM, RBM, SBN, TSBN, VAE, ModelTraits, Site, StepModel
from variants import randomised

CHAINS, TEMPERATURES = 5_000, 4
REAL = DataInfo("rows", "real", 3, (0.0,) * 3, 1.0, 1)
BITS = DataInfo("bits", "binary", 3, (0.3, 0.5, 0.7), 1.0, 3)


class Mixed(StepModel):
    """Rows that are linear in a bit and a normal variable."""

    traits = ModelTraits(latents=("binary", "continuous"), sequential=False)

    def __init__(self):
        super().__init__(REAL)
        self.history, self.observed = 0, {"x": 3}
        self.latents = {"b": Site(1, "binary"), "z": Site(1, "continuous")}
        self.weight = torch.nn.Parameter(torch.tensor([[1.2, 0.3], [-0.7, 0.5], [0.3, -0.4]]))

    def step(self, draw, past, encoded, t):
        del past, encoded, t
        b = draw("b", BernoulliVector(torch.tensor([-0.4], dtype=self.weight.dtype)))
        z = draw("z", NormalVector(*torch.tensor([[0.0], [1.0]], dtype=self.weight.dtype)))
        mean = torch.cat(torch.broadcast_tensors(b, z), -1) @ self.weight.T
        draw("x", NormalVector(mean, torch.full_like(mean, SCALE)))

    def exact(self, x):
        """The log-likelihood of rows (N, D): a mixture of two normal distributions."""
        bit, loading = self.weight.split(1, -1)
        off, on = (ppca_log_prob(loading, b * bit[:, 0], SCALE, x) for b in (0.0, 1.0))
        rate = torch.tensor(-0.4).double().sigmoid()
        return torch.logaddexp(off + (1 - rate).log(), on + rate.log())


def normal():
    """A linear model of two normal latents, a poor guide, and the exact log-likelihood."""
    torch.manual_seed(0)
    weight = torch.randn(3, 2).double() * 0.35  # else inverse weights have no variance
    model = LinearRows(REAL, weight.tolist(), (0.2, -0.1, 0.0))
    guide = as_wide_as_the_prior(DiagonalNormal(model, hidden_dim=4, leak=0.0)).double()
    return model, guide, lambda x: ppca_log_prob(weight, model.centre.detach(), SCALE, x[:, 0])


def bits():
    """A sigmoid belief network of two layers."""
    torch.manual_seed(1)
    model = randomised(SBN(BITS, hidden_dim=(3, 2)), std=1.0)
    return model, randomised(LayeredBernoulli(model)), _enumerated(model)


def sequences():
    """A temporal sigmoid belief network, whose latents depend on earlier observations."""
    torch.manual_seed(2)
    model = randomised(TSBN(BITS, hidden_dim=2), std=1.0)
    return model, randomised(RecurrentBernoulli(model)), _enumerated(model)


def mixed():
    """Latents of two kinds."""
    model = Mixed().double()
    return model, NoGuide(LinearRows(REAL)), lambda x: model.exact(x[:, 0])


def classes():
    """A variational autoencoder of two variables of three classes."""
    torch.manual_seed(4)
    options = {"latents": "categorical", "prior": "learned"}
    model = randomised(VAE(BITS, latent_dim=2, classes=3, hidden_dim=(4, 3), **options), std=1.3)
    guide = randomised(Factorised(model, hidden_dim=4))
    return (
        model,
        guide,
        lambda x: torch.stack([EnumeratedRow(model, guide, each[0]).evidence() for each in x]),
    )


def _enumerated(model):
    guide = (LayeredBernoulli if isinstance(model, SBN) else RecurrentBernoulli)(model).double()
    return lambda x: torch.stack([Enumerated(model, guide, each).evidence() for each in x])


LENGTHS = {normal: 1, bits: 1, sequences: 3, mixed: 1, classes: 1}
CASES = pytest.mark.parametrize("case", LENGTHS)


def observed(model, length, count=2):
    """Data that the model itself would hardly draw."""
    torch.manual_seed(3)
    x = torch.randn(count, length, 3).double() * 1.5
    return Batch.of((x > 0).double() if model.info.kind == "binary" else x)


@pytest.mark.parametrize("start", ["prior", "guide"])
@CASES
@torch.no_grad()
def test_forward_weights_are_unbiased(case, start):
    model, guide, exact = case()
    if case is mixed and start == "guide":
        return
    batch = observed(model, LENGTHS[case])
    path = LatentPath(model, batch, TEMPERATURES, guide if start == "guide" else None)
    forward_weights(path, 4, TEMPERATURES)
    path.learning = False
    log_w = forward_weights(path, CHAINS, TEMPERATURES)
    assert log_w.std(0).min() > 0.05
    assert_mean((log_w - exact(batch.x)).exp(), torch.ones(2).double(), power=0.25)


@CASES
@torch.no_grad()
def test_reverse_weights_from_the_posterior_are_unbiased(case):
    model, _, exact = case()
    batch, temperatures = observed(model, LENGTHS[case], count=CHAINS // 2), 6
    drawn, batch = simulate_like(model, batch)
    path = LatentPath(model, batch, temperatures)
    forward_weights(path, 1, temperatures)
    path.learning = False
    log_w = reverse_weights(path, path.joined(drawn), temperatures)[0]
    unique, which = batch.x.unique(dim=0, return_inverse=True)
    p = exact(unique)[which]
    assert log_w.mean() > p.mean()
    assert_mean((p - log_w).exp(), 1.0, power=0.2)


@pytest.mark.parametrize("log_step", [0.0, -1.5])
@torch.no_grad()
def test_switches_leave_a_density_of_classes_and_bits_unchanged(log_step):
    """From exact draws of two categorical variables and a bit between them, to exact draws."""
    torch.manual_seed(5)
    sites = [
        Site(3, "categorical", classes=3),
        Site(1, "binary"),
        Site(4, "categorical", classes=2),
    ]
    first, bit, last = one_hots(1, 3), torch.tensor([[0.0], [1.0]]).double(), one_hots(2, 2)
    every = torch.cat([
        first.repeat_interleave(8, 0), bit.repeat_interleave(4, 0).repeat(3, 1), last.repeat(6, 1)
    ], -1)  # fmt: skip
    weight = 0.5 * torch.randn(8, 8).double()

    def log_density(z):
        return ((z @ weight) * z).sum((-1, -2))

    p = log_density(every[:, None]).softmax(0)
    drawn = p.multinomial(100_000, replacement=True)
    before = every[drawn][:, None, None]
    after, accepted = switches(log_density, before, torch.tensor([log_step]).double(), sites=sites)
    assert 0.2 < accepted.mean() < 1
    assert torch.equal(after[..., 3], before[..., 3])
    changed = (after != before).any(-1).double().mean()
    assert changed > 0.05
    assert_mean((after[:, 0] == every).all(-1).double(), p)


@pytest.mark.parametrize("case", [normal, sequences])
def test_simulated_sequences_are_bracketed(case, double_precision):
    model, guide, exact = case()
    batch = observed(model, LENGTHS[case], count=20)
    split = Sequences(batch.x.flatten(0, 1).numpy(), np.full(20, batch.length))
    found = annealed(model, guide, split, Chains(8, 10), simulated=20)
    simulated = found.simulated
    assert simulated is not None
    assert 0 < (simulated.upper - simulated.lower).mean() < 0.5
    assert found.nats == pytest.approx(exact(batch.x).numpy(), abs=1.0)
    assert found.nats.mean() == pytest.approx(exact(batch.x).mean().item(), abs=0.3)
    assert 0.4 < found.acceptance.mean() <= 1
    assert "a bracket of" in found.text()
    assert found.to_dict()["simulated"]["examples"] == 20


@torch.no_grad()
def test_forward_and_reverse_chains_bracket_the_exact_value():
    model, _, exact = normal()
    batch = observed(model, 1, count=2000)
    drawn, batch = simulate_like(model, batch)
    path, p = LatentPath(model, batch, 2), exact(batch.x)
    ahead = forward_weights(path, 1, 2)[0]
    path.learning = False
    back = reverse_weights(path, path.joined(drawn), 2)[0]
    for slack in (p - ahead, back - p):
        assert slack.mean() > 4.3 * slack.std() / math.sqrt(2000)  # false positives: 2e-5


def test_the_same_seed_gives_the_same_bound_and_leaves_random_state_alone():
    model, guide, _ = normal()
    split = Sequences(observed(model, 1).x[:, 0].numpy(), np.ones(2, int))
    state = torch.get_rng_state()
    one, two = (annealed(model, guide, split, Chains(2, 3)).nats for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_cannot_be_annealed_is_refused_in_words():
    model, guide, _ = bits()
    split = Sequences(np.eye(3, dtype=np.uint8), np.ones(3, int))
    with pytest.raises(UsageError, match="chains is 0"):
        annealed(model, guide, split, Chains(chains=0))
    hmm = HMM(BITS)
    with pytest.raises(CompatibilityError, match="likelihood is exact; use --estimator exact"):
        annealed(hmm, NoGuide(hmm), split)
    rbm = RBM(BITS)
    with pytest.raises(CompatibilityError, match="has no latents"):
        annealed(rbm, NoGuide(rbm), split)
    coded = VAE(BITS, latents="codebook", latent_dim=2, classes=3, hidden_dim=4)
    with pytest.raises(CompatibilityError, match="has no randomness"):
        annealed(coded, NearestCode(coded, hidden_dim=4), split, Chains(start="guide"))
    model.latents["z2"] = Site(2, "categorical")
    with pytest.raises(CompatibilityError, match="use --estimator iwae"):
        annealed(model, guide, split)


def test_weights_that_are_not_finite_are_named():
    model, guide, _ = normal()
    split = Sequences(observed(model, 1).x[:, 0].numpy(), np.ones(2, int))
    with torch.no_grad():
        model.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"sequence 0 is nan nats at temperature 1 of 3"):
        annealed(model, guide, split, Chains(2, 3))


def test_chains_that_hardly_move_are_named(monkeypatch):
    model, guide, _ = normal()
    split = Sequences(observed(model, 1).x[:, 0].numpy(), np.ones(2, int))
    monkeypatch.setattr("pyrodgm.evaluate.likelihood.latent_path.RATE", 0.0)
    steps = {"continuous": 5.0}
    monkeypatch.setattr("pyrodgm.evaluate.likelihood.latent_path.FIRST_STEP", steps)
    with pytest.warns(ChainWarning, match="on 2 of 2 sequences"):
        annealed(model, guide, split, Chains(4, 5))


def test_the_acceptance_of_every_kind_of_latents_is_its_own():
    model, _, _ = mixed()
    path = LatentPath(model, observed(model, 1), 3)
    path.acceptance["binary"] += 1
    assert (path.acceptance["continuous"] == 1).all()
