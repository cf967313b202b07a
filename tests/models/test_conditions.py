"""Conditions against formulas: sums over paths and states, hand-written loops, and their reach."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oracles import Enumerated, all_paths, assert_mean, bernoulli, gaussian
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.programs import generate
from pyrodgm.engine.smc import frame_evidence
from pyrodgm.errors import DataError
from pyrodgm.evaluate.prediction.impute import impute
from pyrodgm.evaluate.prediction.one_step import one_step
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM, LDS, MODELS, RNN, RNNNADE, TSBN, StepModel
from pyrodgm.networks.conditions import Conditions
from variants import (
    CENTRE,
    INFOS,
    SPREAD,
    VARIANTS,
    WITH_CONDITIONS,
    D,
    assert_executions_agree,
    conditions,
    frames,
    output_log_probs,
    pair,
    path_log_probs,
    randomised,
    scoring,
)

B, T, C = 6, 4, 3
GIVEN = {name: replace(info, **WITH_CONDITIONS) for name, info in INFOS.items()}
WITHOUT_LATENTS = {
    "ar": lambda: AR(GIVEN["bernoulli"], history=2, hidden_dim=3),
    "ar order 0": lambda: AR(GIVEN["bernoulli"], history=0),
    "gru": lambda: RNN(GIVEN["bernoulli"], hidden_dim=4),
    "lstm": lambda: RNN(GIVEN["bernoulli"], hidden_dim=4, cell="lstm"),
    "relu": lambda: RNN(GIVEN["bernoulli"], hidden_dim=4, cell="relu"),
    "rnn-nade": lambda: RNNNADE(GIVEN["nade"], hidden_dim=4, nade_dim=2),
    "hmm": lambda: HMM(GIVEN["bernoulli"], num_states=C),
}


def nats(model: StepModel, x: Tensor, given: Tensor) -> Tensor:
    """log p(x_t | x_<t), (B, T)."""
    return path_log_probs(model, Batch.of(x, given), {})["x"][0]


@pytest.mark.parametrize("emission", ["bernoulli", "gaussian", "nade"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_latent_models_and_guides_follow_their_formulas(variant, emission) -> None:
    """On all paths of the latents, with every term of the conditions."""
    model, guide = pair(variant, emission, **WITH_CONDITIONS)
    x = frames(emission, VARIANTS[variant].length)
    given, standardised = conditions(len(x))
    exact = Enumerated(model, guide, x, **scoring(model, emission), given=standardised)
    paths = {name: path[:, None] for name, path in exact.paths.items()}
    batch = Batch.of(x[None], given[None])
    for program, expected in ((model, exact.log_p), (guide, exact.log_q)):
        sites = path_log_probs(program, batch, paths)
        torch.testing.assert_close(sum(sites.values())[:, 0], expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_equals_unrolled_with_latents(variant) -> None:
    for program in pair(variant, **WITH_CONDITIONS):
        given, _ = conditions(B, T)
        assert_executions_agree(program, Batch.of(frames("bernoulli", B, T), given))


@pytest.mark.parametrize("name", WITHOUT_LATENTS)
def test_fused_equals_unrolled_without_latents(name) -> None:
    given, _ = conditions(B, T)
    batch = Batch.of(frames("nade", B, T), given)
    batch.mask[0, 2:] = False
    assert_executions_agree(randomised(WITHOUT_LATENTS[name]()), batch)


CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "relu": nn.RNNCell}


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_networks_follow_torch_cells(cell: str) -> None:
    """The conditions of a frame are inputs of its own step, and add to its output."""
    model = randomised(RNN(GIVEN["bernoulli"], hidden_dim=4, cell=cell), std=0.4)
    x, (given, standardised) = frames("bernoulli", B, T), conditions(B, T)
    options = {"nonlinearity": "relu"} if cell == "relu" else {}
    other = CELLS[cell](D + 3, 4, **options).double()
    ours = model.cell if cell == "relu" else model.cell.network
    weights = (
        [ours.drive.weight, ours.cell.recurrent.weight, ours.drive.bias, 0 * ours.drive.bias]
        if cell == "relu"
        else list(ours.parameters())
    )
    with torch.no_grad():
        for theirs, parameter in zip(other.parameters(), weights, strict=True):
            theirs.copy_(parameter)
    state, exact = None, []
    for t in range(T):
        before = torch.zeros_like(x[:, 0]) if t == 0 else x[:, t - 1]
        state = other(torch.cat([before, standardised[:, t]], -1), state)
        h = state[0] if cell == "lstm" else state
        numbers = h @ model.x_from_h.weight.T + model.x_bias.bias[0]
        numbers = numbers + standardised[:, t] @ model.x_from_given.weight.T
        exact.append(bernoulli(numbers, x[:, t]))
    torch.testing.assert_close(nats(model, x, given), torch.stack(exact, -1))


def test_autoregression_regresses_on_conditions() -> None:
    model = randomised(AR(GIVEN["bernoulli"], history=1), std=0.5)
    x, (given, standardised) = frames("bernoulli", B, T), conditions(B, T)
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    numbers = before @ model.linear.weight.T + standardised @ model.x_from_given.weight.T
    numbers = numbers + model.x_bias.bias[[0, *[1] * (T - 1)]]
    torch.testing.assert_close(nats(model, x, given), bernoulli(numbers, x))


def hmm_nats(model: HMM, emission: str, x: Tensor, given: Tensor, seen: Tensor) -> Tensor:
    """log p of what was seen and the states, for every sequence of states, (C^T,)."""
    initial, moves = model.cell.initial.log_softmax(-1), model.cell.transition.log_softmax(-1)
    score = {"bernoulli": bernoulli, "gaussian": gaussian}[emission]
    value = (x - CENTRE) / SPREAD if emission == "gaussian" else x
    totals = []
    for states in itertools.product(range(C), repeat=len(x)):
        total = initial[states[0]] + sum(moves[a, b] for a, b in itertools.pairwise(states))
        for t, state in enumerate(states):
            numbers = model.by_state[state] + model.slopes[state] @ given[t]
            numbers = numbers.unflatten(-1, (-1, D))[:, seen[t]].flatten()
            total = total + score(numbers, value[t, seen[t]])
            if emission == "gaussian":
                total = total - SPREAD[seen[t]].log().sum()
        totals.append(total)
    return torch.stack(totals)


@pytest.mark.parametrize("some_missing", [False, True])
@pytest.mark.parametrize("emission", ["bernoulli", "gaussian"])
def test_hmm_equals_a_sum_over_states(emission: str, some_missing: bool) -> None:
    model = randomised(HMM(GIVEN[emission], num_states=C))
    x, (given, standardised) = frames(emission, B, T), conditions(B, T)
    batch = Batch.of(x, given)
    seen = torch.rand(x.shape) < 0.6 if some_missing else torch.ones_like(x, dtype=torch.bool)
    batch.seen = seen if some_missing else None
    exact = [
        hmm_nats(model, emission, x[row], standardised[row], seen[row]).logsumexp(0)
        for row in range(3)
    ]
    ours = path_log_probs(model, batch, {})["x"][0, :3].sum(-1)
    torch.testing.assert_close(ours, torch.stack(exact))


def test_hmm_fills_gaps_given_conditions() -> None:
    """The distribution of a missing feature given all that was seen, by a sum over states."""
    model = randomised(HMM(GIVEN["bernoulli"], num_states=C))
    x, (given, standardised) = frames("nade", 1, T), conditions(1, T)
    seen = torch.ones_like(x, dtype=torch.bool)
    seen[0, 1, 0] = seen[0, 2] = False
    batch = Batch.of(x, given)
    batch.seen = seen
    for t, d in ((1, 0), (2, 1)):
        told, one = seen[0].clone(), x[0].clone()
        without = hmm_nats(model, "bernoulli", x[0], standardised[0], told).logsumexp(0)
        told[t, d], one[t, d] = True, 1.0
        with_it = hmm_nats(model, "bernoulli", one, standardised[0], told).logsumexp(0)
        mean = model.smoothed(batch).mean[0, t, d]
        torch.testing.assert_close(mean, (with_it - without).exp())


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-s", "dtsbn-d"])
def test_the_particle_filter_is_unbiased(variant) -> None:
    model, guide = pair(variant, **WITH_CONDITIONS)
    model, guide = randomised(model, 0.3), randomised(guide, 0.3)
    x, (given, standardised) = frames("bernoulli", 3), conditions(3)
    exact = Enumerated(model, guide, x, given=standardised).evidence()
    batch = Batch.of(x.expand(4000, -1, -1), given.expand(4000, -1, -1))
    with torch.no_grad():
        found = frame_evidence(model, guide, batch, 16).sum(-1)
        assert_mean((found - exact).exp()[:, None], torch.ones(1))


@pytest.mark.parametrize("name", ["tsbn", "dtsbn-d", "gru", "hmm"])
def test_draws_follow_the_model(name: str) -> None:
    if name in VARIANTS:
        model, _ = pair(name, "nade", **WITH_CONDITIONS)
    else:
        model = WITHOUT_LATENTS[name]()
    model = randomised(model, 0.3)
    (given, _), values, num = conditions(2), all_paths(2, D), 60_000
    like = torch.zeros(()).double()
    draws = generate(model, num, 2, like, conditions=given.expand(num, -1, -1))["x"]
    exact = output_log_probs(model, values, given).exp().detach()
    assert float(exact.sum()) == pytest.approx(1)
    assert_mean((draws[:, None] == values).flatten(2).all(-1).double(), exact, power=0.1)


def expectations(name: str, x: Tensor, given: Tensor) -> Tensor:
    """What is expected of every frame having seen those before it, (B, T, D)."""
    torch.manual_seed(1)
    if name in VARIANTS:
        model, guide = pair(name, **WITH_CONDITIONS)
    else:
        model = randomised(WITHOUT_LATENTS[name]())
        guide = NoGuide(model)
    with torch.no_grad():
        return one_step(model, guide, Batch.of(x, given), samples=5)[0]


@pytest.mark.parametrize("name", [*[v for v in VARIANTS if v != "sbn"], *WITHOUT_LATENTS])
def test_a_condition_moves_its_own_frame_and_none_before(name: str) -> None:
    x, (given, _), frame = frames("nade", 2, T), conditions(2, T), 2
    other = given.clone()
    other[:, frame, :2] += torch.tensor([3.0, 0.4])
    one, two = (expectations(name, x, each) for each in (given, other))
    assert torch.equal(one[:, :frame], two[:, :frame])
    assert (one[:, frame] - two[:, frame]).abs().max() > 1e-3


def test_a_constant_condition_says_nothing_and_units_do_not_matter() -> None:
    given, standardised = conditions(B, T)
    network = Conditions(GIVEN["bernoulli"])
    changed = given.clone()
    changed[..., 2] = 1e9
    for each in (given, changed):
        found = network(Batch.of(torch.zeros(B, T, D), each))
        torch.testing.assert_close(found, standardised.float(), atol=1e-6, rtol=1e-6)


def test_gaps_are_filled_by_what_the_conditions_say() -> None:
    """A frame without a past is that of its conditions alone, seen or not."""
    model = randomised(AR(GIVEN["bernoulli"], history=0))
    x, (given, standardised) = frames("nade", T), conditions(T)
    x[1:3] = torch.nan
    split = Sequences(x.float().numpy(), np.array([T]), conditions=given.numpy())
    found = impute(model.float(), NoGuide(model), split, samples=4000)
    with torch.no_grad():
        numbers = standardised.float() @ model.x_from_given.weight.T + model.x_bias.bias[0]
    exact = numbers.sigmoid().numpy()[1:3]
    error = np.sqrt(exact * (1 - exact) / 4000)
    assert (np.abs(found.x[1:3] - exact) < 4.8 * error).all()


@pytest.mark.parametrize("number", [0, 2, 4])
@pytest.mark.parametrize("name", ["tsbn", "gru", "hmm"])
def test_other_conditions_are_refused(name: str, number: int) -> None:
    model = pair(name, **WITH_CONDITIONS)[0] if name in VARIANTS else WITHOUT_LATENTS[name]()
    given = torch.zeros(B, T, number) if number else None
    with pytest.raises(DataError, match=f"needs 3 conditions .* have {number or 'none'}"):
        model.encode(Batch.of(frames("bernoulli", B, T), given))


@pytest.mark.parametrize("model", [TSBN(INFOS["bernoulli"]), LDS(INFOS["gaussian"])])
def test_a_model_without_conditions_refuses_them(model) -> None:
    batch = Batch.of(frames("bernoulli", B, T), conditions(B, T)[0])
    with pytest.raises(DataError, match="have 3 conditions, but the model takes none"):
        model(batch)


def test_those_that_take_conditions_say_so() -> None:
    without = {name for name, model in MODELS.items() if not model.traits.conditions}
    assert without == {"lds", "random-field", "rbm", "rtrbm", "trbm"}
