"""Wasserstein distances by a critic: its optimum, its penalty, its gradients, and runs."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from processes import fit_or_resume, together
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.data.loader import BatchSampler
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, TSBN, FeedForwardGenerator, Generator
from pyrodgm.networks.critics import slope
from pyrodgm.objectives import ELBO, ML, WGAN
from pyrodgm.objectives.slope import SlopeBound
from pyrodgm.objectives.wgan import ESTIMATE
from pyrodgm.setup import compat
from pyrodgm.setup.config import resolve
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training

D = 2
INFO = DataInfo("points", "real", D, (0.0,) * D, 1.0, 1, (2.0, 0.5))
OPTIONS = {"steps": 4, "evaluate_every": 2, "batch_size": 8, "device": "cpu"}


class Moved(Generator):
    """The rows of the batch themselves, moved by what is learned: draws of a known distance."""

    def __init__(self, info):
        super().__init__(info, noise_dim=1)
        self.shift = nn.Parameter(torch.tensor([1.5, -1.0]))

    def generate(self, noise, batch):
        return batch.x + self.shift + 0 * noise


class Fixed(Generator):
    """Always the same points."""

    def __init__(self, info, points):
        super().__init__(info, noise_dim=1)
        self.points = nn.Parameter(points)

    def generate(self, noise, batch):
        return self.points[: batch.size, None] + 0 * noise


def objective(model, **options):
    return WGAN(model, NoGuide(model), **options)


def moved(weights, **options):
    """A critic that is linear in standardised features, f(x) = w x."""
    made = objective(Moved(INFO), **options)
    made.critic.network = nn.Sequential(nn.Linear(D, 1, bias=False))
    with torch.no_grad():
        made.critic.network[0].weight.copy_(weights)
    return made


def batch(rows=6):
    return Batch.of(torch.randn(rows, 1, D, generator=torch.Generator().manual_seed(0)))


def tiny(splits, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return objective(
            FeedForwardGenerator(splits.info, noise_dim=1, hidden_dim=4), critic_dim=4, **options
        )


def points(name="gmm5"):
    return dgm.data.load(name, num_train=40, num_valid=8, num_test=8)


def test_the_gradient_of_the_penalty_of_a_quadratic_critic():
    r"""Of (|g| - 1)^2 with g = A x + b: 2 (1 - 1 / |g|) g by b, and times x' by A."""
    generator = torch.Generator().manual_seed(1)
    a, b, x = (torch.randn(*s, generator=generator).double() for s in ((D, D), (D,), (5, D)))
    a = (a + a.T).requires_grad_()
    b.requires_grad_()
    slopes = slope(lambda x: 0.5 * (x @ a * x).sum(-1) + x @ b, x)
    g = (x @ a + b).detach()
    torch.testing.assert_close(slopes.detach(), g.norm(dim=-1))
    by_a, by_b = torch.autograd.grad((slopes - 1).square().sum(), [a, b])
    each = 2 * (1 - 1 / g.norm(dim=-1, keepdim=True)) * g
    torch.testing.assert_close(by_b, each.sum(0))
    exact = each.T @ x  # of A as it stands in A x; in x' A x / 2 both triangles take half
    torch.testing.assert_close(by_a, 0.5 * (exact + exact.T))


def test_the_loss_of_the_critic_against_finite_differences():
    """Through the gradient inside it."""
    torch.manual_seed(3)
    made = objective(Moved(INFO), critic_dim=3).double()
    rows = Batch.of(batch().x.double())

    def loss(*values):
        torch.manual_seed(0)
        names = (f"critic.{name}" for name, _ in made.critic.named_parameters())
        found = torch.func.functional_call(Both(made), dict(zip(names, values, strict=True)), rows)
        return found

    class Both(nn.Module):
        def __init__(self, made):
            super().__init__()
            self.critic, self.made = made.critic, (made,)

        def forward(self, rows):
            return self.made[0].critic_loss(rows).surrogate

    assert torch.autograd.gradcheck(loss, tuple(made.critic.parameters()))


