"""Errors of a model and guide are reported before training."""

from dataclasses import replace

import pyro
import pytest
import torch
from adversarial import Adversarial, adversarial, ragged_points
from torch import nn

import pyrodgm as dgm
from pyrodgm.data import ragged
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.guides import Guide, GuideTraits, RecurrentBernoulli, StepGuide
from pyrodgm.models import AR, MODELS, TSBN, ModelTraits, StepModel
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import GRUCell
from pyrodgm.objectives import ELBO, ML, RLOO, Loss, Objective, TraceGraphELBO, Validation
from pyrodgm.setup.dry_run import check_runs
from tiny import ragged as ragged_arrays

J = 3


@pytest.fixture
def splits(tiny):
    return ragged.read(tiny)


class Own(StepGuide):
    """A guide that is right; those below are not."""

    traits = GuideTraits(latents="binary", sequential=True, causal=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 1
        self.lin = nn.Linear(model.info.dim, J)

    def encode(self, batch):
        return self.lin(batch.x)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded))


class WrongName(Own):
    def step(self, draw, past, encoded, t):
        draw("h", BernoulliVector(encoded))


class Twice(Own):
    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded))
        draw("z", BernoulliVector(encoded))


class Nothing(Own):
    def step(self, draw, past, encoded, t):
        pass


class NoEvent(Own):
    def step(self, draw, past, encoded, t):
        draw("z", torch.distributions.Bernoulli(logits=encoded))


class WrongSize(Own):
    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded[..., :2]))


class NotBits(Own):
    def step(self, draw, past, encoded, t):
        draw("z", NormalVector(encoded, torch.ones(J)))


class NoTime(Own):
    def encode(self, batch):
        return self.lin(batch.x.mean(1))


class WrongInput(Own):
    def encode(self, batch):
        return self.lin(batch.x[..., :2])


class Detached(Own):
    def encode(self, batch):
        return self.lin(batch.x).detach()


class Flipped(Own):
    """Padding is the first that it reads."""

    def __init__(self, model):
        super().__init__(model)
        self.gru = nn.GRU(J, J, batch_first=True)

    def encode(self, batch):
        return self.gru(self.lin(batch.x).flip(1))[0].flip(1)


class Backward(Flipped):
    """The right way, with units dropped at random besides."""

    def __init__(self, model):
        super().__init__(model)
        self.cell = GRUCell(J, J)

    def encode(self, batch):
        features = nn.functional.dropout(self.lin(batch.x), 0.5, self.training)
        return backward_outputs(self.cell, features, batch)


class AtRandom(Own):
    """Features of its own noise, in evaluation too."""

    def encode(self, batch):
        return self.lin(batch.x) + 0.1 * torch.randn(*batch.mask.shape, J)


class NoHistory(Own):
    def __init__(self, model):
        super().__init__(model)
        del self.history


@pytest.mark.parametrize(
    ("guide", "part"),
    [
        (WrongName, "WrongName draws 'h' in a frame, and declares z"),
        (Twice, "Twice draws 'z' in a frame, twice"),
        (Nothing, "Nothing declares z but does not draw it"),
        (NoEvent, r"event shape \(\); the event must be a frame of 3 numbers: see .to_event"),
        (WrongSize, r"event shape \(2,\); the event must be a frame of 3 numbers"),
        (NotBits, "site 'z' of NotBits is binary, but it is drawn from NormalVector"),
        (NoTime, r"NoTime.encode gives shape .* expected \(2, 3, any\)"),
        (WrongInput, r"(?s)WrongInput does not run on 'tiny'.*in encode: RuntimeError.*self.lin"),
        (Detached, "Detached gives distributions without gradients to its weights"),
        (Flipped, "Flipped.encode gives other features of a sequence when padding follows it"),
        (NoHistory, "NoHistory does not set self.history"),
    ],
)
def test_a_guide_that_does_not_run_is_told_why(splits, guide, part):
    model = TSBN(splits.info, hidden_dim=J)
    made = RLOO(model, guide(model))
    with pytest.raises(CompatibilityError, match=part):
        check_runs(made, splits)


