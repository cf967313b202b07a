from dataclasses import replace
from typing import ClassVar

import pyro
import pytest
import torch
from torch import nn

from pyrodgm.data import ragged
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import ELBO, NVIL, Loss, Needs, Objective, Phase
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.averaging import Average
from pyrodgm.train.devices import check_devices, launch
from pyrodgm.train.loop import Training
from pyrodgm.train.nonfinite import NonFiniteLoss
from tiny import ragged as ragged_arrays


@pytest.fixture
def splits(tiny):
    return ragged.read(tiny)


def objective(splits, kind=ELBO, **own):
    pyro.set_rng_seed(0)
    model = TSBN(splits.info, hidden_dim=3)
    return kind(model, RecurrentBernoulli(model), **own)


def training(splits, made=None, **options):
    chosen = FitOptions(**{"steps": 3, "batch_size": 8, "device": "cpu", **options})
    return Training(made or objective(splits), splits, chosen, launch(chosen))


def scoring(score):
    return Validation("bound", score)


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


class TwoPhases(Objective):
    """Model and guide in turns, to see who moves when."""

    needs: ClassVar[Needs] = Needs()

    def __init__(self, model, guide, *, repeats=1, clip=False):
        super().__init__(model, guide)
        self.order = []
        self.repeats, self.clip = repeats, clip

    def phases(self):
        after = self.clamp if self.clip else None
        return (
            Phase("model", (self.model,), self.turn("model"), repeats=self.repeats),
            Phase("guide", (self.guide,), self.turn("guide"), after=after),
        )

    def clamp(self):
        for p in self.guide.parameters():
            p.data.clamp_(-0.01, 0.01)

    def turn(self, name):
        def loss(batch):
            self.order.append(name)
            self.asked = [n for n, p in self.named_parameters() if p.requires_grad]
            # Both modules take part in both losses; only the phase's own may move.
            total = sum((p**2).sum() for p in self.parameters())
            return Loss(total, {name: total.detach()})

        return loss


def test_the_steps_are_counted_and_reported(splits):
    made = training(splits)
    progress = list(made.steps())
    assert [p.step for p in progress] == [1, 2, 3]
    assert progress[-1].seconds > progress[0].seconds > 0
    assert set(progress[0].report) == {"elbo_nats_per_frame"}
    assert not any(value.requires_grad for p in progress for value in p.report.values())


def test_phases_take_turns_and_report_together(splits):
    made = objective(splits, TwoPhases, repeats=2)
    (progress,) = training(splits, made, steps=1).steps()
    assert made.order == ["model", "model", "guide"]
    assert set(progress.report) == {"model", "guide"}


def test_a_phase_moves_its_own_parameters_only(splits):
    made = objective(splits, TwoPhases)
    trained = training(splits, made, steps=1)
    before = weights(made)
    model, guide = trained.steppings
    batch = splits.train.batch([0, 1])
    trained._turn(model, batch)
    moved = [name for name, p in made.named_parameters() if not torch.equal(p, before[name])]
    assert moved
    assert all(name.startswith("model.") for name in moved)
    assert all(name.startswith("model.") for name in made.asked)
    before = weights(made)
    trained._turn(guide, batch)
    moved = [name for name, p in made.named_parameters() if not torch.equal(p, before[name])]
    assert moved
    assert all(name.startswith("guide.") for name in moved)


def test_what_runs_after_a_phase_runs_after_its_step(splits):
    made = objective(splits, TwoPhases, clip=True)
    list(training(splits, made).steps())
    assert max(float(p.detach().abs().max()) for p in made.guide.parameters()) <= 0.01


@pytest.mark.parametrize("kind", [ELBO, TwoPhases])
def test_frozen_parameters_stay_frozen_and_unmoved(splits, kind):
    made = objective(splits, kind)
    made.model.x_bias.bias.requires_grad_(False)
    before = made.model.x_bias.bias.clone()
    list(training(splits, made).steps())
    assert torch.equal(made.model.x_bias.bias, before)
    assert not made.model.x_bias.bias.requires_grad


def test_the_same_seed_gives_the_same_weights_and_another_one_others(splits):
    results = []
    for seed in (0, 0, 1):
        made = objective(splits)
        list(training(splits, made, seed=seed).steps())
        results.append(weights(made))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_the_time_limit_ends_training(splits):
    made = training(splits, steps=None, time_limit=0.05)
    assert len(list(made.steps())) < 10**4
    assert made.seconds >= 0.05


def test_an_infinite_weight_is_found_at_its_site_and_nothing_moves(splits):
    made = objective(splits)
    made.model.layers[0].past.weight.data.fill_(float("inf"))
    before = weights(made)
    first_rows = next(training(splits, made).sampler)
    with pytest.raises(NonFiniteLoss) as caught:
        list(training(splits, made).steps())
    assert {"p(z)"} <= set(caught.value.sites)
    assert "step 1: the loss of phase 'all' is nan; not finite at p(z)" in str(caught.value)
    assert caught.value.batch.index.tolist() == first_rows.tolist()
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())


