"""Gradients of the importance-weighted bound against sums and quadrature; sticking the landing."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO as PyroRenyi

from continuous import Recurrent, SharedGuide
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import ConfigError, UsageError
from pyrodgm.guides import DiagonalNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO, IWAE, STL, VIMCO, ObjectiveELBO, RenyiELBO
from pyrodgm.objectives.single import unrolled_form
from variants import INFOS, VARIANTS, frames, latent_paths, mild, pair, path_log_probs, randomised

COPIES, NODES = 1600, 40


def pairs(log_w, probability):
    """E of the log of the mean of two weights, by all pairs of draws."""
    both = torch.stack(torch.broadcast_tensors(log_w[:, None], log_w)).logsumexp(0) - math.log(2)
    return (probability[:, None] * probability * both).sum((0, 1)).sum()


def totals(program, batch, paths):
    return sum(path_log_probs(program, batch, paths).values()).sum(-1)


@pytest.mark.parametrize("others", ["geometric", "arithmetic"])
@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d", "sbn"])
def test_scores_have_the_gradient_of_the_bound_of_two_draws(variant, others):
    torch.manual_seed(0)
    model, guide = pair(variant)
    length = min(2, VARIANTS[variant].length)
    x = frames("bernoulli", 1, length)
    paths = latent_paths(guide, length)
    log_p, log_q = (totals(program, Batch.of(x), paths) for program in (model, guide))
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(pairs(log_p - log_q, log_q.exp()), parameters)
    objective = VIMCO(model, guide, particles=2, others=others)
    padded = torch.cat([x, torch.full_like(x[:, :1], 0.5)], 1).expand(COPIES, -1, -1)
    mask = (torch.arange(length + 1) < length).expand(COPIES, -1)
    batch = Batch(padded, mask, torch.arange(COPIES))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


def wake_phase(log_w, log_q):
    """E of the sum of log q of two draws by their self-normalised weights."""
    weights, q = log_w.detach(), log_q.detach().exp()
    share = (weights[:, None] - weights).sigmoid()
    return 2 * (q[:, None] * q * share * log_q[:, None]).sum()


@pytest.mark.parametrize("gamma", [None, 0.5, 1.0])
@pytest.mark.parametrize("variant", ["tsbn order 2", "sbn"])
def test_ovis_has_the_gradient_of_the_bound_and_gamma_adds_the_wake_phase(variant, gamma):
    torch.manual_seed(8)
    model, guide = pair(variant)
    x = frames("bernoulli", 1, min(2, VARIANTS[variant].length))
    batch, paths = Batch.of(x), latent_paths(guide, x.shape[1])
    log_p, log_q = (totals(program, batch, paths) for program in (model, guide))
    log_w = log_p - log_q
    ours, theirs = list(model.parameters()), list(guide.parameters())
    exact = gradient(pairs(log_w, log_q.exp()), [*ours, *theirs])
    added = gradient(wake_phase(log_w, log_q), theirs) * (gamma or 0.0)
    exact = exact + torch.cat([gradient(log_p.sum() * 0, ours), added])
    objective = VIMCO(model, guide, particles=2, others="ovis", gamma=gamma)
    batch = Batch.of(x.expand(COPIES, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, [*ours, *theirs], calls=60)
    assert_mean(samples, exact)


@pytest.mark.parametrize(("particles", "ratio"), [(10, 5.0), (100, 100.0)])
def test_ovis_has_less_variance_than_vimco_and_more_so_with_more_draws(particles, ratio):
    """Of 30 gradients, an F-test of one parameter at 2e-5 needs a ratio of 5; their sum less."""
    torch.manual_seed(9)
    model, guide = mild("sbn")
    batch, parameters = Batch.of(frames("bernoulli", 50, 1)), list(guide.parameters())
    spread = {}
    for others in ("geometric", "arithmetic", "ovis"):
        objective = VIMCO(model, guide, particles=particles, others=others)
        samples = sample_gradients(lambda o=objective: o(batch).surrogate, parameters, 30)
        spread[others] = float(samples.var(0).sum())
    assert ratio * spread["ovis"] < min(spread["geometric"], spread["arithmetic"])


def test_gamma_is_of_ovis_alone():
    model, guide = pair("sbn")
    with pytest.raises(UsageError, match="gamma is for others='ovis'"):
        VIMCO(model, guide, gamma=0.5)


def row():
    """A pair with one latent number, whose networks are smooth where draws are, and a row."""
    model = randomised(VAE(INFOS["bernoulli"], latent_dim=1, hidden_dim=4), 0.5)
    guide = randomised(DiagonalNormal(model, hidden_dim=4), 0.5)
    for network in (model.decoder, guide.posteriors["z"]):
        torch.nn.init.constant_(network.first.bias, 4.0)
    return model, guide, frames("bernoulli", 1)


def weights_by_quadrature(model, guide, x):
    """Log importance weights at the nodes of the noise, and the probability of each."""
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    batch = Batch.of(x[None])
    values = draw(guide, batch, NODES, noise={"z": nodes.reshape(-1, 1, 1, 1)}).values
    log_p = sum(score(model, batch, values).values())
    return (log_p - score(guide, batch, values)["z"]).sum(-1), (mass / mass.sum())[:, None]


def renyi(alpha):
    """E of the bound of order alpha of two draws, by all pairs of nodes."""

    def bound(log_w, mass):
        return pairs((1 - alpha) * log_w, mass) / (1 - alpha)

    return bound


@pytest.mark.parametrize(
    ("kind", "options", "bound"),
    [
        (RenyiELBO, {"particles": 2, "alpha": 0.0}, pairs),
        (RenyiELBO, {"particles": 2, "alpha": 0.5}, renyi(0.5)),
        (RenyiELBO, {"particles": 2, "alpha": 2.0}, renyi(2.0)),
        (IWAE, {"particles": 2}, pairs),
        (IWAE, {"particles": 2, "gradient": "plain"}, pairs),
        (STL, {}, lambda log_w, mass: (mass * log_w).sum()),
    ],
)
def test_paths_have_the_gradient_of_the_bound_by_quadrature(kind, options, bound):
    torch.manual_seed(1)
    model, guide, x = row()
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(bound(*weights_by_quadrature(model, guide, x)), parameters)
    objective, batch = kind(model, guide, **options), Batch.of(x.expand(1000, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


@pytest.mark.parametrize(("alpha", "rows"), [(0.0, 4), (0.5, 1), (3.0, 4)])
def test_the_renyi_bound_and_its_gradient_are_those_of_pyro(alpha, rows):
    """On the same draws; Pyro's weights are those of a row too, as all sites are in one plate."""
    torch.manual_seed(10)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    batch = Batch.of(frames("bernoulli", rows, 3))
    parameters = [*model.parameters(), *guide.parameters()]
    objective = RenyiELBO(model, guide, particles=3, alpha=alpha, execution="unrolled")
    torch.manual_seed(11)
    loss = objective(batch).surrogate
    found = gradient(loss, parameters)
    elbo = PyroRenyi(alpha, 3, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(11)
    with pyro.get_param_store().scope():
        nats = elbo.loss_and_grads(unrolled_form(model), unrolled_form(guide), batch)
    torch.testing.assert_close(loss.detach(), torch.tensor(nats / rows).to(loss))
    grads = torch.cat([parameter.grad.flatten() for parameter in parameters])
    torch.testing.assert_close(found, grads / rows)


def test_the_renyi_bound_falls_with_its_order():
    torch.manual_seed(12)
    model, guide, x = row()
    batch, nats = Batch.of(x.expand(200, 1, -1)), []
    orders = (0.0, 0.2, 0.5, 1 - 1e-6, 2.0)
    for alpha in orders:
        torch.manual_seed(13)
        loss = RenyiELBO(model, guide, particles=5, alpha=alpha)(batch)
        nats.append(float(loss.report["renyi_nats_per_frame"]))
    assert nats == sorted(nats, reverse=True)
    assert nats[3] == pytest.approx(float(loss.report["elbo_nats_per_frame"]), abs=1e-4)
    with pytest.raises(UsageError, match="use elbo"):
        RenyiELBO(model, guide, alpha=1.0)
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        RenyiELBO(model, guide, alpha=-1.0)


def test_weights_of_pyros_renyi_bound_are_those_of_the_batch_if_a_site_is_outside():
    """Ours are those of a row: the reason to have our own."""
    x = torch.tensor([0.3, 2.0, -1.0])

    def model():
        pyro.sample("other", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))
        with pyro.plate("rows", 3):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0, 1)), 1), obs=x)

    def guide():
        with pyro.plate("rows", 3):
            pyro.sample("z", dist.Normal(0.3, 1.2))

    torch.manual_seed(14)
    z = 0.3 + 1.2 * torch.randn(5, 3)
    log_w = dist.Normal(0, 1).log_prob(z) + dist.Normal(z, 1).log_prob(x)
    log_w = log_w - dist.Normal(0.3, 1.2).log_prob(z)
    outside = dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
    of_batch = log_w.sum(-1).logsumexp(0) - math.log(5) + outside
    torch.manual_seed(14)
    elbo = PyroRenyi(0.0, 5, vectorize_particles=True, max_plate_nesting=1)
    assert elbo.loss(model, guide) == pytest.approx(-float(of_batch), rel=1e-5)