@pytest.mark.parametrize("penalty", [0.5, 10.0])
def test_the_optimum_of_a_linear_critic(penalty):
    r"""Draws moved by d are at the Wasserstein distance |d|, and the critic says how far.

    Of -w d + lambda (|w| - 1)^2 the least is at w along d with |w| = 1 + |d| / (2 lambda): the
    penalty lets the estimate exceed the distance by |d|^2 / (2 lambda), so it is no lower bound.
    """
    d = -torch.tensor([1.5, -1.0]) / torch.tensor(INFO.std)  # data less draws, standardised
    best = d / d.norm() * (1 + d.norm() / (2 * penalty))
    made = moved(best, penalty=penalty)
    loss = made.critic_loss(batch())
    torch.testing.assert_close(loss.report[ESTIMATE], d.norm() + d.norm() ** 2 / (2 * penalty))
    (gradient,) = torch.autograd.grad(loss.surrogate, [made.critic.network[0].weight])
    torch.testing.assert_close(gradient, torch.zeros(1, D), atol=1e-5, rtol=0)


def test_a_critic_finds_the_distance_of_point_sets_with_equal_means():
    """Points at -2 and 2 against points at -0.5 and 0.5: each moves by 1.5.

    A small penalty first, since a slope of one everywhere is a local optimum under a large one.
    """
    torch.manual_seed(0)
    info = DataInfo("line", "real", 1, (0.0,), 1.0, 1, (1.0,))
    made = objective(
        Fixed(info, torch.tensor([[-0.5], [0.5]]).repeat(32, 1)), critic_dim=32, penalty=0.1
    )
    rows = Batch.of(torch.tensor([[[-2.0]], [[2.0]]])[torch.randint(2, (64,))])
    optimizer = torch.optim.Adam(made.critic.parameters(), lr=0.01)
    found = []
    for step in range(500):
        made.bound = SlopeBound("penalty", 0.1 if step < 100 else 20.0)
        optimizer.zero_grad()
        loss = made.critic_loss(rows)
        loss.surrogate.backward()
        optimizer.step()
        found.append(float(loss.report[ESTIMATE]))
    assert np.mean(found[-50:]) == pytest.approx(1.5, rel=0.1)


def test_the_gradient_of_the_generator_is_that_of_the_critic():
    """By the shift, minus the slope of the critic in the units of the data."""
    weights = torch.tensor([[0.3, -0.7]])
    made = moved(weights)
    made.generator_loss(batch()).surrogate.backward()
    torch.testing.assert_close(made.model.shift.grad, -weights[0] / torch.tensor(INFO.std))


def test_every_turn_of_the_critic_has_rows_of_its_own():
    splits = points()
    made = tiny(splits, critic_steps=3)
    seen, loss = [], made.critic_loss

    def recorded(batch):
        seen.append(batch.index.tolist())
        return loss(batch)

    made.critic_loss = recorded
    options = FitOptions(steps=3, batch_size=8, device="cpu")
    list(Training(made, splits, options, launch(options)).steps())
    expected = [rows.tolist() for rows in islice(BatchSampler(splits.train.lengths, 8, seed=0), 12)]
    assert seen == [rows for number, rows in enumerate(expected) if number % 4 < 3]


def test_clipped_weights_take_the_place_of_the_penalty():
    splits = points()
    made = tiny(splits, clip=0.02, critic_steps=2)
    options = FitOptions(steps=2, batch_size=8, device="cpu")
    progress = list(Training(made, splits, options, launch(options)).steps())
    assert set(progress[-1].report) == {ESTIMATE}
    largest = max(float(p.detach().abs().max()) for p in made.critic.parameters())
    assert largest == pytest.approx(0.02)
    with pytest.raises(UsageError, match=r"penalty=1 and clip=0\.1; give one of the two"):
        tiny(splits, penalty=1.0, clip=0.1)


