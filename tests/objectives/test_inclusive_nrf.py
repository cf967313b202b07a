"""Random fields with an inclusive generator: exact gradients, exact revision, closed forms."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fields import BITS, REAL, STATES, WEIGHT, Bowl, D, Pairs, generator, ragged

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.kernels import SGLD
from pyrodgm.errors import ChainWarning, CompatibilityError, DataError, UsageError
from pyrodgm.guides import GeneratorGuide, NADEGuide, NoGuide, VAEGuide
from pyrodgm.objectives import PCD, InclusiveNRF
from pyrodgm.objectives.revision import Independent, Langevin, Sweeps, drawn
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import tiny_values
from variants import randomised


def of_bits(guide=NADEGuide, **options):
    model = Pairs(BITS)
    sizes = {"hidden_dim": 5} if guide is NADEGuide else {"hidden_dim": (6,)}
    made = guide(model, **sizes).double()
    randomised(made.program, std=0.5)
    return InclusiveNRF(model, made, **options).double()


def log_p(model):
    """The exact log-probabilities of all states, (S,)."""
    return model.potential(STATES, ragged()).log_softmax(0)


def exact_rows(model, num):
    return STATES[log_p(model).exp().multinomial(num, replacement=True)][:, None]


@pytest.mark.parametrize("steps", [1, 2])
def test_mean_gradients_in_equilibrium_are_those_of_the_two_divergences(steps):
    """Chains begin in the exact distribution; what they then are is still distributed so."""
    torch.manual_seed(0)
    objective, batch = of_bits(steps=steps, particles=200), ragged()
    model, guide = objective.model, objective.guide
    own = (
        model.potential(batch.x, batch) - model.potential(STATES, batch).logsumexp(0)
    ) * batch.mask
    p = log_p(model).exp().detach()
    nats = guide.log_prob(STATES[:, None], Batch.of(STATES[:, None]))[:, 0]
    exact = own.sum() / 3 + 2 * (p * nats).sum()  # 6 frames in 3 sequences

    def surrogate():
        objective.chains["x"] = exact_rows(model, 200)
        return -objective(batch).surrogate

    parameters = [*model.parameters(), *guide.parameters()]
    assert_mean(sample_gradients(surrogate, parameters, 250), gradient(exact, parameters))


@pytest.mark.parametrize("guide", [NADEGuide, VAEGuide])
def test_independence_sampling_leaves_the_field_unchanged(guide):
    """Also under a vae, whose density is known by its latents alone."""
    torch.manual_seed(1)
    objective = of_bits(guide, steps=5)
    model, where = objective.model, Batch.of(torch.zeros(20_000, 1, D).double())
    before = exact_rows(model, 20_000)
    after = Independent(5)(model, objective.guide, where, before)
    assert (after.x != before).any(-1).double().mean() > 0.2
    hot = (after.x[:, 0, None] == STATES).all(-1).double()
    assert_mean(hot, log_p(model).exp().detach())


def test_padding_has_no_part_in_the_acceptance():
    torch.manual_seed(1)
    objective = of_bits(NADEGuide)
    x = torch.zeros(20_000, 2, D).double()
    mask = torch.tensor([True, False]).expand(20_000, -1)
    batches = Batch.of(x[:, :1]), Batch(x, mask, torch.arange(20_000))
    one, other = (Independent(2)(objective.model, objective.guide, batch) for batch in batches)
    assert float(one.accepted) < 0.9
    assert abs(float(one.accepted - other.accepted)) < 0.02


@pytest.mark.parametrize("revision", ["mis", "gibbs"])
def test_many_moves_from_the_guide_reach_the_field(revision):
    torch.manual_seed(2)
    objective = of_bits(steps=60, revision=revision)
    x = objective.samplers()["revised"](Batch.of(torch.zeros(10_000, 1, D).double()))
    hot = (x[:, 0, None] == STATES).all(-1).double()
    assert_mean(hot, log_p(objective.model).exp().detach(), power=0.1)


def test_langevin_moves_of_rows_have_the_closed_form_of_a_linear_recursion():
    r"""x' = (1 - a lambda) x + sigma epsilon, from W h + s epsilon."""
    torch.manual_seed(3)
    model, step, noise = Bowl(REAL), 0.1, 0.3
    guide = generator(model, WEIGHT)
    revise = Langevin(SGLD(step, noise), 3, latents=False)
    found = revise(model, guide, Batch.of(torch.zeros(40_000, 1, 2).double()))
    x, h = found.x[:, 0], found.h[:, 0]
    keep = 1 - step * 1.5
    own = WEIGHT @ WEIGHT.T + 0.25 * torch.eye(2).double()
    added = noise**2 * sum(keep ** (2 * k) for k in range(3))
    assert_mean(x[:, :, None] * x[:, None], keep**6 * own + added * torch.eye(2).double())
    assert_mean(x * h, keep**3 * WEIGHT[:, 0])  # the noise is kept


