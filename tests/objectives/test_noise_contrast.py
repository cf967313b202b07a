"""Noise-contrastive objectives on sequences against the enumeration of every sequence."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from noisy_fields import ALPHA, DATA, INFO, NU, made, sequences
from torch import nn

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm import Run, fit
from pyrodgm.batch import Batch
from pyrodgm.data import load
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import RunFolderError, UsageError
from pyrodgm.guides import Marginals, NoGuide, RNNGuide
from pyrodgm.models import RNN, SequenceField
from pyrodgm.objectives import DNCE, ML, NCE
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.averaging import warm_decay
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training
from pyrodgm.train.turns import Stepping


def exact(objective, alpha=1.0):
    """J by a sum over every sequence of the length of every datum."""
    model, guide, total = objective.model, objective.guide, 0.0
    for bits in DATA:
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(bits)))).double()
        batch = Batch.of(every[..., None])
        log_q = guide.log_prob(batch.x, batch).sum(-1).detach()
        u = model.potential(batch.x, batch).sum(-1)
        ratio = u - objective.log_z(batch)[:, 0] - log_q - math.log(NU)
        of_data = (every == torch.tensor(bits)).all(-1).double()
        mixed = alpha * of_data + (1 - alpha) * log_q.exp()
        right = (mixed * F.logsigmoid(ratio)).sum()
        total = total + right + NU * (log_q.exp() * F.logsigmoid(-ratio)).sum()
    return total / len(DATA)


@pytest.mark.parametrize(
    ("kind", "reference", "log_z"),
    [(NCE, "none", "by-length"), (DNCE, "none", "shared"), (DNCE, "noise", "by-length")],
)
def test_the_mean_gradient_is_that_of_the_objective(kind, reference, log_z):
    options = {"interpolation": ALPHA} if kind is DNCE else {}
    objective = made(kind, reference, log_z, **options)
    weights = [*objective.model.parameters(), *objective.log_z.parameters()]
    batch = sequences().batch(np.arange(len(DATA)))
    batch = replace(batch, x=batch.x.double()).repeated(150)
    found = sample_gradients(lambda: objective(batch).surrogate, weights, 80)
    assert_mean(-found, gradient(exact(objective, ALPHA if options else 1.0), weights))


@pytest.mark.parametrize("reference", ["none", "noise"])
def test_whole_sequences_are_classified_and_padding_changes_nothing(reference):
    objective = made(NCE, reference)
    batch = sequences().batch(np.arange(len(DATA)))
    batch = replace(batch, x=batch.x.double())
    ratios = objective.log_ratios(batch.x, batch)
    assert ratios.shape == (len(DATA),)
    for row, bits in enumerate(DATA):
        alone = Batch.of(torch.tensor(bits).double()[None, :, None])
        nats = objective.model.potential(alone.x, alone) - objective.guide.log_prob(alone.x, alone)
        torch.testing.assert_close(ratios[row], (nats - objective.log_z(alone)).sum())


def test_dnce_without_interpolation_and_with_a_noise_that_has_ended_learning_is_nce():
    losses = []
    for kind, options in ((NCE, {}), (DNCE, {"interpolation": 1.0, "noise_ends": True})):
        objective = made(kind, **options)
        assert [phase.name for phase in objective.built_phases] == ["field"]
        torch.manual_seed(0)
        batch = sequences().batch(np.arange(len(DATA)))
        losses.append(objective(replace(batch, x=batch.x.double())).surrogate)
    assert torch.equal(*losses)


def test_j_is_the_variational_value_of_an_f_divergence():
    """Equation 54 of the review: J + nu log nu, and it is largest where the model is the data."""
    objective = made(NCE)
    f_value = 0.0
    for bits in DATA:
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(bits)))).double()
        batch = Batch.of(every[..., None])
        log_q = objective.guide.log_prob(batch.x, batch).sum(-1)
        log_p = (objective.model.potential(batch.x, batch) - objective.log_z(batch)).sum(-1)
        t = log_p - torch.logaddexp(log_p, math.log(NU) + log_q)
        of_data = (every == torch.tensor(bits)).all(-1).double()
        conjugate = NU * math.log(NU) - NU * torch.log1p(-t.exp())
        f_value = f_value + (of_data * t - log_q.exp() * conjugate).sum() / len(DATA)
    torch.testing.assert_close(exact(objective), f_value + NU * math.log(NU))


def test_the_noise_learns_by_maximum_likelihood_and_the_field_does_not_touch_it():
    objective = made(DNCE, "noise")
    field, noise = objective.built_phases
    batch = sequences().batch(np.arange(len(DATA)))
    batch = replace(batch, x=batch.x.double())
    own = {id(p) for p in field.parameters()}
    assert own.isdisjoint({id(p) for p in objective.guide.parameters()})
    nats = objective.guide.log_prob(batch.x, batch).sum() / len(DATA)
    weights = list(objective.guide.parameters())
    torch.testing.assert_close(
        gradient(noise.loss(batch).surrogate, weights), gradient(-nats, weights)
    )


def test_the_noise_has_its_own_rate_and_the_other_options_of_training():
    objective = made(DNCE, "noise", noise_lr=0.02)
    of_fit = FitOptions(lr=0.1, clip_norm=1.0, weight_decay=0.1, betas=(0.5, 0.9))
    field, noise = Stepping.all_of(objective, of_fit)
    assert field.options == of_fit
    assert noise.options == replace(of_fit, lr=0.02)


def test_noise_steps_come_before_the_fields_first_and_may_be_the_noises_last():
    """Which of the two has changed after every step."""
    split = sequences()
    for ends, expected in ((False, [(0, 1), (0, 1), (1, 1)]), (True, [(0, 1), (0, 1), (1, 0)])):
        objective = made(DNCE, "noise", noise_steps=2, noise_ends=ends).float()
        options = FitOptions(steps=3, batch_size=8)
        training = Training(objective, Splits(INFO, split, split, split), options, launch(options))
        parts = [objective.model, objective.guide]
        kept = [nn.utils.parameters_to_vector(part.parameters()).clone() for part in parts]
        found = []
        for _ in training.steps():
            now = [nn.utils.parameters_to_vector(part.parameters()).clone() for part in parts]
            found.append(tuple(int(not torch.equal(*both)) for both in zip(now, kept, strict=True)))
            kept = now
        assert found == expected


def test_the_learned_normalisers_of_a_field_are_those_of_enumeration():
    """A field that can be the data's distribution, trained to the end of its exact objective."""
    objective = made(NCE)
    weights = [*objective.model.parameters(), *objective.log_z.parameters()]
    optimizer = torch.optim.LBFGS(weights, max_iter=400, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -exact_against(objective, target)
        loss.backward()
        return loss

    target = made(NCE).model  # another field of the same form gives the data
    with torch.no_grad():
        for parameter in weights:
            parameter.mul_(0.8)
    optimizer.step(closure)
    with torch.no_grad():
        for length in range(1, 5):
            batch = Batch.of(torch.zeros(1, length, 1).double())
            learned = float(objective.log_z(batch).sum())
            assert learned == pytest.approx(
                float(objective.model.log_normalisers(batch).sum()), rel=0.01
            )


def exact_against(objective, target):
    """J where the data of every length is distributed as a field."""
    total = 0.0
    for length in range(1, 5):
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=length))).double()
        batch = Batch.of(every[..., None])
        log_q = objective.guide.log_prob(batch.x, batch).sum(-1).detach()
        p = target.potential(batch.x, batch).sum(-1).softmax(0).detach()
        ratio = objective.log_ratios(batch.x, batch) - math.log(NU)
        total = total + (p * F.logsigmoid(ratio) + NU * log_q.exp() * F.logsigmoid(-ratio)).sum()
    return total


