"""Games on pairs (x, z): gradients with the exact critic, cycle terms, the optimum, and runs."""

import json
import math
from dataclasses import replace

import pytest
import torch
from linear_gaussian import INFO, SCALE, LinearRows, linear
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from processes import fit_or_resume, together
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.errors import CompatibilityError, CriticWarning, DataError, UsageError
from pyrodgm.guides import DiagonalNormal, FeedForwardImplicit, GuideTraits, StepGuide
from pyrodgm.models import VAE, FeedForwardGenerator
from pyrodgm.objectives import ALI, ALICE, SymmetricVAE
from pyrodgm.objectives.pairs import Pair
from pyrodgm.objectives.reconstructed import RECONSTRUCTION

LINE = replace(INFO, dim=1, mean=(0.0,))
MEAN, SPREAD = 0.4, 1.3  # of the data
GRID = torch.linspace(-8, 8, 161, dtype=torch.float64)
CELL = float(GRID[1] - GRID[0]) ** 2
OPTIONS = {"steps": 4, "evaluate_every": 2, "batch_size": 8, "device": "cpu"}


class NormalOfRows(StepGuide):
    """q(z | x) = N(a x + b, c^2), with a density."""

    traits = GuideTraits("continuous", sequential=False, reparameterised=True, causal=True)
    history = 0

    def __init__(self, model):
        super().__init__(model)
        self.slope, self.offset, self.scale = linear(0.5), linear(-0.3), linear(0.6)

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        mean = self.slope * encoded + self.offset
        draw("z", NormalVector(mean, self.scale.expand(mean.shape)))


def joint(matrix, mean, noise):
    """The normal distribution of (x, z) = A e + m of independent noise e."""
    spread = matrix @ torch.diag(torch.stack(noise).square()) @ matrix.T
    return MultivariateNormal(torch.stack(mean), spread)


def of_model(model):
    """p(x, z), where x = w z + c + s e."""
    one, zero = (torch.tensor(x, dtype=torch.float64) for x in (1.0, 0.0))
    w = model.weight[0, 0]
    matrix = torch.stack([torch.stack([w, one]), torch.stack([one, zero])])
    return joint(matrix, (model.centre[0], zero), (one, SCALE * one))


def of_guide(guide):
    """q(x, z), where z = a x + b + c e."""
    one, zero = (torch.tensor(x, dtype=torch.float64) for x in (1.0, 0.0))
    matrix = torch.stack([torch.stack([one, zero]), torch.stack([guide.slope, one])])
    mean = (MEAN * one, guide.slope * MEAN + guide.offset)
    return joint(matrix, mean, (SPREAD * one, guide.scale))


class Exact(nn.Module):
    """The log ratio of the two joint distributions, which a critic tends to."""

    def __init__(self, model, guide):
        super().__init__()
        with torch.no_grad():
            q, p = of_guide(guide), of_model(model)
        self.q, self.p = (MultivariateNormal(d.loc, d.covariance_matrix) for d in (q, p))

    def forward(self, x, latents, batch):
        pairs = torch.cat([x, latents["z"]], -1)
        return self.q.log_prob(pairs) - self.p.log_prob(pairs)


def exact(kind, guide=NormalOfRows, **options):
    """A game of normal pairs whose critic is at its optimum."""
    model = LinearRows(LINE, ((0.8,),), (0.2,))
    made = kind(model, guide(model), **options)
    made.critic = Exact(model, made.guide)
    return made


def data(rows=400):
    return Batch.of(MEAN + SPREAD * torch.randn(rows, 1, 1, dtype=torch.float64))


def on_grid(made, of_q, of_p):
    """The integral of q a(V) + p b(V) with V held fixed, by quadrature over (x, z)."""
    pairs = torch.cartesian_prod(GRID, GRID)
    v = made.critic.q.log_prob(pairs) - made.critic.p.log_prob(pairs)
    q, p = (d.log_prob(pairs).exp() for d in (of_guide(made.guide), of_model(made.model)))
    return ((q * of_q(v) + p * of_p(v)) * CELL).sum()


def parts(made):
    return [*made.model.parameters()], [*made.guide.parameters()]


def assert_gradient(made, exact, calls=150):
    """Of the loss of model and guide in the mean over batches of draws."""
    parameters = [p for part in parts(made) for p in part]
    samples = sample_gradients(lambda: made.pair_loss(data()).surrogate, parameters, calls)
    assert_mean(samples, exact, power=0.1)