def test_both_gradients_have_one_mean_where_a_recurrence_is_shared():
    """Of a sequence, whose later draws depend on earlier ones."""
    torch.manual_seed(2)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    batch = Batch.of(frames("bernoulli", 1, 3).expand(100, -1, -1))
    parameters = list(guide.parameters())
    found = []
    for gradient_name in ("plain", "doubly-reparameterised"):
        objective = IWAE(model, guide, particles=4, gradient=gradient_name)
        found.append(sample_gradients(lambda o=objective: o(batch).surrogate, parameters, 70))
    plain, double = found
    error = ((plain.var(0) + double.var(0)) / 70).sqrt()
    assert ((plain.mean(0) - double.mean(0)).abs() < 5.2 * error).all()  # 12 numbers at 2e-5


def test_the_gradient_vanishes_with_every_draw_where_the_guide_is_the_posterior():
    torch.manual_seed(3)
    model, guide, x = row()
    posterior = guide.posteriors["z"]
    with torch.no_grad():
        model.decoder.first.weight.zero_()  # x does not depend on z: the posterior is the prior
        posterior.last.weight.zero_()
        scale = torch.tensor(1 - 1e-3, dtype=torch.float64).expm1().log()
        posterior.last.bias.copy_(torch.stack([0 * scale, scale]))
    batch, parameters = Batch.of(x.expand(50, 1, -1)), list(guide.parameters())
    for objective in (STL(model, guide), IWAE(model, guide, particles=3)):
        assert gradient(objective(batch).surrogate, parameters).abs().max() < 1e-12
    assert gradient(ELBO(model, guide)(batch).surrogate, parameters).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [IWAE, VIMCO])