def test_the_contrast_on_held_out_sequences_is_that_of_its_ratios():
    objective = made(NCE).eval()
    large = Sequences(np.tile(sequences().x.numpy(), (300, 1)), np.tile(sequences().lengths, 300))
    torch.set_default_dtype(torch.float64)
    try:
        found = objective.held_out_contrast(large)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert found == pytest.approx(float(exact(objective)), rel=0.05)


def test_the_log_z_that_is_evaluated_is_averaged_as_the_weights_of_the_field_are():
    split = sequences()
    splits = Splits(INFO, split, split, split)
    options = FitOptions(steps=6, lr=0.1, averaging=0.9)
    objective = made(DNCE).float()
    training = Training(objective, splits, options, launch(options))
    level, levels = objective.log_z.level, []
    for _ in training.steps():
        levels.append(level.item())
    average = levels[0]
    for count, new in enumerate(levels[1:], start=1):
        average += (1 - warm_decay(0.9, count)) * (new - average)
    with training.average.used():
        assert level.item() == pytest.approx(average, rel=1e-5)
    assert level.item() == levels[-1] != pytest.approx(average, rel=1e-2)


def test_an_averaged_run_has_the_log_z_of_its_weights(tmp_path):
    split = sequences()
    splits = Splits(INFO, split, split, split)
    model = SequenceField(INFO, hidden_dim=(3, 2))
    objective = NCE(model, Marginals(model))
    run = fit(objective, splits, out=tmp_path / "field", steps=4, lr=0.1, averaging=0.9)
    again = NCE(model := SequenceField(INFO, hidden_dim=(3, 2)), Marginals(model))
    again = Run.load(tmp_path / "field", objective=again, splits=splits)
    for name, value in run.objective.log_z.state_dict().items():
        assert torch.equal(value, again.objective.log_z.state_dict()[name])
    assert again.objective.held_out_contrast(split) == run.objective.held_out_contrast(split)