@pytest.mark.parametrize("guide", [Own, Backward, AtRandom])
def test_a_right_guide_runs_and_leaves_the_generator_alone(splits, guide):
    model = TSBN(splits.info, hidden_dim=J)
    made = RLOO(model, guide(model))
    pyro.set_rng_seed(0)
    first = torch.rand(3)
    pyro.set_rng_seed(0)
    check_runs(made, splits)
    assert torch.rand(3).equal(first)


def test_what_is_no_piece_is_refused(splits, tmp_path):
    model = TSBN(splits.info, hidden_dim=J)
    guide = RecurrentBernoulli(model)
    for made, data, part in (
        (RLOO(model, None), splits, "the guide of RLOO is a NoneType"),
        (RLOO(TSBN, guide), splits, "the model of RLOO is the class TSBN"),
        (RLOO, splits, "the objective is the class ABCMeta|the objective is the class RLOO"),
        (RLOO(model, guide), "bits.npz", "the data is a str; give splits"),
        (ML(model, guide), splits, "ML on TSBN needs"),
        (
            RLOO(model, RecurrentBernoulli(TSBN(splits.info, hidden_dim=J + 1))),
            splits,
            "they must agree",
        ),
    ):
        with pytest.raises(UsageError, match=part):
            dgm.fit(made, data, out=tmp_path / "run", steps=1)
        assert not (tmp_path / "run").exists()


def test_what_is_exchanged_is_named(splits):
    model = TSBN(splits.info, hidden_dim=J)
    with pytest.raises(UsageError, match="RLOO takes a model, then its guide"):
        RLOO(RecurrentBernoulli(model), model)
    with pytest.raises(UsageError, match=r"TSBN is built from the facts of the data.*splits\.info"):
        TSBN(splits, hidden_dim=J)


def test_data_of_another_size_or_kind_is_refused(splits, save_data):
    made = ML(model := AR(splits.info), dgm.guides.NoGuide(model))
    with pytest.raises(DataError, match=r"AR observes \{'x': 6\}.* have 5 features"):
        check_runs(made, ragged.read(save_data(**ragged_arrays(dim=5))))
    with pytest.raises(DataError, match=r"AR scores binary or unit values, but .* has real values"):
        check_runs(made, ragged.read(save_data(**ragged_arrays(kind="real"))))


def test_what_is_observed_is_called_x(splits):
    made = ML(model := AR(splits.info), dgm.guides.NoGuide(model))
    made.model.observed = {"notes": splits.info.dim}
    with pytest.raises(CompatibilityError, match="AR observes notes; it must observe one site 'x'"):
        check_runs(made, splits)


class Bits(StepModel):
    """A model of bits, whatever the data is."""

    traits = ModelTraits(latents="binary", sequential=True)

    def __init__(self, info):
        super().__init__(info)
        self.history = 1
        self.latents = {"z": Site(J, self.traits.latents)}
        self.observed = {"x": info.dim}
        self.bias = nn.Parameter(torch.zeros(info.dim))

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(past["z"]))
        draw("x", BernoulliVector(self.bias))


class Normals(Bits):
    traits = ModelTraits(latents="continuous", sequential=True)

    def step(self, draw, past, encoded, t):
        draw("z", NormalVector(past["z"], torch.ones(J)))
        draw("x", BernoulliVector(self.bias))


class Silent(Own):
    """Draws that carry gradients, of which its traits say nothing."""

    traits = GuideTraits(latents="continuous", sequential=True)

    def step(self, draw, past, encoded, t):
        draw("z", NormalVector(encoded, torch.ones(J)))


class Outspoken(Silent):
    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)


def test_bits_cannot_score_real_numbers(splits, save_data):
    real = ragged.read(save_data(**ragged_arrays(kind="real")))
    with pytest.raises(DataError, match="Bits scores 'x' by BernoulliVector, but 'tiny' has"):
        check_runs(RLOO(model := Bits(real.info), Own(model)), real)
    grey = ragged.read(save_data(**ragged_arrays(kind="unit")))
    check_runs(RLOO(model := Bits(grey.info), Own(model)), grey)


