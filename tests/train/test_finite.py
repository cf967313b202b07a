"""The immediate and the deferred check of finite numbers, on the CPU, side by side."""

from itertools import islice

import pytest
import torch
from failing import BadAt
from torch import nn

from pyrodgm.data import ragged
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training
from pyrodgm.train.nonfinite import NonFiniteLoss
from pyrodgm.train.optimisers import GravesRMSprop

OPTIMIZERS = [
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.1, "clip_norm": 0.5},
    {"optimizer": "rmsprop", "weight_decay": 0.1},
]


@pytest.fixture
def splits(tiny):
    return ragged.read(tiny)


def training(splits, step, *, deferred, part="loss", **options):
    chosen = FitOptions(**{"steps": 5, "batch_size": 8, "device": "cpu", **options})
    return Training(BadAt(step, splits, part), splits, chosen, launch(chosen), deferred=deferred)


def assert_same_weights(one, other):
    assert all(map(torch.equal, one.objective.parameters(), other.objective.parameters()))


@pytest.mark.parametrize("options", OPTIMIZERS)
def test_both_ways_take_the_same_steps(splits, options):
    made = [training(splits, 0, deferred=deferred, **options) for deferred in (False, True)]
    for each in made:
        list(each.steps())
    assert_same_weights(*made)
    states = [each.state_dict()["optimizers"][0]["state"] for each in made]
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        for name, number in states[0][key].items():
            assert torch.equal(number, states[1][key][name])
    averages = [each.average.module.parameters() for each in made]
    assert all(map(torch.equal, *averages))


@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("part", ["loss", "gradient"])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_both_ways_raise_the_same_and_move_nothing(splits, step, part, options):
    before = training(splits, 0, deferred=False, **options)
    list(islice(before.steps(), step - 1))
    messages, batches = [], []
    for deferred in (False, True):
        made = training(splits, step, deferred=deferred, part=part, **options)
        with pytest.raises(NonFiniteLoss, match=f"step {step}: the loss of phase 'all'") as caught:
            list(made.steps())
        messages.append(str(caught.value))
        batches.append(caught.value.batch.index.tolist())
        assert caught.value.step == step
        assert_same_weights(made, before)
        # Moments that were never updated are zero or missing.
        kept = before.optimizers[0].state
        for parameter, old in zip(
            made.objective.parameters(), before.objective.parameters(), strict=True
        ):
            for name, number in made.optimizers[0].state[parameter].items():
                assert torch.equal(number, kept[old].get(name, torch.zeros_like(number)))
    assert messages[0] == messages[1]
    assert batches[0] == batches[1]
    assert ("is not finite in model.x_bias" in messages[0]) == (part == "gradient")
    assert ("Nothing has been learned yet" in messages[0]) == (step == 1)


@pytest.mark.parametrize("read", [Training.validate, Training.state_dict, Training.settle])
def test_nothing_is_read_of_a_step_before_it_is_checked(splits, read):
    made = training(splits, 2, deferred=True)
    steps = made.steps()
    assert [next(steps).step, next(steps).step] == [1, 2]
    with pytest.raises(NonFiniteLoss, match="step 2"):
        read(made)


def test_the_check_starts_anew_after_an_error(splits):
    for deferred in (False, True):
        made = training(splits, 2, deferred=deferred)
        with pytest.raises(NonFiniteLoss):
            list(made.steps())
        now = [p.detach().clone() for p in made.objective.parameters()]
        list(made.steps())
        assert not any(map(torch.equal, now, made.objective.parameters()))


def test_a_skipped_update_of_rmsprop_changes_nothing_and_others_are_the_same():
    torch.manual_seed(0)
    start, gradients = torch.randn(40, 3), torch.randn(4, 40, 3)
    skipped = torch.tensor(0.0)
    plain, other = (nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [GravesRMSprop([p], lr=0.1) for p in (plain, other)]
    optimizers[1].found_inf = skipped
    for gradient in gradients:
        other.grad = torch.full_like(start, torch.nan)
        skipped.fill_(1)
        optimizers[1].step()
        if optimizers[0].state:
            assert torch.equal(plain, other)
        skipped.fill_(0)
        if not optimizers[0].state:
            optimizers[1].state.clear()  # the first gradient starts the moments
        for p, optimizer in zip((plain, other), optimizers, strict=True):
            p.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(plain, other)