def test_the_noise_starts_with_the_weights_of_a_run_of_its_own(tmp_path):
    split = sequences()
    splits = Splits(INFO, split, split, split)
    alone = ML(net := RNN(INFO, hidden_dim=3), NoGuide(net))
    run = fit(alone, splits, out=tmp_path / "rnn", steps=2, averaging=0.5)
    model = SequenceField(INFO, hidden_dim=(3, 2))
    objective = NCE(model, RNNGuide(model, hidden_dim=3), noise_from=str(tmp_path / "rnn"))
    fitted = fit(objective, splits, out=tmp_path / "field", steps=2)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, fitted.guide.program.state_dict()[name])


def test_a_run_of_another_model_or_a_guide_that_is_no_model_is_refused(tmp_path):
    objective = made(NCE, noise_from=str(tmp_path))
    with pytest.raises(UsageError, match="is not a model of observations"):
        objective.initialise()
    model = SequenceField(INFO)
    objective = NCE(model, RNNGuide(model), noise_from=str(tmp_path / "missing"))
    with pytest.raises(RunFolderError, match="there is no run folder"):
        objective.initialise()


def test_sequences_of_symbols_fit_and_are_drawn(tmp_path):
    """Symbols that follow each other in turn; the marginals know nothing of it."""
    rng = np.random.default_rng(0)
    x = np.concatenate([(rng.integers(3) + np.arange(4)) % 3 for _ in range(60)])[:, None]
    np.savez(tmp_path / "symbols.npz", train=x, train_lengths=np.full(60, 4))
    splits = load(str(tmp_path / "symbols.npz"))
    model = SequenceField(splits.info, network="features", history=1)
    options = {"steps": 60, "lr": 0.1, "batch_size": 20}
    run = fit(NCE(model, Marginals(model)), splits, out=tmp_path / "run", **options)
    found = run.field_likelihood("test", draws=300)
    assert found.above_noise > 5 * found.above_noise_error
    drawn = run.sample(20, 4)["x"][..., 0]
    assert ((drawn[:, 1:] - drawn[:, :-1]) % 3 == 1).double().mean() > 0.6
