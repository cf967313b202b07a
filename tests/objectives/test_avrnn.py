"""A game on paths of latents: what each phase changes, its gradient, its critic, its warnings."""

import warnings

import pytest
import torch
from continuous_pairs import FEATURES, away_from_kinks, grid, made

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import score
from pyrodgm.errors import CompatibilityError, CriticWarning
from pyrodgm.guides import RecurrentNormal
from pyrodgm.models import STORN
from pyrodgm.networks.critics import PathCritic, bound_spectrum
from pyrodgm.objectives import AVRNN
from pyrodgm.objectives.avrnn import ESTIMATE
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import tiny_values
from variants import INFOS, frames

CRITIC = {"critic_dim": (4, 3)}


def objective(name="vrnn", std=0.3, **options):
    model, guide = made(name, std=std)
    found = AVRNN(model, guide, **CRITIC | options).double()
    for parameter in found.critic.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return found


def changed(found, loss, phase):
    """Names of the parameters that a phase would change, of model, guide and critic."""
    names = {id(p): n for n, p in found.named_parameters()}
    own = list(phase.parameters())
    gradients = torch.autograd.grad(loss.surrogate, own, allow_unused=True)
    return {names[id(p)] for p, g in zip(own, gradients, strict=True) if g is not None}


@pytest.mark.parametrize("name", ["vrnn", "srnn", "dmm", "storn"])
def test_each_phase_trains_the_parts_that_the_reference_names(name):
    torch.manual_seed(0)
    found = objective(name)
    batch = Batch.of(frames("bernoulli", 3, 4))
    reconstruction, critic, adversary = found.built_phases
    parts = {
        each.name: {n.split(".")[0] for n in changed(found, each.loss(batch), each)}
        for each in found.built_phases
    }
    assert parts["critic"] == {"critic"}
    prior = {f"model.{n}" for n in found.model.prior_modules}
    names = {id(p): n for n, p in found.named_parameters()}

    def of_model(phase):
        return {
            ".".join(names[id(p)].split(".")[:2])
            for p in phase.parameters()
            if names[id(p)].startswith("model.")
        }

    every = {".".join(n.split(".")[:2]) for n, _ in found.named_parameters() if n[:5] == "model"}
    assert of_model(adversary) == prior
    assert of_model(reconstruction) == every - prior
    assert parts["adversary"] >= {"guide"}
    assert all(phase.fresh for phase in (critic, adversary))


def test_the_gradient_of_the_reconstruction_is_that_of_quadrature():
    torch.manual_seed(1)
    found = objective("storn", std=0.1)
    away_from_kinks(found.model, found.guide)
    x = frames("bernoulli", 2)
    paths, cell = grid(2)
    batch = Batch.of(x[None])
    nats = score(found.model, batch, paths)["x"].sum((1, 2))
    mass = (score(found.guide, batch, paths)["z"].sum((1, 2)) + cell).exp()
    phase = found.built_phases[0]
    parameters = list(phase.parameters())
    exact = gradient((mass * nats).sum(), parameters)
    many = Batch.of(x.expand(800, -1, -1))
    samples = sample_gradients(
        lambda: -found.reconstruction_loss(many).surrogate, parameters, calls=60
    )
    assert_mean(samples, exact)


@pytest.mark.parametrize("prior", ["along", "own"])
def test_the_distance_is_zero_where_the_guide_is_the_prior(prior):
    torch.manual_seed(2)
    found = objective("vrnn", prior=prior)
    guide, model = found.guide, found.model
    with torch.no_grad():
        torch.nn.init.zeros_(guide.hidden_from_x.weight)
        guide.posterior.load_state_dict(model.prior.state_dict())
        batch = Batch.of(frames("bernoulli", 1, 3).expand(20_000, -1, -1))
        same = found.distance(*found.paths(batch), batch).flatten()
        guide.posterior.last.bias[0] += 1.0
        other = found.distance(*found.paths(batch), batch).flatten()
    assert_mean(1 + same[:, None], 1.0)
    with pytest.raises(AssertionError):
        assert_mean(1 + other[:, None], 1.0)