class BadGradient(Objective):
    """A loss that is finite while its gradient is not."""

    needs: ClassVar[Needs] = Needs()

    def loss(self, batch):
        return Loss((self.model.x_bias.bias * 0).sum().sqrt(), {})


def test_a_gradient_that_is_not_finite_is_named_and_nothing_moves(splits):
    made = objective(splits, BadGradient)
    before = weights(made)
    with pytest.raises(NonFiniteLoss, match=r"is 0; its gradient is not finite in model\.x_bias"):
        list(training(splits, made).steps())
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())


def test_the_objectives_own_part_is_named_where_the_sites_are_finite(splits):
    made = objective(splits, NVIL)
    made.baseline[-1].bias.data.fill_(1e30)
    with pytest.raises(NonFiniteLoss, match="every site is finite"):
        list(training(splits, made).steps())


def test_the_average_forgets_its_start():
    """By hand: weights of (1 + n) / (10 + n) for the past, until that is the decay."""
    weights, expected = torch.nn.Linear(1, 1, bias=False), 0.0
    average = Average(weights, 0.5)
    for n in range(20):
        torch.nn.init.constant_(weights.weight, 3.0 - n)
        average.update()
        past = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        expected = past * expected + (1 - past) * (3.0 - n)
        assert average.module.weight.item() == pytest.approx(expected)


def test_what_is_evaluated_is_the_average_of_what_is_trained(splits):
    """Each step's weights enter it as the running average says."""
    made = training(splits, steps=6, averaging=0.9, lr=0.1)
    kept = None
    for step, _ in enumerate(made.steps()):
        now = [p.detach().clone() for p in made.objective.parameters()]
        if kept is None:
            kept = now
        else:
            past = min(0.9, (1 + step) / (10 + step))
            kept = [past * old + (1 - past) * new for old, new in zip(kept, now, strict=True)]
        with made.average.used():
            evaluated = [p.detach().clone() for p in made.objective.parameters()]
        for average, weight in zip(kept, evaluated, strict=True):
            torch.testing.assert_close(average, weight)
        assert all(map(torch.equal, now, made.objective.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))


@pytest.mark.parametrize("per_frame", [False, True])
def test_all_sequences_count_alike_over_an_epoch(splits, per_frame):
    """Weights of batches of any size: their gradients add up to that of all the data at once."""
    made = objective(splits, Sums)
    chosen = {"per_frame": per_frame, "averaging": 0.0, "batch_size": 7}
    ours = training(splits, made, **chosen)
    total, rows = 0.0, []
    while len(rows) < len(splits.train):
        batch = splits.train.batch(next(ours.sampler))
        rows += batch.index.tolist()
        total += ours._weight(batch) * float(made.loss(batch).surrogate)
    assert sorted(rows) == list(range(len(splits.train)))
    # A sequence adds its own sum; by frames, of its batch, the mean over frames.
    if not per_frame:
        assert total == pytest.approx(float(splits.train.x.sum()) / 7, rel=1e-5)
    else:
        whole = training(splits, made, per_frame=True, averaging=0.0, batch_size=1000)
        batch = splits.train.batch(range(len(splits.train)))
        mean = float(splits.train.x.sum()) / splits.train.num_frames
        assert whole._weight(batch) * float(made.loss(batch).surrogate) == pytest.approx(mean)


class Sums(Objective):
    """The mean over sequences of the sum of what is observed."""

    needs: ClassVar[Needs] = Needs()

    def loss(self, batch):
        return Loss(batch.x.sum() / batch.size, {})


def test_the_learning_rate_decays_by_what_was_asked_for(splits):
    made = training(splits, lr=0.1, lr_decay=0.3, lr_patience=1)
    for _ in range(3):
        made.end_of_evaluation(scoring(-5.0))
    assert made.lr == pytest.approx(0.03)


def test_nothing_to_choose_by_leaves_the_learning_rate(splits):
    made = training(splits, lr=0.1, lr_patience=1)
    for _ in range(5):
        made.end_of_evaluation(Validation())
    assert made.lr == 0.1


def test_the_average_is_of_model_and_guide_alone(splits):
    made = training(splits, objective(splits, NVIL))
    names = {name for name, _ in made.average.module.named_parameters()}
    pair = nn.ModuleDict({"model": made.objective.model, "guide": made.objective.guide})
    assert names == {name for name, _ in pair.named_parameters()}


def test_the_state_holds_everything(splits):
    half = training(splits, steps=2)
    list(half.steps())
    state = half.state_dict()
    whole = training(splits, steps=4)
    list(whole.steps())
    continued = training(splits, steps=4)
    continued.objective.load_state_dict(half.objective.state_dict())
    continued.average.module.load_state_dict(half.average.module.state_dict())
    continued.load_state_dict(state)
    assert len(list(continued.steps())) == 2
    for name, parameter in whole.objective.named_parameters():
        assert torch.equal(parameter, dict(continued.objective.named_parameters())[name])
    for name, parameter in whole.average.module.named_parameters():
        assert torch.equal(parameter, dict(continued.average.module.named_parameters())[name])