def test_steps_have_the_size_of_those_of_pcd():
    """Both in units of standardised features."""
    info = replace(REAL, mean=(3.0, -1.0), std=(2.0, 0.5), centre=(3.0, -1.0))
    model, batch = Bowl(info), Batch.of(torch.randn(50, 1, 2).double())
    guide = generator(model, WEIGHT)
    inclusive = InclusiveNRF(model, guide, step_size=0.02, noise=0.1, steps=4)
    pcd = PCD(model, NoGuide(model), kernel="sgld", step_size=0.02, noise=0.1, steps=4)
    torch.manual_seed(6)
    start, _ = drawn(guide, batch)
    own = pcd.moves(model, model.given(batch), start).x
    torch.manual_seed(6)
    torch.testing.assert_close(inclusive.revision(model, guide, batch).x, own)


def test_langevin_moves_of_rows_and_noise_have_the_closed_form_of_a_linear_recursion():
    r"""The gradient of log p(x) q(h | x), with log q(x) by one more move of h."""
    torch.manual_seed(4)
    model, a, sd = Bowl(REAL), 0.05, 0.2
    guide = generator(model, WEIGHT)
    found = Langevin(SGLD(a, sd), 2, latents=True)(
        model, guide, Batch.of(torch.zeros(60_000, 1, 2).double())
    )
    both = torch.cat([found.x, found.h], -1)[:, 0]
    w, one = WEIGHT, torch.eye(2).double()
    by_h = torch.cat([w.T / 0.25, -(1 + w.T @ w / 0.25)], 1)  # gradient of log q(x, h) by h
    # W (h - h*) / s^2, where h* = h + a by_h + sd epsilon.
    by_x = torch.cat([-1.5 * one, torch.zeros(2, 1).double()], 1) - a * (w / 0.25) @ by_h
    keep = torch.eye(3).double() + a * torch.cat([by_x, by_h])
    inner = torch.cat([w / 0.25, torch.zeros(1, 1).double()])
    added = sd**2 * (torch.eye(3).double() + a**2 * inner @ inner.T)
    start = torch.cat(
        [torch.cat([w @ w.T + 0.25 * one, w], 1), torch.cat([w.T, w.new_ones(1, 1)], 1)]
    )
    for _ in range(2):
        start = keep @ start @ keep.T + added
    assert_mean(both[:, :, None] * both[:, None], start)


def test_a_generator_learns_the_joint_density_of_revised_rows_and_their_noise():
    """In expectation, as -KL(p q(h | x), q) does, where rows and noise are exact draws."""
    torch.manual_seed(5)
    model = Bowl(REAL)
    guide = generator(model, WEIGHT)
    objective = InclusiveNRF(model, guide, steps=1)
    batch = Batch.of(torch.zeros(4000, 1, 2).double())
    posterior = 1 / (1 + WEIGHT.T @ WEIGHT / 0.25)  # variance of h given x

    class Exact:
        """Rows from the field, and their noise from its posterior."""

        def __call__(self, model, guide, batch):
            from pyrodgm.objectives.revision import Revised

            x = torch.randn(4000, 1, 2).double() / math.sqrt(1.5)
            mean = x @ WEIGHT / 0.25 * posterior
            h = mean + posterior.sqrt() * torch.randn_like(mean)
            return Revised(x, h, x.new_ones(()))

    objective.revision = Exact()
    weight = guide.program.network[0].weight
    samples = sample_gradients(lambda: -objective(batch).surrogate, [weight], 200)
    free = weight.detach().clone().requires_grad_()
    covariance = free @ free.T + 0.25 * torch.eye(2).double()
    kl = 0.5 * (covariance.inverse().trace() / 1.5 + covariance.logdet())
    assert_mean(samples, gradient(-kl, [free]))


