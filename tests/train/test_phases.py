"""Several phases in a step: whose batch, whose optimiser, in which steps, and what they keep."""

import copy
from itertools import chain, islice

import pytest
import torch
from adversarial import Adversarial, adversarial, points, ragged_points

from pyrodgm.data.loader import BatchSampler
from pyrodgm.errors import UsageError
from pyrodgm.objectives import Loss, Phase
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training


def training(objective, splits, **options):
    chosen = FitOptions(**{"steps": 6, "batch_size": 8, "device": "cpu", **options})
    return Training(objective, splits, chosen, launch(chosen))


def test_phases_are_built_once_and_a_copy_has_its_own():
    made = adversarial(points())
    assert made.built_phases is made.built_phases
    other = copy.deepcopy(made)
    assert [phase.loss.__self__ for phase in other.built_phases] == [other, other]
    own = {id(p) for phase in other.built_phases for p in phase.parameters()}
    assert own.isdisjoint({id(p) for p in made.parameters()})


def test_a_phase_has_its_own_optimiser_or_that_of_the_fit():
    made = training(adversarial(points(), critic_lr=0.2), points(), lr=0.1, betas=(0.8, 0.99))
    critic, generator = (optimizer.defaults for optimizer in made.optimizers)
    assert (critic["lr"], critic["betas"]) == (0.2, (0.5, 0.9))
    assert (generator["lr"], generator["betas"]) == (0.1, (0.8, 0.99))
    parameters = made.optimizers[0].param_groups[0]["params"]
    assert {id(p) for p in parameters} == {id(p) for p in made.objective.critic.parameters()}


def test_fresh_turns_have_batches_of_their_own_and_others_share_that_of_the_step():
    """Three turns of the critic a step; the generator takes one more batch in each second step."""
    splits = points()
    made = adversarial(splits)
    list(training(made, splits, steps=4).steps())
    sampler = BatchSampler(splits.train.lengths, 8, seed=0)
    expected = [rows.tolist() for rows in islice(sampler, 3 * 4 + 2)]
    del expected[6], expected[12]  # of the generator
    assert made.seen == expected


def test_a_batch_of_the_step_is_shared_by_all_turns():
    class Shared(Adversarial):
        def phases(self):
            turn = Phase("critic", (self.critic,), self.critic_loss, repeats=2)
            return (turn, Phase("again", (self.critic,), self.critic_loss))

    splits = points()
    made = adversarial(splits, Shared)
    list(training(made, splits, steps=2).steps())
    first, second = islice(BatchSampler(splits.train.lengths, 8, seed=0), 2)
    assert made.seen == [first.tolist()] * 3 + [second.tolist()] * 3


def test_a_phase_moves_in_each_nth_step_only_and_is_reported_in_between():
    made = training(adversarial(points()), points())
    shift, moved, reported = made.objective.model.shift, [], []
    before = shift.detach().clone()
    for progress in made.steps():
        moved.append(not torch.equal(shift, before))
        before = shift.detach().clone()
        reported.append(float(progress.report.get("generator_loss", torch.nan)))
    # The schedule is zero the first time that it is called: that step's gradient is zero.
    assert moved == [False, False, False, True, False, True]
    assert reported[3] == reported[4] != reported[5]


def test_the_penalty_of_a_critic_is_differentiated_right():
    """The whole loss against finite differences, through the gradient inside it."""
    splits = ragged_points()
    made = adversarial(splits).double()
    made.eval()
    batch = splits.train.batch([0, 1, 2])
    batch.x = batch.x.double()

    names = [name for name, _ in made.critic.named_parameters(prefix="critic")]
    whole = Critic(made)

    def loss(*parameters):
        torch.manual_seed(0)
        given = {f"made.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(whole, given, batch)

    assert torch.autograd.gradcheck(loss, tuple(made.critic.parameters()))


class Critic(torch.nn.Module):
    """The loss of the critic's phase."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, batch):
        return self.made.critic_loss(batch).surrogate


def test_a_generator_learns_where_the_data_is():
    splits = points()
    made = adversarial(splits)
    run = training(made, splits, steps=150, lr=0.04, averaging=0.9)
    list(run.steps())
    with run.average.used():
        assert made.model.shift.tolist() == pytest.approx([0.0, 0.0], abs=0.3)


def test_every_row_is_counted_as_often_as_it_was_seen():
    """A cache of rows: ragged sequences, shuffled, in any company, after a kill and a resume."""
    splits = ragged_points()
    made = adversarial(splits)
    list(training(made, splits, steps=5).steps())
    half = adversarial(splits)
    first = training(half, splits, steps=2)
    list(first.steps())
    resumed = adversarial(splits)
    second = training(resumed, splits, steps=5)
    resumed.load_state_dict(half.state_dict())
    second.load_state_dict(first.state_dict())
    list(second.steps())
    everything = splits.train.batch(range(len(splits.train)))
    counts = torch.bincount(torch.tensor([*chain(*made.seen)]), minlength=len(splits.train))
    expected = everything.mask * counts[:, None]
    for each in (made, resumed):
        cached = each.rows.read(everything)
        assert torch.equal(cached, expected[..., None].expand_as(cached).float())
    assert torch.equal(made.chains["x"], resumed.chains["x"])
    assert torch.equal(made.mean.value, resumed.mean.value)
    assert int(made.weight.count) == int(resumed.weight.count) == 2


def test_impossible_turns_are_refused():
    for wrong in ({"repeats": 0}, {"every": 0}):
        with pytest.raises(UsageError, match="give at least 1 of each"):
            Phase("one", (), lambda batch: Loss(torch.ones(()), {}), **wrong)


def test_betas_are_for_adam():
    with pytest.raises(UsageError, match="betas are for optimizer 'adam'"):
        FitOptions(optimizer="rmsprop", betas=(0.5, 0.9))