def divergences(made):
    """KL(q || p) and KL(p || q) of the pairs."""
    q, p = of_guide(made.guide), of_model(made.model)
    return kl_divergence(q, p), kl_divergence(p, q)


def test_with_the_exact_critic_minimax_follows_the_jensen_shannon_divergence():
    torch.manual_seed(0)
    made = exact(ALI, generator_loss="minimax")
    both = [p for part in parts(made) for p in part]

    pairs = torch.cartesian_prod(GRID, GRID)
    q, p = (d.log_prob(pairs) for d in (of_guide(made.guide), of_model(made.model)))
    middle = torch.logaddexp(q, p) - math.log(2)
    js = 0.5 * ((q.exp() * (q - middle) + p.exp() * (p - middle)) * CELL).sum()
    assert_gradient(made, gradient(2 * js, both))
    reported = torch.stack([made.critic_loss(data(8000)).report[made.headline] for _ in range(30)])
    assert_mean(reported, js.detach())


def test_with_the_exact_critic_logd_follows_the_labels_exchanged():
    torch.manual_seed(0)
    made = exact(ALI)
    value = on_grid(made, nn.functional.softplus, lambda v: nn.functional.softplus(-v))
    assert_gradient(made, gradient(value, [p for part in parts(made) for p in part]))


def test_with_the_exact_critic_the_symmetric_game_follows_one_divergence_for_each():
    """The guide KL(q || p), the model KL(p || q), and both their sum if the gradient is exact."""
    torch.manual_seed(0)
    made = exact(SymmetricVAE)
    forward, backward = divergences(made)
    theta, phi = parts(made)
    separate = torch.cat([gradient(backward, theta), gradient(forward, phi)])
    assert_gradient(made, separate)
    of_both = gradient(forward + backward, [*theta, *phi])
    assert float((of_both - separate).norm()) > 0.3 * float(of_both.norm())  # it is another
    made = exact(SymmetricVAE, gradient="exact")
    theta, phi = parts(made)
    assert_gradient(made, gradient(sum(divergences(made)), [*theta, *phi]))
    reported = torch.stack([made.critic_loss(data(8000)).report[made.headline] for _ in range(30)])
    assert_mean(reported, (forward + backward).detach())


def folded(mean, variance):
    """E|e| of a normal number."""
    scale = variance.sqrt()
    near = scale * math.sqrt(2 / math.pi) * torch.exp(-(mean**2) / (2 * variance))
    return near + mean * torch.erf(mean / (scale * math.sqrt(2)))


@pytest.mark.parametrize("kind", ["l1", "l2", "likelihood"])
def test_cycle_terms_and_their_gradients_against_closed_forms(kind):
    torch.manual_seed(0)
    made = exact(ALICE, cycle=kind, cycle_weight=2.0, latent_cycle_weight=3.0)
    made.adversary = lambda of_q, of_p: 0 * (of_q + of_p)  # the cycle terms alone
    model, guide = made.model, made.guide
    w, c, a, b, s = model.weight[0, 0], model.centre[0], guide.slope, guide.offset, guide.scale
    # x less w z + c, and z less a x + b, without the noise of the last step
    of_x = (1 - w * a) * MEAN - w * b - c, ((1 - w * a) * SPREAD) ** 2 + (w * s) ** 2
    of_z = -a * c - b, (1 - a * w) ** 2 + (a * SCALE) ** 2
    terms = []
    for (mean, variance), noise in ((of_x, torch.tensor(SCALE)), (of_z, s)):
        if kind == "likelihood":
            spread = (mean**2 + variance) / noise**2
            terms.append(0.5 * (spread + math.log(2 * math.pi)) + noise.log())
        elif kind == "l2":
            terms.append(mean**2 + variance + noise**2)
        else:
            terms.append(folded(mean, variance + noise**2))
    exactly = 2 * terms[0] + 3 * terms[1]
    assert_gradient(made, gradient(exactly, [p for part in parts(made) for p in part]))
    found = [made.pair_loss(data()).report for _ in range(50)]
    for name, term in zip((f"cycle_{kind}", f"latent_cycle_{kind}"), terms, strict=True):
        assert_mean(torch.stack([each[name] for each in found]), term.detach())