def test_draws_that_carry_gradients_must_say_so(splits):
    model = Normals(splits.info)
    with pytest.raises(CompatibilityError, match=r"Silent draws 'z' .* set reparameterised=True"):
        check_runs(ELBO(model, Silent(model)), splits)
    check_runs(ELBO(model, Outspoken(model)), splits)


def test_guides_without_frames_pass(splits):
    assert issubclass(dgm.guides.GUIDES["bernoulli"], Guide)
    assert "sbn" in MODELS
    sbn = MODELS["sbn"](splits.info, hidden_dim=J)
    check_runs(RLOO(sbn, dgm.guides.GUIDES["bernoulli"](sbn)), splits)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"particles": 1}, "RLOO: particles = 1: Input should be greater than or equal to 2"),
        ({"signal": "foo"}, "RLOO: signal = 'foo': Input should be 'future' or 'local', or"),
        ({"signal": 2.0}, "RLOO: signal = 2.0: .* less than or equal to 1"),
        ({"execution": "foo"}, "RLOO: execution = 'foo': Input should be 'fused' or 'unrolled'"),
    ],
)
def test_objectives_refuse_what_no_objective_takes(splits, options, part):
    pair = (model := TSBN(splits.info, hidden_dim=J)), RecurrentBernoulli(model)
    with pytest.raises(UsageError, match=part):
        RLOO(*pair, **options)
    with pytest.raises(UsageError, match="ELBO: particles = 0"):
        ELBO(*pair, particles=0)


@pytest.mark.parametrize("options", [{"decay": 0.5}, {"baseline": "none", "baseline_dim": 7}])
def test_options_of_another_baseline_are_refused(splits, options):
    pair = (model := TSBN(splits.info, hidden_dim=J)), RecurrentBernoulli(model)
    with pytest.raises(UsageError, match=r"is for baseline .*, but this one is"):
        TraceGraphELBO(*pair, **options)


def test_phases_are_tried_on_a_copy():
    """A pair without a density runs; neither weights nor averages nor schedules have moved."""
    splits = ragged_points()
    made = adversarial(splits)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    check_runs(made, splits)
    assert before.keys() == made.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert "x" not in made.chains
    assert not made.seen
    assert all(p.grad is None for p in made.parameters())


class WrongCritic(Adversarial):
    def __init__(self, model, guide):
        super().__init__(model, guide)
        self.critic[0] = nn.Linear(5, 16)


class ManyNumbers(Adversarial):
    def generator_loss(self, batch):
        return Loss(self.model.draw(3).sum(-1), {})


class NoGradient(Adversarial):
    def generator_loss(self, batch):
        return Loss(self.model.draw(3).sum().detach(), {})


class Neither(Objective):
    needs = Adversarial.needs


class TorchOptimizer(Adversarial):
    def phases(self):
        first, *others = super().phases()
        return replace(first, optimizer=torch.optim.Adam(self.parameters())), *others


class OfTensors(Adversarial):
    def validate(self, sequences, *, seed=0):
        return Validation(numbers={"generator_loss": torch.tensor(1.0)})


class OfNothing(Adversarial):
    def validate(self, sequences, *, seed=0):
        return 1.0


class Seedless(Adversarial):
    def validate(self, sequences):
        return Validation()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (WrongCritic, r"(?s)Shift with Nobody does not run on 'points'.*mat1 and mat2 shapes"),
        (ManyNumbers, r"phase 'generator' of ManyNumbers is of shape \(3,\) and has gradient"),
        (NoGradient, r"phase 'generator' of NoGradient is of shape \(\) and has no gradient"),
        (Neither, "Neither defines neither loss nor phases; it needs one"),
        (TorchOptimizer, "has a Adam as its optimizer; expected OptimizerOptions"),
        (OfTensors, "gives a tensor of shape .* as 'generator_loss'; expected a number"),
        (OfNothing, r"OfNothing.validate\(sequences, seed=...\) gives a float"),
        (Seedless, "unexpected keyword argument 'seed'"),
    ],
)
def test_an_objective_that_does_not_run_is_told_why(kind, part):
    splits = ragged_points()
    with pytest.raises(UsageError, match=part):
        check_runs(adversarial(splits, kind), splits)
