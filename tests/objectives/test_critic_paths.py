"""The critic term on paths of latents in plain Pyro programs, in closed form."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import linear
from torch import nn

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.errors import CompatibilityError
from pyrodgm.objectives import CriticELBO, CriticTerm, DistanceTerm

X = torch.tensor([[0.6, -1.1, 0.4]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def fresh_store():
    yield
    pyro.clear_param_store()


class Chain:
    r"""z_t ~ N(a z_{t-1} + m, 1), x_t ~ N(w z_t, 1), and a guide N(b x_t, s^2) of each frame."""

    def __init__(self):
        self.a, self.m, self.w = linear(0.7), linear(0.3), linear(0.9)
        self.b, self.log_s = linear(0.6), linear(-0.4)
        self.prior, self.rest = [self.a, self.m], [self.w, self.b, self.log_s]

    def model(self, x):
        z = torch.zeros_like(x[:, 0])
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                z = pyro.sample(f"z_{t}", dist.Normal(self.a * z + self.m, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(self.w * z, 1.0), obs=x[:, t])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                pyro.sample(f"z_{t}", dist.Normal(self.b * x[:, t], self.log_s.exp()))

    def log_q(self, x, z):
        return dist.Normal(self.b * x, self.log_s.exp()).log_prob(z).sum(-1)

    def log_prior(self, z):
        before = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], 1)
        return dist.Normal(self.a * before + self.m, 1.0).log_prob(z).sum(-1)

    def reconstruction(self, x):
        """E_q log p(x | z), a number for every row."""
        normal = dist.Normal(self.w * self.b * x, 1.0)
        return (normal.log_prob(x) - (self.w * self.log_s.exp()).square() / 2).sum(-1)

    def kl(self, x):
        """KL(q(z | x) || p(z)), a number for every row."""
        means = self.b * x
        before = torch.cat([torch.zeros_like(means[:, :1]), means[:, :-1]], 1)
        variance = (2 * self.log_s).exp()
        spread = variance + self.a.square() * variance * (torch.arange(x.shape[1]) > 0)
        error = (means - self.a * before - self.m).square() + spread
        return (error / 2 - self.log_s - 0.5).sum(-1)


class ExactRatio(nn.Module):
    """log q(z | x) - log p(z) of a chain that does not learn."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, x, z):
        assert z.shape == x.shape
        return self.chain.log_q(x, z) - self.chain.log_prior(z)


class Weighted(nn.Module):
    """A weighted sum over the frames of a path."""

    def __init__(self):
        super().__init__()
        self.weight = linear((0.5, -1.0, 2.0))

    def forward(self, x, z):
        del x
        return z @ self.weight


def test_a_path_with_its_exact_ratio_has_the_mean_gradient_of_the_bound():
    """Of the prior as well, which learns by log p at draws of the guide."""
    torch.manual_seed(0)
    x, made = X.repeat(4000, 1), Chain()
    known = Chain()
    for weight in (*known.prior, *known.rest):
        weight.requires_grad_(False)
    elbo = CriticELBO(CriticTerm(ExactRatio(known)), sites=["z"])
    parameters = [*made.prior, *made.rest]
    loss = (made.kl(x) - made.reconstruction(x)).sum()
    assert_mean(
        sample_gradients(
            lambda: elbo.differentiable_loss(made.model, made.guide, x), parameters, 15
        ),
        gradient(loss, parameters),
    )


def test_a_distance_trains_the_prior_by_its_own_paths():
    torch.manual_seed(1)
    x, made, critic = X.repeat(4000, 1), Chain(), Weighted()
    elbo = CriticELBO(DistanceTerm(critic), sites=["z"])
    parameters = [*made.prior, *made.rest]
    means = [made.m, made.m * (1 + made.a), made.m * (1 + made.a + made.a**2)]
    distance = critic(X, made.b * X)[0] - critic(X, torch.stack(means))
    seen = -made.reconstruction(X)[0]
    programs = (made.model, made.guide, x)

    def gradients(loss):
        return sample_gradients(lambda: loss(*programs), parameters, 15)

    assert_mean(gradients(elbo.reconstruction_loss) / len(x), gradient(seen, parameters))
    assert_mean(gradients(elbo.adversary_loss), gradient(distance, parameters))
    whole = gradients(elbo.differentiable_loss) / len(x)
    assert_mean(whole, gradient(seen + distance, parameters))
    of_critic = sample_gradients(lambda: elbo.critic_loss(*programs), [critic.weight], 15)
    assert_mean(of_critic, -gradient(distance, [critic.weight]))
    loss = elbo.critic_loss(*programs)
    assert torch.equal(gradient(loss, parameters), torch.zeros(5).double())


def test_sites_that_do_not_fit_are_refused():
    made = Chain()
    elbo = CriticELBO(DistanceTerm(Weighted()), sites=["y"])
    with pytest.raises(CompatibilityError, match=r"does not draw y.*it draws z$"):
        elbo.loss(made.model, made.guide, X)

    def bits(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.full_like(x[:, 0], 0.5)))

    elbo = CriticELBO(CriticTerm(Weighted()), sites=["z"])
    with pytest.raises(CompatibilityError, match="draws of z carry no gradients"):
        elbo.critic_loss(bits, bits, X)