def test_the_bound_that_is_reported_is_that_of_its_draws(kind):
    torch.manual_seed(4)
    model, guide, x = row()
    if kind is VIMCO:
        model, guide = pair("sbn")
    batch = Batch.of(x.expand(5, 1, -1))
    objective = kind(model, guide, particles=3)
    terms = objective.trace(batch)
    log_w = (sum(terms.p.values()) - sum(terms.q.values())).sum(-1)
    expected = log_w.exp().mean(0).log().mean()
    torch.testing.assert_close(objective.estimate(terms).report[kind.headline], expected.detach())


def test_plain_programs_have_weights_for_every_datum():
    """Of K draws of two rows side by side, weights are of each row and not of both together."""
    torch.manual_seed(5)
    x = torch.randn(2)
    loc = torch.tensor(0.3, requires_grad=True)

    def model():
        with pyro.plate("rows", 2):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0, 1)), 1), obs=x)

    def guide():
        with pyro.plate("rows", 2):
            pyro.sample("z", dist.Normal(loc, 1.2))

    elbo = ObjectiveELBO(IWAE, particles=5, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(6)
    (found,) = torch.autograd.grad(elbo.differentiable_loss(model, guide), loc)
    torch.manual_seed(6)
    z = loc + 1.2 * torch.randn(5, 2)
    log_w = dist.Normal(0, 1).log_prob(z) + dist.Normal(z, 1).log_prob(x)
    log_w = log_w - dist.Normal(loc, 1.2).log_prob(z)
    (expected,) = torch.autograd.grad(-log_w.logsumexp(0).sum(), loc)
    torch.testing.assert_close(found, expected)
    with pytest.raises(UsageError, match="needs draws that only"):
        ObjectiveELBO(IWAE, gradient="doubly-reparameterised")


@pytest.mark.parametrize("vectorize", [False, True])
def test_plain_programs_with_discrete_draws_take_scores(vectorize):
    """IWAE has no score term, and would be biased; VIMCO has the gradient by enumeration."""
    torch.manual_seed(7)
    logit = torch.tensor(0.3, requires_grad=True, dtype=torch.float64)
    prior, x = torch.tensor(0.4).double(), torch.tensor([0.2, 1.5]).double().repeat(4000)

    def model():
        with pyro.plate("rows", 8000):
            z = pyro.sample("z", dist.Bernoulli(prior))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide():
        with pyro.plate("rows", 8000):
            pyro.sample("z", dist.Bernoulli(logits=logit))

    options = {"particles": 2, "vectorize_particles": vectorize, "max_plate_nesting": 1}
    with pytest.raises(UsageError, match="IWAE needs draws that carry gradients, and those of z"):
        ObjectiveELBO(IWAE, **options).differentiable_loss(model, guide)
    elbo = ObjectiveELBO(VIMCO, **options)
    samples = sample_gradients(lambda: -elbo.differentiable_loss(model, guide), [logit], 60)
    z = torch.tensor([[0.0], [1.0]]).double()
    log_q = dist.Bernoulli(logits=logit).log_prob(z).expand(2, 8000)
    log_p = dist.Bernoulli(prior).log_prob(z) + dist.Normal(z, 1.0).log_prob(x)
    exact = gradient(pairs(log_p - log_q, log_q.exp()), [logit])
    assert_mean(samples, exact)


def test_scores_of_latents_in_different_plates_are_refused():
    def program(x=None):
        a = pyro.sample("a", dist.Bernoulli(0.4))
        with pyro.plate("rows", 2):
            z = pyro.sample("z", dist.Bernoulli(0.3 + 0.2 * a))
            if x is not None:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    elbo = ObjectiveELBO(VIMCO, particles=2)
    with pytest.raises(UsageError, match="a, z are in different plates"):
        elbo.differentiable_loss(lambda: program(torch.zeros(2)), program)


def test_scores_of_draws_that_carry_gradients_are_refused():
    def program():
        pyro.sample("a", dist.Normal(0.0, 1.0))

    with pytest.raises(UsageError, match="for draws without gradients, and those of a carry"):
        ObjectiveELBO(VIMCO, particles=2).differentiable_loss(program, program)


@pytest.mark.parametrize("gradient_name", ["plain", "doubly-reparameterised"])
def test_half_precision_has_gradients(gradient_name):
    torch.manual_seed(5)
    model, guide, x = row()
    objective = IWAE(model, guide, particles=3, gradient=gradient_name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(Batch.of(x.expand(5, 1, -1))).surrogate
    found = gradient(loss, list(guide.parameters()))
    assert found.isfinite().all()
    assert found.any()