def test_what_is_reported_and_what_chooses_weights():
    objective, batch = of_bits(particles=9), ragged()
    objective.begin(Sequences(STATES.numpy(), np.array([16])))
    report = objective(batch).report
    assert set(report) == {"potential_gap_nats_per_frame", "guide_nats_per_frame", "acceptance"}
    assert objective.chains["x"].shape == (9, 1, D)
    found = objective.float().eval().validate(Sequences(STATES.numpy(), np.array([16])))
    assert found.by == "exact"
    bound = of_bits(VAEGuide)
    bound.begin(Sequences(STATES.numpy(), np.array([16])))
    assert "guide_bound_nats_per_frame" in bound(batch).report


def test_chains_that_hardly_accept_are_told():
    objective = of_bits(steps=1, particles=5)
    with torch.no_grad():
        objective.model.bias[0] = -200.0
        objective.guide.program.bias[0] = 200.0
    objective.begin(Sequences(STATES.numpy(), np.array([16])))
    objective.chains["x"] = objective.chains["x"] * torch.tensor([0.0, 1, 1, 1]).double()
    for _ in range(95):
        objective(ragged())
    with pytest.warns(ChainWarning, match=r"0\.\d\d% of the guide's draws are accepted"):
        objective.float().eval().validate(Sequences(STATES.numpy(), np.array([16])))


def test_a_guide_with_equal_draws_is_named():
    objective = of_bits()
    objective.begin(Sequences(STATES.numpy(), np.array([16])))
    rows = Sequences(STATES.numpy(), np.ones(16, np.int64))
    objective.float().eval().validate(rows)
    for _ in range(3):  # no warning, of a split of one row either
        objective.validate(rows.select([0]))
    with torch.no_grad():
        objective.guide.program.bias.fill_(200.0)
    objective.validate(rows), objective.validate(rows)
    with pytest.warns(ChainWarning, match="draws of the guide barely differ"):
        objective.validate(rows)


def test_what_does_not_fit_is_refused_in_words():
    model = Pairs(BITS)
    nade, made = NADEGuide(model), GeneratorGuide(model)
    with pytest.raises(CompatibilityError, match=r"bits.* has binary values.*revision=mis"):
        InclusiveNRF(model, nade, revision="sgld")
    with pytest.raises(CompatibilityError, match="revision=gibbs"):
        InclusiveNRF(model, made, revision="mis")
    assert isinstance(InclusiveNRF(model, made).revision, Sweeps)
    with pytest.raises(UsageError, match=r"step_size .*not of revision 'mis'.*steps, particles"):
        InclusiveNRF(model, nade, step_size=0.1)
    with pytest.raises(UsageError, match="friction"):
        InclusiveNRF(Bowl(REAL), GeneratorGuide(Bowl(REAL)), friction=0.1)
    with pytest.raises(CompatibilityError, match="does not draw observations"):
        InclusiveNRF(model, NoGuide(model))
    missing = Sequences(np.array([[0.0, np.nan]]), np.array([1]))
    with pytest.raises(DataError, match="missing values"):
        InclusiveNRF(Bowl(REAL), GeneratorGuide(Bowl(REAL))).begin(missing)


@pytest.mark.parametrize("revision", ["sgld", "sghmc"])
def test_revised_rows_climb(revision):
    torch.manual_seed(6)
    model = Bowl(REAL)
    guide = GeneratorGuide(model).double()
    with torch.no_grad():
        guide.program.network[-1].bias.fill_(3.0)
    moves = {"steps": 1, "sampling_steps": 10}
    objective = InclusiveNRF(model, guide, revision=revision, step_size=0.01, **moves)
    batch = Batch.of(torch.zeros(300, 1, 2).double())
    found = {name: draw(batch) for name, draw in objective.samplers().items()}
    found["in training"] = objective.revised(batch)[0].x
    drawn, revised, trained = (
        float(model.potential(x, batch).detach().mean()) for x in found.values()
    )
    assert drawn + 0.5 < trained + 0.5 < revised
    assert not found["revised"].requires_grad


@pytest.mark.parametrize("guide", ["nade", "vae"])
def test_killed_and_resumed(tiny, tmp_path, guide):
    values = tiny_values(tiny, averaging=0.5)
    values["model"] |= {"name": "rbm"}
    values |= {"guide": {"name": guide, "hidden_dim": 5}}
    values |= {"objective": {"name": "inclusive-nrf", "particles": 7}}
    if guide == "vae":
        values["guide"]["hidden_dim"] = [5]
    config = resolve(values)
    run = fit_config(config, tmp_path / "whole")
    assert run.chosen_by == "exact"
    with pytest.raises(Killed):
        fit_config(config, tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[0])