def test_a_critic_of_two_normal_joints_finds_their_log_ratio():
    torch.manual_seed(0)
    model = LinearRows(LINE, ((0.8,),), (0.2,)).float()
    made = ALI(model, NormalOfRows(model).float(), critic_dim=(32, 32))
    best = Exact(model.double(), made.guide.double())
    model.float(), made.guide.float()
    optimizer = torch.optim.Adam(made.critic.parameters(), lr=0.005)
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.005 * (1 - step / 300)
        optimizer.zero_grad()
        made.critic_loss(Batch.of(data(1000).x.float())).surrogate.backward()
        optimizer.step()
    batch = Batch.of(data(2000).x.float())
    with torch.no_grad():
        for pair in (made.of_data(batch), made.of_model(batch)):
            exactly = best(*pair, batch)
            off = made.critic(*pair, batch) - exactly
            assert float(off.square().mean()) < 0.05 * float(exactly.square().mean())


def test_bits_pass_on_the_gradient_of_their_means():
    """Under a critic that is linear in x both are the same, given the same latents."""
    info = DataInfo("bits", "binary", 3, (0.5,) * 3, 1.0, 9)
    torch.manual_seed(0)
    model = VAE(info, latent_dim=2, hidden_dim=4)
    rows, found = Batch.of(torch.ones(5, 1, 3)), {}
    for pixels in ("straight-through", "means"):
        made = ALI(model, DiagonalNormal(model, hidden_dim=4), pixels=pixels)
        torch.manual_seed(1)
        x = made.of_model(rows).x
        found[pixels] = x.detach(), gradient(x.sum(), list(model.parameters()))
    assert set(found["straight-through"][0].unique().tolist()) == {0.0, 1.0}
    assert 0 < float(found["means"][0].min()) < float(found["means"][0].max()) < 1
    torch.testing.assert_close(found["means"][1], found["straight-through"][1])
    assert float(found["means"][1].norm()) > 0
    grey = VAE(replace(info, kind="unit"), latent_dim=2, hidden_dim=4)
    made = ALI(grey, DiagonalNormal(grey, hidden_dim=4))
    assert bool(made.of_model(rows).x.gt(0).all())  # means are compared with grey data


def points(**sizes):
    return dgm.data.load("gmm5", **{"num_train": 40, "num_valid": 8, "num_test": 8, **sizes})