def test_what_does_not_fit_is_refused_in_words(save_data):
    counts = DataInfo("counts", "count", D, (0.5,) * D, 4.0, 5)
    with pytest.raises(DataError, match="generator draws real values and bits, but the data 'cou"):
        FeedForwardGenerator(counts)
    model = FeedForwardGenerator(INFO)
    for kind in (ELBO, ML):
        with pytest.raises(CompatibilityError, match=r"has no density.*needs one that has a norm"):
            compat.check(model, NoGuide(model), kind)
    with pytest.raises(CompatibilityError, match=r"TSBN has binary latents; WGAN .* needs no late"):
        compat.check_classes(TSBN.form(), NoGuide, WGAN)
    with pytest.raises(CompatibilityError, match="AR is not a generator"):
        objective(AR(INFO))
    rows = np.array([[1.5, 2.0], [np.nan, 1.0], [0.2, 0.1]])
    splits = dgm.data.load(str(save_data(train=rows, valid=rows[:1], test=rows[:1])))
    with pytest.raises(
        DataError,
        match="the objective compares whole frames, but the training data",
    ):
        dgm.fit(tiny(splits), splits, **OPTIONS)


def test_options_of_training_are_its_own_unless_given():
    fit = resolve({"model": {"name": "generator"}, "fit": {"lr": 0.5}}).fit
    usual = WGAN.fit_defaults
    assert (fit.lr, fit.betas, fit.batch_size) == (0.5, usual["betas"], usual["batch_size"])
    other = {"model": {"name": "generator"}, "fit": {"optimizer": "rmsprop"}}
    assert resolve(other).fit.betas is None
    assert resolve({"model": {"name": "dtsbn-d"}}).fit == FitOptions()


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, step):
    splits = points()
    dgm.fit(tiny(splits), splits, out=tmp_path / "whole", **OPTIONS)
    with pytest.raises(Killed):
        dgm.fit(tiny(splits), splits, out=tmp_path / "killed", watcher=Killer(step), **OPTIONS)
    dgm.resume(tmp_path / "killed", objective=tiny(splits), splits=splits)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_commands_work_or_say_why_not(cli, tmp_path):
    run, drawn = tmp_path / "run", tmp_path / "x.npz"
    sizes = ["model.hidden_dim=4", "objective.critic_dim=4", "data.num_train=40"]
    settings = [word for size in sizes for word in ("--set", size)]
    made = cli("fit", "--model", "generator", *settings, "--steps", 2, "--out", run)
    assert "wasserstein estimate in sd" in made.out
    assert "last" in made.out
    assert ESTIMATE in json.loads(cli("evaluate", run, "--json").out)
    assert cli("sample", run, "--num", 3, "--out", drawn).code == 0
    assert np.load(drawn)["x"].shape == (3, 1, D)
    said = cli("sample", run, "--num", 3, "--prefix", 1, "--length", 2, "--out", drawn)
    assert (said.code, "cannot continue a prefix" in said.err) == (2, True)
    for command in ("check", "predict", "compare"):
        said = cli(command, run)
        assert said.code == 2
        assert "Traceback" not in said.err
        assert command == "compare" or "sample and report show what there is" in said.err
    assert cli("sample", run, "--num", 3, "--out", tmp_path / "x.png").code == 0
    assert cli("report", run, "--no-check").code == 0
    assert "rows of the test split" in (run / "report.html").read_text()


def test_two_processes_have_the_same_weights(tmp_path):
    values = {
        "model": {"name": "generator", "hidden_dim": 4},
        "objective": {"name": "wgan", "critic_dim": 4},
        "data": {"num_train": 40},
        "fit": {**OPTIONS, "devices": 2},
    }
    assert together(fit_or_resume, values, tmp_path / "run") == [True, True]