def test_a_batch_larger_than_the_data_is_all_of_it(splits):
    made = training(splits, batch_size=1000)
    assert len(next(made.sampler)) == len(splits.train) == len(ragged_arrays()["train_lengths"])


def test_training_looks_at_augmented_sequences(splits):
    more = replace(splits, augmented=splits.train.select([1, 1, 2]))
    seen = []
    made = training(more, steps=1, batch_size=1000)
    made._module = lambda batch, phase: seen.append(batch) or made.objective(batch, phase)
    list(made.steps())
    assert sorted(seen[0].lengths.tolist()) == sorted(more.training.lengths.tolist())


def test_mixed_precision_trains(splits):
    made = training(splits, precision="bf16")
    assert len(list(made.steps())) == 3
    assert all(p.dtype == torch.float32 for p in made.objective.parameters())


@pytest.mark.parametrize("by", [0.0, -1e-4, -1.0])
@pytest.mark.parametrize("first", [-7.0, -100.0, 0.0, 20.0])
def test_the_learning_rate_decays_unless_the_score_rises(splits, first, by):
    made = training(splits, lr=1.0, lr_patience=3, lr_decay=0.5)
    for turn in range(5):
        assert made.lr == 1.0
        made.end_of_evaluation(scoring(first + turn * by))
    assert made.lr == 0.5
    rising = training(splits, lr=1.0, lr_patience=3)
    for turn in range(20):
        rising.end_of_evaluation(scoring(first + turn * 1e-5))
    assert rising.lr == 1.0


@pytest.mark.parametrize(
    ("shape", "rates"), [("cosine", [1, 0.853553, 0.5, 0.146447]), ("linear", [1, 0.75, 0.5, 0.25])]
)
def test_rates_fall_over_the_steps(splits, shape, rates):
    made = training(splits, lr=0.1, lr_schedule=shape, steps=4)
    seen = [made.lr for _ in made.steps()]
    assert seen == pytest.approx([0.1 * rate for rate in rates], rel=1e-5)
    made.end_of_evaluation(scoring(-5.0))
    assert made.lr == seen[-1]


def test_rates_fall_over_the_time_of_a_restart(splits):
    made = training(splits, lr=0.1, lr_schedule="linear", time_limit=100.0, restarts=2)
    made.seconds = 20.0
    next(made.steps())
    assert made.lr == pytest.approx(0.06)
    made.seconds = 50.0
    assert not list(made.steps())
    second = made.again(objective(splits, NVIL))
    next(second.steps())
    assert second.lr == pytest.approx(0.1)


def test_rates_go_on_falling_after_a_resume(splits):
    half = training(splits, lr=0.1, lr_schedule="linear", steps=4)
    run = half.steps()
    next(run), next(run)
    continued = training(splits, lr=0.1, lr_schedule="linear", steps=4)
    continued.load_state_dict(half.state_dict())
    assert [continued.lr for _ in continued.steps()] == pytest.approx([0.05, 0.025])


def test_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="torch finds no CUDA device here; use --device auto"):
        check_devices(FitOptions(device="cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="--devices 2: torch finds 1 CUDA devices"):
        check_devices(FitOptions(device="cuda", devices=2))


def test_more_processes_than_sequences_in_a_batch_are_refused():
    with pytest.raises(UsageError, match="give --batch-size 4 or more"):
        check_devices(FitOptions(devices=2, num_nodes=2, batch_size=3))


def test_modules_of_a_phase_are_counted_once():
    linear = nn.Linear(2, 2)
    phase = Phase("all", (nn.Sequential(linear), linear), lambda batch: Loss(torch.ones(()), {}))
    assert len(list(phase.parameters())) == 2


def gradient_after_one_step(splits, **options):
    made = training(splits, steps=1, **options)
    list(made.steps())
    grads = [p.grad.flatten() for p in made.objective.parameters() if p.grad is not None]
    return torch.cat(grads)


def test_a_long_gradient_is_cut_down(splits):
    whole = gradient_after_one_step(splits)
    cut = gradient_after_one_step(splits, clip_norm=0.5)
    assert float(whole.norm()) > 1
    torch.testing.assert_close(cut, 0.5 * whole / whole.norm(), rtol=1e-4, atol=1e-6)


def test_a_loss_per_frame_is_divided_by_the_frames_of_a_sequence(splits):
    everything = len(splits.train)
    whole = gradient_after_one_step(splits, batch_size=everything)
    each = gradient_after_one_step(splits, batch_size=everything, per_frame=True)
    torch.testing.assert_close(each * splits.info.mean_length, whole)


def test_a_time_limit_alone_ends_training():
    """There is no limit of steps beside it, unless one is given."""
    assert FitOptions().steps == 20_000
    assert FitOptions(time_limit=3.0).steps is None
    assert FitOptions(time_limit=3.0, steps=7).steps == 7