def tiny(splits, kind=ALICE, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FeedForwardGenerator(splits.info, latent_dim=2, noise_dim=1, hidden_dim=4)
        guide = FeedForwardImplicit(model, noise_dim=2, hidden_dim=4)
        return kind(model, guide, critic_dim=4, **options)


def test_a_killed_run_is_resumed_bit_for_bit(tmp_path):
    """With several turns of each, and a penalty."""
    splits, given = points(), {"generator_steps": 2, "critic_steps": 2, "bound": "penalty"}
    dgm.fit(tiny(splits, **given), splits, out=tmp_path / "whole", **OPTIONS)
    made = tiny(splits, **given)
    with pytest.raises(Killed):
        dgm.fit(made, splits, out=tmp_path / "killed", watcher=Killer(3), **OPTIONS)
    dgm.resume(tmp_path / "killed", objective=tiny(splits, **given), splits=splits)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_two_processes_play_the_same_game(tmp_path):
    values = {
        "model": {"name": "generator", "latent_dim": 2, "hidden_dim": 4},
        "guide": {"name": "implicit", "hidden_dim": 4},
        "objective": {"name": "alice", "critic_dim": 4},
        "data": {"source": "gmm5", "num_train": 40},
        "fit": {**OPTIONS, "devices": 2},
    }
    assert together(fit_or_resume, values, tmp_path / "run") == [True, True]


def test_the_slope_that_is_penalised_is_that_of_pairs():
    """Of a linear critic it is the norm of its weights, in standardised x and in z."""
    made = tiny(points(), ALI, bound="penalty", bound_by=2.0)
    made.critic.network = nn.Linear(4, 1)
    found = made.critic_loss(Batch.of(torch.randn(6, 1, 2)))
    excess = (made.critic.network.weight.norm() - 1).square()
    torch.testing.assert_close(found.report["slope_excess"], excess.detach())
    torch.testing.assert_close(
        found.surrogate.detach(), found.report["critic_loss"] + 2 * excess.detach()
    )


def test_weights_are_chosen_by_quadrature_where_it_is_possible():
    splits = points()
    found = tiny(splits).validate(splits.valid)
    assert (found.by, found.score) == ("nothing", None)
    assert found.numbers[RECONSTRUCTION] > 0
    torch.manual_seed(0)
    model = VAE(splits.info, latent_dim=1, hidden_dim=4)
    for guide in (FeedForwardImplicit, DiagonalNormal):  # a bound is not taken for it
        found = ALI(model, guide(model, hidden_dim=4)).validate(splits.valid)
        exactly = dgm.evaluate.likelihood.quadrature.quadrature(model, splits.valid, finest=256)
        assert (found.by, found.score) == ("exact", pytest.approx(exactly.mean(), abs=0.02))


def test_a_critic_that_always_wins_is_named_once():
    splits = points(num_valid=30)
    made = tiny(splits, ALI)
    made.critic.forward = lambda x, latents, batch: 40 * (x - made.model.mean).abs().sum(-1) - 2
    made.of_model = lambda batch: Pair(
        made.model.mean.expand(1, *batch.x.shape), {"z": torch.zeros(1, *batch.x.shape)}
    )
    made.validate(splits.valid), made.validate(splits.valid)
    with pytest.warns(CriticWarning, match="distinguishes pairs of the guide and of the model"):
        made.validate(splits.valid)


def test_what_does_not_fit_is_refused_in_words(save_data):
    splits = points()
    with pytest.raises(UsageError, match="pixels is 'means', which is for binary or grey data"):
        tiny(splits, pixels="means")
    for kind in (ALICE, SymmetricVAE):
        with pytest.raises(CompatibilityError, match=r"FeedForwardGenerator has no density.*=l2"):
            tiny(splits, kind, cycle="likelihood", cycle_weight=1.0)
    with pytest.raises(UsageError, match="cycle is 'l1', but the weight of the cycle terms is 0"):
        tiny(splits, SymmetricVAE, cycle="l1")
    with pytest.raises(CompatibilityError, match="gradient is 'exact', but FeedForwardG"):
        tiny(splits, SymmetricVAE, gradient="exact")
    bits = VAE(DataInfo("bits", "binary", 3, (0.5,) * 3, 1.0, 9))
    with pytest.raises(CompatibilityError, match="the data 'bits' has binary values, whose draws"):
        SymmetricVAE(bits, DiagonalNormal(bits), gradient="exact")
    model = VAE(splits.info, latent_dim=2)
    with pytest.raises(CompatibilityError, match=r"Implicit has no density.*latent_cycle_weight=0"):
        ALICE(model, FeedForwardImplicit(model), cycle="likelihood")
    ALICE(model, FeedForwardImplicit(model), cycle="likelihood", latent_cycle_weight=0.0)
    rows = torch.tensor([[1.5, 2.0], [torch.nan, 1.0], [0.2, 0.1]]).numpy()
    with_gap = dgm.data.load(str(save_data(train=rows, valid=rows[:1], test=rows[:1])))
    with pytest.raises(DataError, match="the objective compares whole frames, but"):
        dgm.fit(tiny(with_gap), with_gap, **OPTIONS)


def test_commands_work_or_say_why_not(cli, tmp_path):
    run, drawn = tmp_path / "run", tmp_path / "x.npz"
    sizes = ["model.hidden_dim=4", "guide.hidden_dim=4", "objective.critic_dim=4"]
    settings = [
        word for s in ["model.latent_dim=2", "data.num_train=40", *sizes] for word in ("--set", s)
    ]
    made = cli(
        "fit", "--model", "generator", *settings, "--objective", "alice", "--steps", 2, "--out", run
    )
    assert "reconstruction squared error per feature" in made.out
    assert "The weights are the last ones" in made.out
    assert json.loads((run / "environment.json").read_text())
    assert RECONSTRUCTION in json.loads(cli("evaluate", run, "--json").out)
    assert cli("sample", run, "--num", 3, "--out", drawn).code == 0
    assert cli("report", run, "--no-check").code == 0
    for command in ("check", "predict"):
        said = cli(command, run)
        assert (said.code, "sample and report" in said.err) == (2, True)
        assert "Traceback" not in said.err
