"""Score matching against closed forms of normal distributions and exact Hessians."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fields import BITS, REAL, Pairs
from torch import nn
from torch.autograd.functional import hessian, jacobian

from oracles import assert_mean, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import RBM, RandomField
from pyrodgm.models.base import ModelTraits
from pyrodgm.models.energy import EnergyModel
from pyrodgm.objectives import ScoreMatching

D, SIGMA = 2, 0.6
SCALED = replace(REAL, mean=(3.0, -1.0), std=(2.0, 0.5), centre=(3.0, -1.0))


class Normal(EnergyModel):
    """A normal distribution of standardised features, by its matrix of precisions."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info, precision):
        super().__init__(info)
        self.precision = nn.Parameter(precision)

    def potential(self, x, batch):
        codes = self.codes(x)
        return -0.5 * ((codes @ self.precision) * codes).sum(-1)


@pytest.fixture(autouse=True)
def double():
    """As the closed forms are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normal(precision=((1.5, 0.4), (0.4, 0.8))):
    return Normal(SCALED, torch.tensor(precision))


def batch():
    """Rows that are no standard normal ones; the last is padding."""
    torch.manual_seed(1)
    x = torch.tensor([2.0, 0.5]) * (torch.randn(4, 2, D) @ torch.tensor([[1.0, 0.7], [0.0, 0.6]]))
    mask = torch.tensor([[True, True]] * 3 + [[True, False]])
    return Batch(x, mask, torch.arange(4))


def second_moment(given):
    """Of the standardised rows."""
    codes = given.x[given.mask] / torch.tensor([2.0, 0.5])
    return codes.mT @ codes / len(codes)


def closed_form(precision, moment):
    """J of a normal density: half tr(P M P) minus tr P."""
    return 0.5 * (precision @ moment @ precision).trace() - precision.trace()


def per_frame(objective, given):
    return objective(given).report[objective.headline]


def test_the_exact_form_is_the_closed_one_of_a_normal_density():
    model, given = normal(), batch()
    found = per_frame(ScoreMatching(model, NoGuide(model), form="exact"), given)
    torch.testing.assert_close(found, closed_form(model.precision.detach(), second_moment(given)))


@pytest.mark.parametrize("kind", ["rbm", "field"])
def test_the_exact_form_is_that_of_the_hessian(kind):
    torch.manual_seed(0)
    model = RBM(SCALED, hidden_dim=3) if kind == "rbm" else RandomField(SCALED, smooth=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0) if kind == "field" else parameter.normal_()
    given = batch()
    found = per_frame(ScoreMatching(model, NoGuide(model), form="exact"), given)

    def potential(code):
        return model.potential_of_codes(code[None, None], given)[0, 0]

    codes = model.codes(given.x[given.mask])
    slopes = torch.stack([jacobian(potential, code) for code in codes])
    traces = torch.stack([hessian(potential, code).trace() for code in codes])
    torch.testing.assert_close(found, (0.5 * slopes.square().sum(-1) + traces).mean())


@pytest.mark.parametrize("slices", [1, 3])
def test_the_sliced_form_and_its_gradient_have_those_of_the_exact_one_as_means(slices):
    model, given = normal(), batch().repeated(40)
    exact = ScoreMatching(model, NoGuide(model), form="exact")
    expected = sample_gradients(lambda: exact(given).surrogate, [model.precision], 1)[0]
    objective = ScoreMatching(model, NoGuide(model), form="sliced", slices=slices)
    values = torch.stack([per_frame(objective, given) for _ in range(300)])
    assert_mean(values, per_frame(exact, given))
    slopes = sample_gradients(lambda: objective(given).surrogate, [model.precision], 300)
    assert_mean(slopes, expected)


def test_the_denoising_form_has_that_of_the_smoothed_density_as_its_mean():
    model, given = normal(), batch().repeated(40)
    objective = ScoreMatching(model, NoGuide(model), noise=SIGMA)
    smoothed = second_moment(given) + SIGMA**2 * torch.eye(D)
    values = torch.stack([per_frame(objective, given) for _ in range(1000)])
    assert_mean(values, closed_form(model.precision.detach(), smoothed))


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("form", ["exact", "sliced", "denoising"])
def test_the_update_is_zero_at_the_closed_optimum_and_not_beside_it(form, scale):
    """The inverse second moment; for denoising that of the data with noise."""
    given, noise = batch().repeated(40), SIGMA if form == "denoising" else None
    best = (second_moment(given) + (noise or 0.0) ** 2 * torch.eye(D)).inverse()
    model = Normal(SCALED, scale * best)
    objective = ScoreMatching(model, NoGuide(model), form=form, noise=noise)
    number = 2 if form == "exact" else 200
    slopes = sample_gradients(lambda: objective(given).surrogate, [model.precision], number)
    along = slopes.view(number, D, D).mul(best).sum((-1, -2))
    error = 4.3 * along.std() / number**0.5 + 1e-9  # 2e-5
    assert bool(along.mean().abs() < error) is (scale == 1.0)


def test_weights_are_chosen_by_the_likelihood_or_else_by_the_objective_itself():
    rows = Sequences(np.random.default_rng(0).normal(size=(40, D)), np.full(40, 1))
    small = RBM(REAL, hidden_dim=3)
    assert ScoreMatching(small, NoGuide(small)).validate(rows).by == "exact"
    model = RBM(REAL, hidden_dim=30)
    for form in ("denoising", "sliced", "exact"):
        objective = ScoreMatching(model, NoGuide(model), form=form)
        found = objective.validate(rows)
        assert found.by == f"{form} score matching"
        assert found.numbers == {"score_matching_per_frame": -found.score}
        assert found == objective.validate(rows)
    assert all(parameter.grad is None for parameter in model.parameters())


def field(dim, **options):
    """A field of some features."""
    info = replace(REAL, dim=dim, mean=(0.0,) * dim, std=(1.0,) * dim)
    return RandomField(info, hidden_dim=3, **options)


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (lambda: Pairs(BITS), {}, CompatibilityError, "has binary values; choose objective pcd"),
        (lambda: field(2), {}, CompatibilityError, "set model.smooth=true"),
        (lambda: field(65, smooth=True), {"form": "exact"}, CompatibilityError, "at most 64"),
        (lambda: field(2, smooth=True), {"slices": 2}, UsageError, "has no slices"),
        (lambda: field(2, smooth=True), {"form": "exact", "noise": 1.0}, UsageError, "no noise"),
    ],
)
def test_what_does_not_fit_is_refused(model, options, error, words):
    made = model()
    with pytest.raises(error, match=words):
        ScoreMatching(made, NoGuide(made), **options)


def test_the_commands(cli, save_data, tmp_path):
    rng, run = np.random.default_rng(0), tmp_path / "run"
    arrays = {split: rng.normal(size=(40, 3)) for split in ("train", "valid", "test")}
    source = save_data(**arrays, **{f"{split}_lengths": np.ones(40, int) for split in arrays})
    sizes = ("--set", "model.hidden_dim=4", "--set", "model.smooth=true", "--steps", 5)
    given = ("--model", "random-field", "--objective", "score-matching", "--data", source)
    said = cli("fit", *given, *sizes, "--out", run)
    assert said.code == 0, said.err
    assert "chosen by denoising score matching on validation" in said.out
    found = cli("evaluate", run, "--temperatures", 5, "--chains", 4, "--json")
    assert json.loads(found.out)["estimator"] == "ais"
    said = cli("fit", *given, "--steps", 5)
    assert (said.code, "model.smooth=true" in said.err) == (2, True)
