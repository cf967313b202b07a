"""The thermodynamic variational objective against sums over all pairs of draws."""

import pytest
import torch

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.terms import Terms
from pyrodgm.objectives import RLOO, TVO
from variants import VARIANTS, frames, latent_paths, pair, path_log_probs

COPIES = 1600


def totals(program, batch, paths):
    return sum(path_log_probs(program, batch, paths).values()).sum(-1)[:, 0]


def exact_path(model, guide, x):
    """Log weights and log-probabilities under the guide of every path, (S,)."""
    paths = latent_paths(guide, x.shape[1])
    log_p, log_q = (totals(program, Batch.of(x), paths) for program in (model, guide))
    return log_p - log_q, log_q


def estimated(log_w, log_q, betas):
    """A scalar whose gradient is the mean of that of two draws: the value, and scores."""
    q = log_q.detach().exp()
    value = scores = 0.0
    for beta, following in zip(betas, [*betas[1:], 1.0], strict=True):
        ours = (beta * (log_w[:, None] - log_w)).sigmoid()  # the weight of the first of a pair
        mean = ours * log_w[:, None] + (1 - ours) * log_w
        lead = (ours * (log_w[:, None] - mean)).detach()  # minus that of the second
        value = value + (following - beta) * (q[:, None] * q * mean).sum()
        each = 2 * lead * (log_q[:, None] - log_q)
        scores = scores + (following - beta) * (q[:, None] * q * each).sum()
    return value + scores


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("variant", ["tsbn order 2", "sbn"])
def test_mean_gradient_of_two_draws(variant, partitions):
    torch.manual_seed(0)
    model, guide = pair(variant)
    length = min(2, VARIANTS[variant].length)
    x = frames("bernoulli", 1, length)
    log_w, log_q = exact_path(model, guide, x)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(estimated(log_w, log_q, [0.0, 0.04, 0.2][:partitions]), parameters)
    objective = TVO(model, guide, particles=2, partitions=partitions, first=0.04).double()
    padded = torch.cat([x, torch.full_like(x[:, :1], 0.5)], 1).expand(COPIES, -1, -1)
    mask = (torch.arange(length + 1) < length).expand(COPIES, -1)
    batch = Batch(padded, mask, torch.arange(COPIES))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


def test_one_term_is_rloo_draw_by_draw():
    model, guide = pair("dtsbn-s")
    batch = Batch.of(frames("bernoulli", 5, 1))
    found = []
    for objective in (
        TVO(model, guide, particles=4, partitions=1).double(),
        RLOO(model, guide, particles=4, signal="future"),
    ):
        torch.manual_seed(1)
        loss = objective(batch)
        found.append(gradient(loss.surrogate, [*model.parameters(), *guide.parameters()]))
    torch.testing.assert_close(*found)


def bound_of(log_w, objective):
    """The reported bound of given log weights (K, B), in nats per sequence."""
    log_w = log_w[..., None]
    zero = torch.zeros_like(log_w)
    mask = torch.ones(log_w.shape[1:], dtype=torch.bool)
    given = Terms({"x": log_w}, {"z": zero}, {}, {"z": zero}, {}, mask, None)
    return float(objective.double().estimate(given).report["tvo_nats_per_frame"])


def test_the_estimate_rises_from_the_evidence_lower_bound_to_that_of_all_draws():
    torch.manual_seed(2)
    model, guide = pair("sbn")
    log_w = 3 * torch.randn(5, 7).double()
    ends = float(log_w.mean()), float((log_w.logsumexp(0) - torch.tensor(5.0).log()).mean())
    bounds = [
        bound_of(log_w, TVO(model, guide, particles=5, partitions=num, first=0.001))
        for num in (1, 4, 16, 64, 4000)
    ]
    assert bounds[0] == pytest.approx(ends[0])
    assert bounds == sorted(bounds)
    assert ends[1] - 0.02 < bounds[-1] < ends[1]