def test_padding_changes_nothing_and_pairs_see_the_frames():
    torch.manual_seed(3)
    found = objective("vrnn", sees="pairs")
    critic = found.critic
    x = frames("bernoulli", 2, 5)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    batch = Batch(x * mask[..., None], mask, torch.arange(2))
    z = torch.randn(4, 2, 5, 1).double()
    short = Batch.of(x[1:, :3])
    torch.testing.assert_close(critic(batch, z=z)[:, 1:], critic(short, z=z[:, 1:, :3]))
    moved = Batch(batch.x + 0.3 * mask[..., None], mask, batch.index)
    assert not torch.isclose(critic(moved, z=z), critic(batch, z=z)).any()
    blind = PathCritic(INFOS["bernoulli"], found.model.latents, (4, 3)).double()
    assert torch.equal(blind(moved, z=z), blind(batch, z=z))


def test_bounds_on_the_critic_hold_after_a_turn():
    torch.manual_seed(4)
    for bound, largest in (("clip", 0.01), ("spectral", 1.0)):
        found = objective(bound=bound)
        found.built_phases[1].after()
        for parameter in found.critic.parameters():
            if bound == "clip":
                assert parameter.abs().max() <= largest
            elif parameter.dim() == 2:
                assert torch.linalg.matrix_norm(parameter, ord=2) <= largest + 1e-9
    layer = torch.nn.Linear(3, 2).double()
    before = layer.weight.clone()
    bound_spectrum(layer, 100.0)
    assert torch.equal(layer.weight, before)


def test_the_penalty_is_that_of_a_critic_with_a_known_slope():
    found = objective("vrnn", bound="penalty", bound_by=3.0)

    def linear(batch, z):
        return 2.0 * (z * batch.mask[..., None]).sum((-1, -2))

    found.critic.forward = linear
    mask = torch.arange(4) < torch.tensor([4, 1])[:, None]
    batch = Batch(frames("bernoulli", 2, 4) * mask[..., None], mask, torch.arange(2))
    loss = found.critic_loss(batch)
    expected = ((2 * 2.0 - 1) ** 2 + (2 * 1.0 - 1) ** 2) / 2  # slope 2 sqrt(T)
    torch.testing.assert_close(loss.report["slope_excess"], torch.tensor(expected).double())
    torch.testing.assert_close(loss.surrogate.detach(), 3 * expected - loss.report[ESTIMATE])


def held_out():
    x = (frames("bernoulli", 12) > 0.5).numpy().astype("uint8")
    return Sequences(x, torch.tensor([4, 4, 4]).numpy())


def test_validation_reports_the_game_and_a_stalled_or_unbounded_one_is_named():
    torch.manual_seed(5)
    found = objective("vrnn", std=1.0).float()
    for parameter in found.critic.parameters():
        torch.nn.init.zeros_(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            valid = found.validate(held_out())
    numbers = valid.numbers
    assert numbers[ESTIMATE] == 0
    assert numbers["kl_nats_per_frame"] > 0.1
    difference = numbers["reconstruction_nats_per_frame"] - numbers["kl_nats_per_frame"]
    assert abs(difference - valid.score) < 3  # one draw each, and the KL in closed form in one
    with pytest.warns(CriticWarning, match="hardly distinguishes paths"):
        found.validate(held_out())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.validate(held_out())  # once
    found = objective("vrnn").float()
    found.critic.forward = lambda batch, z: 1e6 * z.sum((-1, -2))
    with pytest.warns(CriticWarning, match="has diverged"):
        found.validate(held_out())


def test_a_model_that_does_not_name_its_prior_is_refused():

    model = STORN(INFOS["bernoulli"], **FEATURES)
    for names, why in ((None, "does not say"), (("transition",), "names transition in")):
        model.prior_modules = names
        with pytest.raises(CompatibilityError, match=why):
            AVRNN(model, RecurrentNormal(model))


def test_killed_and_resumed(tiny, tmp_path):
    values = tiny_values(tiny)
    values["model"] = {"name": "vrnn", **FEATURES}
    values["objective"] = {"name": "avrnn", "bound": "penalty", **CRITIC}
    fit_config(resolve(values), tmp_path / "whole")
    with pytest.raises(Killed):
        fit_config(resolve(values), tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_parameters_that_belong_to_no_module_are_of_the_reconstruction():
    """A model's own parameter, and one of a module that the prior is a part of."""
    found = objective()
    model = found.model
    model.own = torch.nn.Parameter(torch.ones(()))
    model.both = torch.nn.ModuleDict({"prior": model.prior, "other": torch.nn.Linear(1, 1)})
    phases = {each.name: {id(p) for p in each.parameters()} for each in found.phases()}
    prior = {id(p) for p in model.prior.parameters()}
    assert not phases["reconstruction"] & prior
    assert {id(p) for p in model.parameters()} <= phases["reconstruction"] | prior
    assert prior <= phases["adversary"]
