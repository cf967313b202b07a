"""Mean gradients of reweighted wake-sleep against sums over all draws."""

import pytest
import torch
from dreams import dreamt

from continuous import Recurrent, SharedGuide
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.objectives import ELBO, RWS
from variants import VARIANTS, frames, latent_paths, mild, pair, path_log_probs, randomised

COPIES = 1600


def weighted(log_p, log_q):
    """E over two draws from q of the sum of their weighted log p + log q; over the first axis."""
    cost, q = (log_p - log_q).detach(), log_q.detach().exp()
    share = (cost[:, None] - cost).sigmoid()  # weight of the first of a pair
    pairs = q[:, None] * q * share
    return 2 * (pairs * (log_p + log_q)[:, None]).sum((0, 1))


def exact_paths(model, guide, batch):
    paths = latent_paths(guide, batch.length)
    log_p = sum(path_log_probs(model, batch, paths).values()).sum(-1)
    log_q = sum(path_log_probs(guide, batch, paths).values()).sum(-1)
    return weighted(log_p, log_q).sum()


def exact_frames(model, guide, batch):
    """Every draw of every frame takes the place of that frame on every path."""
    paths, draws = latent_paths(guide, batch.length), latent_paths(guide, 1)
    log_path = sum(path_log_probs(guide, batch, paths).values()).sum(-1)
    total = 0
    for t in range(batch.length):
        tables = []
        for program in (model, guide):
            columns = []
            for choice in range(len(next(iter(draws.values())))):
                changed = {name: path.clone() for name, path in paths.items()}
                for name, value in draws.items():
                    changed[name][:, :, t] = value[choice, :, 0]
                columns.append(sum(path_log_probs(program, batch, changed).values())[..., t])
            tables.append(torch.stack(columns))
        total = total + (log_path.detach().exp() * weighted(*tables)).sum()
    return total


@pytest.mark.parametrize("weights", ["frames", "paths"])
@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d", "sbn"])
def test_mean_gradient_is_that_of_the_stated_target(variant, weights):
    torch.manual_seed(0)
    model, guide = pair(variant)
    length = min(2, VARIANTS[variant].length)
    x = frames("bernoulli", 1, length)
    exact = (exact_frames if weights == "frames" else exact_paths)(model, guide, Batch.of(x))
    parameters = [*model.parameters(), *guide.parameters()]
    objective = RWS(model, guide, particles=2, weights=weights)
    padded = torch.cat([x, torch.full_like(x[:, :1], 0.5)], 1).expand(COPIES, -1, -1)
    mask = (torch.arange(length + 1) < length).expand(COPIES, -1)
    batch = Batch(padded, mask, torch.arange(COPIES))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, gradient(exact, parameters))


@pytest.mark.parametrize(("weights", "share"), [("frames", 0.25), ("paths", 0.5), ("paths", 1.0)])
def test_a_share_of_the_gradient_of_the_guide_is_that_of_the_sleep_phase(weights, share):
    torch.manual_seed(1)
    model, guide = mild("tsbn order 2")
    x = frames("bernoulli", 1, 2)
    wake = (exact_frames if weights == "frames" else exact_paths)(model, guide, Batch.of(x))
    mixed = (1 - share) * wake + share * dreamt(model, guide, 2)
    ours, theirs = list(model.parameters()), list(guide.parameters())
    exact = torch.cat([gradient(wake, ours), gradient(mixed, theirs)])
    objective = RWS(model, guide, particles=2, weights=weights, sleep=share)
    batch = Batch.of(x.expand(COPIES, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, [*ours, *theirs], calls=24)
    assert_mean(samples, exact)


def test_the_gradient_of_the_model_is_that_of_the_bound_of_several_draws():
    """The K-sample bound by its own definition, on the same draws."""
    torch.manual_seed(1)
    model, guide = pair("tsbn")
    batch = Batch.of(frames("bernoulli", 3, 3))
    objective = RWS(model, guide, particles=4, weights="paths")
    torch.manual_seed(2)
    found = gradient(-objective(batch).surrogate, list(model.parameters()))
    torch.manual_seed(2)
    bound = objective.trace(batch).log_w.sum(-1).logsumexp(0).mean()
    torch.testing.assert_close(found, gradient(bound, list(model.parameters())))


def test_the_bound_that_is_reported_is_that_of_one_draw():
    torch.manual_seed(3)
    model, guide = pair("tsbn")
    batch = Batch.of(frames("bernoulli", 1, 3).expand(500, -1, -1))
    with torch.no_grad():
        for weights in ("frames", "paths"):
            several = RWS(model, guide, weights=weights)
            reports = [
                [each(batch).report["elbo_nats_per_frame"] for _ in range(40)]
                for each in (several, ELBO(model, guide, particles=8))
            ]
            one, other = (torch.stack(report) for report in reports)
            error = (one.var() / 40 + other.var() / 40).sqrt()
            assert abs(float(one.mean() - other.mean())) < 4.3 * error  # 2e-5


def test_programs_without_frames_take_weights_of_paths():
    model, guide = pair("tsbn")

    objective = RWS(model, guide)
    objective.guide = torch.nn.Identity()
    with pytest.raises(CompatibilityError, match="weights='paths'"):
        objective.trace(Batch.of(frames("bernoulli", 1, 3)))


def test_weights_of_frames_are_validated_by_a_particle_filter():
    model, guide = (each.float() for each in pair("tsbn order 2"))
    x = frames("bernoulli", 5, 3).reshape(15, -1).float().numpy()
    valid = Sequences(x, torch.full((5,), 3).numpy())
    found = RWS(model, guide, particles=4).validate(valid, seed=3)
    bounded = bound(model, guide, valid, particles=4, estimator="fivo", seed=3)
    assert (found.by, found.score) == ("filter bound", bounded.nats_per_frame)
    assert (
        RWS(model, guide, particles=4, weights="paths").validate(valid).by == "bound with 4 draws"
    )


def test_no_gradient_flows_through_the_path_to_later_frames():
    """The first feature is zero in the second frame, so its weight acts there by z_1 alone."""
    torch.manual_seed(8)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    x = frames("bernoulli", 5, 2).clone()
    x[:, :, 0] = torch.tensor([1.0, 0.0])
    found = RWS(model, guide, particles=3).trace(Batch.of(x))
    second = (found.log_p + found.log_q)[..., 1].sum()
    (weight,) = torch.autograd.grad(second, [guide.mean.weight])
    assert weight.abs().max() > 0
    assert not weight[:, model.cell.dim].any()
