"""A deep Markov model that is linear, with its likelihood, its posterior and its exact twist."""

from dataclasses import dataclass, replace

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.models import DMM
from variants import INFOS, D, randomised


def linear_dmm():
    """A DMM whose transition and emission are linear, and the matrices of these."""
    info = replace(INFOS["gaussian"], mean=(0.0,) * D, std=(1.0,) * D)
    model = randomised(DMM(info, latent_dim=2, transition_dim=3, hidden_dim=4), 0.5)
    move, decoder, eye = model.transition, model.decoder, torch.eye(2).double()
    with torch.no_grad():
        nn.init.zeros_(move.linear.bias)
        nn.init.constant_(move.gate.bias, -60.0)  # the linear map alone
        nn.init.zeros_(move.scale.weight)
        decoder.first.weight.copy_(torch.cat([eye, -eye]))  # relu(z) - relu(-z) = z
        nn.init.zeros_(decoder.first.bias)
        decoder.last.weight.copy_(torch.cat([torch.randn(D, 2), torch.zeros(D, 2)]).repeat(1, 2))
        decoder.last.weight[:, 2:] *= -1
        emitted = decoder(torch.cat([eye, torch.zeros(1, 2)]).double())
        c = emitted.loc[-1]
        loading, noise = (emitted.loc[:2] - c).T, emitted.scale[-1].square().diag()
        later = torch.tensor(1)
        spread = move(torch.zeros(2).double(), later).scale.square().diag()
    return model, Linearised(move.linear.weight.detach(), spread, loading, c, noise)


@dataclass
class Linearised:
    """z_t = A z_{t-1} + N(0, Q), x_t = C z_t + c + N(0, R)."""

    A: Tensor
    Q: Tensor
    C: Tensor
    c: Tensor
    R: Tensor

    def joint(self, length, first_z):
        """The distribution of all observations, (T D,)."""
        powers = [torch.linalg.matrix_power(self.A, k) for k in range(length + 1)]
        root = torch.zeros(2 * length, 2 * length).double()
        for row in range(length):
            for column in range(row + 1):
                root[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = powers[row - column]
        observe = torch.block_diag(*[self.C] * length) @ root
        covariance = observe @ torch.block_diag(*[self.Q] * length) @ observe.T
        covariance = covariance + torch.block_diag(*[self.R] * length)
        mean = torch.cat([self.C @ power @ first_z + self.c for power in powers[1:]])
        return dist.MultivariateNormal(mean, covariance)

    def messages(self, x):
        """From the frames after each frame: vectors m (B, T, 2) and matrices M (T, 2, 2).

        log p(x_{t+1:T} | z_t) is m z_t - z_t M z_t / 2, and a number that does not depend on z_t.
        """
        seen, observed = self.seen(x), self.observed
        precision = self.Q.inverse()
        shift, message, found = torch.zeros(len(x), 2).double(), torch.zeros(2, 2).double(), []
        for t in reversed(range(x.shape[1])):
            found.append((shift, message))
            covariance = (precision + observed + message).inverse()
            gain = self.A.T @ precision @ covariance
            shift = (shift + seen[:, t]) @ gain.T
            message = self.A.T @ precision @ self.A - gain @ precision @ self.A
        shifts, messages = zip(*reversed(found), strict=True)
        return torch.stack(shifts, 1), torch.stack(messages)

    def seen(self, x):
        """The vector that a frame adds to the log-density of its latents, (B, T, 2)."""
        return (x - self.c) @ (self.C.T @ self.R.inverse()).T

    @property
    def observed(self):
        """The precision that a frame adds."""
        return self.C.T @ self.R.inverse() @ self.C


class ExactSmoothing(StepGuide):
    """q(z_t | z_{t-1}, x_{t:T}) of linear dynamics, by messages from the future."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

    def __init__(self, model, linear):
        super().__init__(model)
        self.history, self.linear = 1, linear

    def encode(self, batch):
        """The mean's constant part and the covariance of every frame, (B, T, 2 + 4)."""
        linear = self.linear
        shifts, messages = linear.messages(batch.x)
        covariance = (linear.Q.inverse() + linear.observed + messages).inverse()
        constant = ((shifts + linear.seen(batch.x))[..., None, :] @ covariance).squeeze(-2)
        return torch.cat([constant, covariance.flatten(-2).expand(batch.size, -1, -1)], -1)

    def step(self, draw, past, encoded, t):
        before = past["z"] + (t == 0)[..., None] * self.model.transition.start
        covariance = encoded[..., 2:].unflatten(-1, (2, 2))
        pull = before @ (self.linear.Q.inverse() @ self.linear.A).T
        mean = encoded[..., :2] + (covariance @ pull[..., None]).squeeze(-1)
        draw("z", dist.MultivariateNormal(mean, covariance))


class ExactTwist(nn.Module):
    """log p(x_{t+1:T} | z_t) of linear dynamics, up to a number that does not depend on z_t."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def encode(self, batch):
        shifts, messages = self.linear.messages(batch.x)
        return torch.cat([shifts, messages.flatten(-2).expand(batch.size, -1, -1)], -1)

    def forward(self, values, encoded):
        z, message = values["z"], encoded[..., 2:].unflatten(-1, (2, 2))
        return (z * encoded[..., :2]).sum(-1) - 0.5 * torch.einsum(
            "...i,...ij,...j->...", z, message, z
        )
