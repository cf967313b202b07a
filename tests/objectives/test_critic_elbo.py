"""The critic term with plain Pyro programs, of which the exact ratio is known."""

from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import SCALE, ExactRatio, LinearRows, NormalOfNoise, X, exact_bound
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.objectives import CriticELBO, CriticTerm, DistanceTerm


@pytest.fixture(autouse=True)
def fresh_store():
    yield
    pyro.clear_param_store()


class Plain:
    """The same model and guide as plain programs, of rows (N, D)."""

    def __init__(self, scale=1.0, mask=None):
        self.p = LinearRows()
        self.q = NormalOfNoise(self.p)
        self.scale, self.mask = scale, mask

    def model(self, x):
        with self.rows(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            mean = z @ self.p.weight.T + self.p.centre
            pyro.sample("x", dist.Normal(mean, SCALE).to_event(1), obs=x)

    def guide(self, x):
        with self.rows(x):
            standard = dist.Normal(x.new_zeros(1), 1.0).to_event(1)
            noise = pyro.sample("noise", standard, infer={"is_auxiliary": True})
            z = self.q.mean(x)[:, None] + self.q.log_scale.exp() * noise
            pyro.sample("z", dist.Delta(z).to_event(1))

    @contextmanager
    def rows(self, x):
        """A plate over rows, scaled and masked."""
        mask = torch.ones(len(x), dtype=torch.bool) if self.mask is None else self.mask
        with pyro.plate("data", len(x)), poutine.scale(scale=self.scale), poutine.mask(mask=mask):
            yield

    @property
    def parameters(self):
        return [*self.p.parameters(), *self.q.parameters()]


class OfSequences(ExactRatio):
    """The ratio of whole sequences, as the plates of our programs are of these."""

    def forward(self, batch, z):
        return super().forward(batch, z).sum(-1)


@pytest.mark.parametrize("particles", [1, 2])
def test_the_mean_gradient_with_the_exact_ratio_is_that_of_the_bound(particles):
    """Rows scaled by three, the second masked out."""
    torch.manual_seed(0)
    x = X.repeat(200, 1)
    mask = torch.tensor([True, False]).repeat(200)
    made = Plain(scale=3.0, mask=mask)
    known = NormalOfNoise(made.p).requires_grad_(False)
    elbo = CriticELBO(CriticTerm(ExactRatio(known)), num_particles=particles)
    bound = 3.0 * exact_bound(made.p, made.q, X[:1]).sum() * 200
    exact = -gradient(bound, made.parameters)
    losses = []

    def loss():
        found = elbo.differentiable_loss(made.model, made.guide, x)
        losses.append(found.detach())
        return found

    assert_mean(sample_gradients(loss, made.parameters, 150), exact)
    assert_mean(torch.stack(losses)[:, None], -bound.detach())


def test_the_critic_sees_draws_of_the_guide_and_of_the_prior():
    torch.manual_seed(1)
    made, seen = Plain(mask=torch.tensor([True, False])), []

    class Kept(nn.Module):
        def forward(self, x, z):
            seen.append(z)
            return 2.0 * z[..., 0]

    elbo = CriticELBO(CriticTerm(Kept()))
    loss = elbo.critic_loss(made.model, made.guide, X)
    q, r = seen
    expected = nn.functional.softplus(-2 * q[0]) + nn.functional.softplus(2 * r[0])
    torch.testing.assert_close(loss, expected[0])
    assert not q.requires_grad
    copies = Plain()
    elbo.critic_loss(copies.model, copies.guide, X.repeat(20_000, 1))
    q, r = seen[2:]
    assert_mean(1 + r, torch.ones(1).double())
    assert_mean(q[::2], copies.q.mean(X[:1]).detach())


def test_svi_trains_model_and_guide_and_leaves_the_critic_alone():
    torch.manual_seed(2)
    made, critic = Plain(), nn.Linear(3, 1).double()

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = critic

        def forward(self, x, z):
            return self.layer(torch.cat([x, z], -1)).squeeze(-1)

    def model(x):
        pyro.module("p", made.p)
        made.model(x)

    def guide(x):
        pyro.module("q", made.q)
        made.guide(x)

    before = [p.detach().clone() for p in (*made.parameters, *critic.parameters())]
    elbo = CriticELBO(CriticTerm(Linear()))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
    assert svi.step(X) != svi.evaluate_loss(X)
    after = [*made.parameters, *critic.parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [True] * len(made.parameters) + [False] * 2


def test_a_guide_of_noise_is_a_pyro_program():
    torch.manual_seed(3)
    model = LinearRows()
    guide = NormalOfNoise(model)
    batch = Batch.of(X[:, None])
    trace = poutine.trace(guide).get_trace(batch)
    noise, z = (trace.nodes[name]["value"] for name in ("noise", "z"))
    torch.testing.assert_close(z, guide.generate(noise, batch)["z"])
    drawn = Predictive(model, guide=guide, num_samples=7, parallel=True)(batch)
    assert drawn["x"].shape[-2:] == (1, 2)
    with pytest.raises((CompatibilityError, ValueError), match="log-probability") as caught:
        Trace_ELBO().loss(model, guide, batch)
    assert "CriticELBO" in str(caught.value) + str(caught.value.__cause__)

    def own(batch):
        guide(batch)

    def rows(batch):
        model(batch)

    elbo = CriticELBO(CriticTerm(ExactRatio(guide)))
    with pytest.raises(CompatibilityError, match="LinearRows is a program of pyrodgm"):
        elbo.loss(model, guide, batch)
    with pytest.raises(CompatibilityError, match=r"shape \(2, 1\); expected \(2,\)"):
        elbo.loss(rows, own, batch)
    of_sequences = CriticELBO(CriticTerm(OfSequences(guide)))
    assert of_sequences.loss(rows, own, batch) != 0


def test_what_does_not_fit_is_refused_in_words():
    made = Plain()

    def normal(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))

    def other(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Delta(x).to_event(1))

    elbo = CriticELBO(CriticTerm(ExactRatio(made.q)))
    with pytest.raises(CompatibilityError, match="gives no latent site its value by a Delta"):
        elbo.loss(made.model, normal, X)
    with pytest.raises(CompatibilityError, match="gives no latent site its value by a Delta"):
        elbo.critic_loss(made.model, normal, X)
    with pytest.raises(CompatibilityError, match="the guide draws y, which the model does not"):
        elbo.critic_loss(made.model, other, X)
    with pytest.raises(UsageError, match=r"Linear is given; wrap the critic: CriticTerm\(critic\)"):
        CriticELBO(nn.Linear(1, 1))


class Column(ExactRatio):
    """A critic that forgets to drop the last dimension."""

    def forward(self, batch, z):
        return super().forward(batch, z)[:, None]


@pytest.mark.parametrize("term", [CriticTerm, DistanceTerm])
def test_numbers_of_another_shape_are_not_broadcast(term):
    made = Plain()
    elbo = CriticELBO(term(Column(made.q)))
    for loss in (elbo.loss, elbo.critic_loss, elbo.adversary_loss):
        with pytest.raises(CompatibilityError, match=r"needs \.squeeze\(-1\)"):
            loss(made.model, made.guide, X)


@pytest.mark.parametrize("detached", [True, False])
def test_values_must_carry_gradients_to_the_parameters_of_a_guide(detached):
    made = Plain()

    def guide(x):
        pyro.module("guide", made.q)
        with made.rows(x):
            z = made.q.mean(x)[:, None]
            pyro.sample("z", dist.Delta(z.detach() if detached else z).to_event(1))

    svi = SVI(made.model, guide, pyro.optim.Adam({}), CriticELBO(CriticTerm(ExactRatio(made.q))))
    if not detached:
        svi.step(X)
        return
    with pytest.raises(CompatibilityError, match="gives z without gradients"):
        svi.step(X)
