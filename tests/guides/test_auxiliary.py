"""Auxiliary variables: their bound in closed form and by quadrature, and what they gain."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from linear_gaussian import SCALE, LinearRows, linear
from torch.distributions import MultivariateNormal, kl_divergence

from oracles import assert_mean, ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.auxiliary import AuxiliaryProgram, Extended, ReverseModel
from pyrodgm.engine.draws import draw, simulate
from pyrodgm.engine.smc import frame_evidence
from pyrodgm.engine.terms import path_terms, scored_terms, terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import Auxiliary, GuideTraits
from pyrodgm.guides.rows import RowRecognition
from pyrodgm.models import DLGM, VAE, Site, StepModel
from pyrodgm.objectives import ELBO, TraceELBO
from variants import INFOS, WITH_CONDITIONS, conditions, frames, path_log_probs, randomised

D, J, STEPS = 3, 2, 200
INFO = DataInfo("rows", "real", D, (0.0,) * D, 1.0, 1)
WEIGHT = ((0.8, 0.5), (-0.5, 0.9), (0.3, -0.7))
X = torch.tensor([[0.6, -1.1, 0.3], [-0.4, 0.3, 1.2]]).double()


class LinearReverse(ReverseModel):
    """r(a | x, z) = N(a; m z + n x + c, s^2), a single number."""

    def __init__(self, slope, cross, centre, scale):
        super().__init__()
        self.latents = {"a": Site(1, "continuous")}
        self.slope, self.cross, self.centre, self.scale = map(linear, (slope, cross, centre, scale))

    def encode(self, batch):
        del batch

    def step(self, draw, drawn, encoded, t):
        del encoded, t
        mean = drawn["z"] @ self.slope + drawn["x"] @ self.cross + self.centre
        draw("a", NormalVector(mean[..., None], self.scale.expand(1)))


class LinearAuxiliary(AuxiliaryProgram, RowRecognition):
    """a ~ N(k x, s_a^2), z ~ N(b a + C x, s_z^2): the marginal of z is normal, and correlated."""

    traits = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, auxiliary="continuous"
    )

    def __init__(self, model, r_scale=1.0, r_shift=0.0):
        super().__init__(model)
        self.own, self.spread = linear((0.4, -0.2, 0.3)), linear(0.8)
        self.across, self.scale = linear((0.4, 0.3)), linear((0.5, 0.4))
        self.map = linear(((0.45, 0.2), (-0.2, 0.45), (0.05, -0.4)))
        # The posterior of a given z under q, by Bayes' rule for normal numbers.
        weighted = (self.across / self.scale.square()).detach()
        variance = 1 / (1 / self.spread**2 + weighted @ self.across).detach()
        cross = variance * (self.own / self.spread**2 - self.map @ weighted).detach()
        self.reverse = LinearReverse(
            (variance * weighted).tolist(),
            cross.tolist(),
            r_shift,
            r_scale * math.sqrt(float(variance)),
        )
        self.latents = self.reverse.latents | self.latents

    def step(self, draw, past, encoded, t):
        del past, t
        a = draw("a", NormalVector((encoded @ self.own)[..., None], self.spread.expand(1)))
        draw("z", NormalVector(a * self.across + encoded @ self.map, self.scale.expand(2)))

    def marginal(self, x):
        """q(z | x), with a integrated out."""
        mean = (x @ self.own)[..., None] * self.across + x @ self.map
        shared = self.spread**2 * torch.outer(self.across, self.across)
        return MultivariateNormal(mean, self.scale.square().diag() + shared)


def linear_pair(**options):
    model = LinearRows(INFO, WEIGHT, (0.2, -0.1, 0.0))
    return model, LinearAuxiliary(model, **options).double()


def exact_elbo(model, q, x):
    """The evidence lower bound of a normal q(z | x), in closed form, (N,)."""
    precision = torch.eye(J) + model.weight.T @ model.weight / SCALE**2
    mean = (x - model.centre) @ model.weight @ precision.inverse() / SCALE**2
    posterior = MultivariateNormal(mean, precision_matrix=precision)
    return ppca_log_prob(model.weight, model.centre, SCALE, x) - kl_divergence(q, posterior)


def test_with_the_optimal_reverse_model_every_weight_is_that_of_the_marginal():
    """Then r = q(a | x, z), and a cancels: not on average only, but in every draw."""
    torch.manual_seed(0)
    model, guide = linear_pair()
    found = terms(model, guide, Batch.of(X[:, None]), 50)
    given = scored_terms(model, guide, Batch.of(X[:, None]), found.values)
    along = path_terms(model, guide, Batch.of(X[:, None]), found.values)
    z = found.values["z"][:, :, 0]
    exact = found.p["z"] + found.p["x"] - guide.marginal(X).log_prob(z)[..., None]
    for each in (found, given, along):
        torch.testing.assert_close(each.log_w, exact)


@pytest.mark.parametrize(("r_scale", "r_shift"), [(1.0, 0.0), (1.6, 0.0), (1.0, 0.7), (0.7, -0.4)])
def test_the_bound_is_below_that_of_the_marginal_by_the_divergence_of_the_reverse_model(
    r_scale, r_shift
):
    torch.manual_seed(1)
    model, guide = linear_pair(r_scale=r_scale, r_shift=r_shift)
    with torch.no_grad():
        elbo = exact_elbo(model, guide.marginal(X), X)
        s = float(guide.reverse.scale) / r_scale
        gap = math.log(r_scale) + (s**2 + r_shift**2) / (2 * (s * r_scale) ** 2) - 0.5
        found = terms(model, guide, Batch.of(X[:, None]), 40_000).log_w[..., 0]
    assert gap == pytest.approx(0, abs=1e-12) or gap > 0.1
    assert_mean(found, elbo - gap)


def test_the_bound_of_more_draws_rises_to_the_likelihood():
    torch.manual_seed(2)
    model, guide = linear_pair(r_scale=1.3, r_shift=0.2)
    with torch.no_grad():
        log_w = terms(model, guide, Batch.of(X[:, None]), 64_000).log_w[..., 0]
        log_p = ppca_log_prob(model.weight, model.centre, SCALE, X)
    bounds = [
        (each.logsumexp(1) - math.log(k)).mean(0)
        for k in (1, 4, 16, 64)
        for each in [log_w.unflatten(0, (-1, k))]
    ]
    assert all((low < high).all() for low, high in itertools.pairwise(bounds))
    assert_mean((log_w - log_p).exp(), torch.ones(2))  # and the weights are unbiased


def test_a_filter_has_the_weights_of_the_extended_model():
    """Missing values too: the reverse model sees what the guide sees."""
    torch.manual_seed(3)
    model, guide = linear_pair(r_scale=1.3)
    rows = 20_000
    x = X[:1].expand(rows, -1)[:, None].clone()
    seen = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        nats = frame_evidence(model, guide, Batch.of(x), 2)[:, 0]
        assert_mean((nats - ppca_log_prob(model.weight, model.centre, SCALE, X[0])).exp(), 1.0)
        seen[..., 1] = False
        batch = Batch(x * seen, torch.ones(rows, 1, dtype=torch.bool), torch.arange(rows), seen)
        nats = frame_evidence(model, guide, batch, 2)[:, 0]
        two = ppca_log_prob(model.weight[[0, 2]], model.centre[[0, 2]], SCALE, X[0, [0, 2]])
        assert_mean((nats - two).exp(), 1.0)


def made(latents="gaussian", info=INFOS["bernoulli"], **options):
    model = randomised(VAE(info, latents=latents, latent_dim=2, hidden_dim=3, **options), 0.5)
    return model, randomised(Auxiliary(model, auxiliary_dim=2, hidden_dim=4), 0.5)


@pytest.mark.parametrize("latents", ["gaussian", "bernoulli", "mixed"])
def test_both_executions_agree_on_guide_and_extended_model(latents):
    torch.manual_seed(4)
    given, _ = conditions(2, 3)
    model, guide = made(latents, replace(INFOS["bernoulli"], **WITH_CONDITIONS))
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    x = frames("bernoulli", 2, 3) * mask[..., None]
    batch = Batch(x, mask, torch.arange(2), None, given * mask[..., None])
    found = terms(model, guide, batch, 4)
    assert set(found.q) == {"a", *model.latents}
    assert set(found.p) == {"a", "x", *model.latents}
    for program, nats in ((guide, found.q), (Extended(model, guide.reverse), found.p)):
        for fused in (True, False):
            assert_same(path_log_probs(program, batch, found.values, fused=fused), nats)


def assert_same(found, exact):
    for name, nats in exact.items():
        torch.testing.assert_close(found[name], nats)


def test_dreams_have_auxiliary_variables_of_their_own_rows():
    torch.manual_seed(5)
    model, guide = made()
    batch = Batch.of(torch.full((4, 1, 3), 0.5).double())
    drawn = simulate(Extended(model, guide.reverse), batch, 2)
    assert set(drawn.values) == {"a", "z", "x"}
    z, x = drawn.values["z"], drawn.values["x"]
    own = guide.reverse.posterior(torch.cat([z, x], -1)).log_prob(drawn.values["a"])
    torch.testing.assert_close(drawn.log_probs["a"], own)


def test_a_correlated_posterior_is_fitted_better_than_by_any_independent_numbers():
    """Training first comes to the best independent numbers, and leaves them after a while."""
    torch.manual_seed(1)
    model = LinearRows(INFO, ((1.6, 1.5), (-1.4, -1.5), (1.1, 1.3)), (0.2, -0.1, 0.0)).float()
    guide = Auxiliary(model, auxiliary_dim=1, hidden_dim=16)
    batch = Batch.of(X[:1, None].float())
    objective = ELBO(model, guide, particles=32)
    optimizer = torch.optim.Adam(guide.parameters(), lr=0.02)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / STEPS)
        optimizer.zero_grad()
        objective(batch).surrogate.backward()
        optimizer.step()
    with torch.no_grad():
        found = terms(model, guide, batch, 20_000).log_w[:, 0, 0].double()
        weight, x = model.weight.double(), X[:1]
        precision = torch.eye(J) + weight.T @ weight / SCALE**2
        log_p = ppca_log_prob(weight, model.centre.double(), SCALE, x)
        best = log_p - 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    error = float(found.std()) / math.sqrt(len(found))
    assert float(found.mean()) - 5 * error > float(best) + 0.4
    assert float(found.mean()) < float(log_p) + 5 * error


def test_every_layer_is_drawn_given_the_auxiliary_variables():
    model = DLGM(INFOS["bernoulli"], latent_dim=(3, 1), hidden_dim=3)
    guide = Auxiliary(model, hidden_dim=3)
    drawn = draw(guide, Batch.of(torch.zeros(2, 1, 3)), 5).values
    assert {name: value.shape[-1] for name, value in drawn.items()} == {"a": 4, "z1": 3, "z2": 1}
    assert (Auxiliary(model, auxiliary_dim=7, hidden_dim=3).latents["a"].dim) == 7


def test_free_bits_of_parts_of_a_bound_are_refused_and_a_weight_is_not():
    model, guide = made()
    with pytest.raises(UsageError, match="free_bits need the KL term"):
        ELBO(model, guide, free_bits=0.5)
    ELBO(model, guide, kl_weight="linear:0:1:10")


def test_a_model_that_the_reverse_model_cannot_read_is_refused():
    class Taken(StepModel):
        traits = VAE.traits

        def __init__(self):
            super().__init__(INFO)
            self.history, self.observed = 0, {"x": D}
            self.latents = {"a": Site(2, "continuous")}

        def step(self, draw, past, encoded, t): ...

    with pytest.raises(CompatibilityError, match="has a site 'a'"):
        Auxiliary(Taken())

    class Plain(torch.nn.Module):
        info, observed, latents = INFO, {"x": D}, {"z": Site(2, "continuous")}

    model = Plain()
    with pytest.raises(CompatibilityError, match="Plain is not defined by steps"):
        terms(model, Auxiliary(model), Batch.of(X[:, None].float()))


def test_pyros_bound_is_the_same():
    torch.manual_seed(7)
    model, guide = linear_pair(r_scale=1.3)
    batch = Batch.of(X[:1].expand(4000, 1, -1))
    with torch.no_grad():
        ours, theirs = (float(kind(model, guide)(batch).surrogate) for kind in (ELBO, TraceELBO))
    assert ours == pytest.approx(theirs, abs=0.15)
