"""Autoregression and recurrent networks against closed forms and sums over all outputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from oracles import all_paths, bernoulli, categorical, gaussian, gradient, multinomial, nade
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, RNN, RNNNADE, StepModel
from pyrodgm.objectives import ML
from variants import (
    CENTRE,
    INFOS,
    OWNER,
    SPREAD,
    STEP,
    SYMBOLS,
    D,
    frames,
    one_hot,
    path_log_probs,
    randomised,
)

B, T = 40, 6
BITS = INFOS["nade"]


def nats(model: StepModel, x: Tensor) -> Tensor:
    """log p(x_t | x_<t), (B, T)."""
    return path_log_probs(model, Batch.of(x), {})["x"][0]


def chains(num: int) -> Tensor:
    """Features that each follow a two-state Markov chain of their own, (num, T, D)."""
    stay = torch.tensor([0.9, 0.6, 0.3])
    x = [torch.rand(num, D).round()]
    for _ in range(T - 1):
        x.append(torch.where(torch.rand(num, D) < stay, x[-1], 1 - x[-1]))
    return torch.stack(x, 1).double()


def test_own_past_of_order_one_is_a_markov_chain_per_feature() -> None:
    """With the weights that transition counts give, and there the likelihood has its maximum."""
    x = chains(B)
    before, after, ones = x[:, :-1], x[:, 1:], x.mean((0, 1))
    first = x[:, 0].mean(0)
    from_zero = ((1 - before) * after).sum((0, 1)) / (1 - before).sum((0, 1))
    from_one = (before * after).sum((0, 1)) / before.sum((0, 1))
    model = AR(replace(BITS, mean=tuple(ones.tolist())), coupling="own").double()
    with torch.no_grad():
        model.x_bias.bias.copy_(torch.stack([first, from_zero]).logit())
        model.linear.weight.copy_(from_one.logit() - from_zero.logit())
    chance = torch.where(before > 0, from_one, from_zero)
    chance = torch.cat([first.expand(B, 1, D), chance], 1)
    exact = torch.where(x > 0, chance, 1 - chance).log().sum(-1)
    torch.testing.assert_close(nats(model, x), exact)
    loss = ML(model, NoGuide(model))(Batch.of(x)).surrogate
    assert gradient(loss, list(model.parameters())).abs().max() < 1e-9
    torch.testing.assert_close(loss.detach(), -exact.sum(-1).mean())


def test_without_a_past_frames_are_independent_and_start_at_the_means() -> None:
    x = chains(B)
    mean = x.mean((0, 1))
    model = AR(replace(BITS, mean=tuple(mean.tolist())), history=0).double()
    exact = (x * mean.log() + (1 - x) * (1 - mean).log()).sum(-1)
    torch.testing.assert_close(nats(model, x), exact, rtol=1e-6, atol=0)  # made in single precision
    loss = ML(model, NoGuide(model))(Batch.of(x)).surrogate
    assert gradient(loss, list(model.parameters())).abs().max() < 1e-6


@pytest.mark.parametrize("coupling", ["all", "own"])
@pytest.mark.parametrize("emission", ["bernoulli", "gaussian", "multinomial"])
def test_linear_autoregression_follows_its_formula(coupling: str, emission: str) -> None:
    model = AR(INFOS[emission], history=2, coupling=coupling, emission=emission)
    randomised(model, std=0.4)
    x = frames(emission, B, T)
    seen = {"gaussian": (x - CENTRE) / SPREAD, "multinomial": x.log1p()}.get(emission, x)
    score = {"bernoulli": bernoulli, "gaussian": gaussian, "multinomial": multinomial}[emission]
    exact = []
    for t in range(T):
        numbers = model.x_bias.bias[min(t, 2)]
        for lag in range(1, min(t, 2) + 1):
            frame = seen[:, t - lag]
            if emission == "gaussian" and lag > 1:
                frame = (seen[:, t - lag + 1] - frame) * SPREAD / STEP
            if coupling == "all":
                columns = slice((lag - 1) * D, lag * D)
                numbers = numbers + frame @ model.linear.weight[:, columns].T
            else:  # one weight for each number of a feature
                weight = model.linear.weight[:, lag - 1]
                numbers = numbers + frame.repeat(1, len(weight)) * weight.flatten()
        value = seen[:, t] if emission == "gaussian" else x[:, t]
        exact.append(score(numbers, value))
    exact = torch.stack(exact, -1)
    if emission == "gaussian":
        exact = exact - SPREAD.log().sum()
    torch.testing.assert_close(nats(model, x), exact)


@pytest.mark.parametrize("coupling", ["all", "own"])
def test_autoregression_of_symbols_follows_its_formula(coupling: str) -> None:
    model = randomised(AR(INFOS["categorical"], history=2, coupling=coupling), std=0.4)
    x = frames("categorical", B, T)
    seen, weight = one_hot(x), model.linear.weight
    if coupling == "own":  # of its own feature's symbols alone
        weight = weight * (OWNER[:, None] == OWNER.repeat(2))
    exact = []
    for t in range(T):
        numbers = model.x_bias.bias[min(t, 2)]
        for lag in range(1, min(t, 2) + 1):
            numbers = numbers + seen[:, t - lag] @ weight[:, 7 * (lag - 1) : 7 * lag].T
        exact.append(categorical(SYMBOLS)(numbers, x[:, t]))
    torch.testing.assert_close(nats(model, x), torch.stack(exact, -1))


def test_hidden_layers_add_to_the_linear_part() -> None:
    model = randomised(AR(BITS, hidden_dim=4, hidden_layers=2), std=0.5)
    x = frames("nade", B, T)
    (one, two), out = [layer[0] for layer in model.network[:2]], model.network[2]
    past = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    hidden = (past @ one.weight.T + one.bias).clamp(min=0)
    hidden = (hidden @ two.weight.T + two.bias).clamp(min=0)
    bias = model.x_bias.bias[[0] + [1] * (T - 1)]
    numbers = past @ model.linear.weight.T + hidden @ out.weight.T + bias
    torch.testing.assert_close(nats(model, x), bernoulli(numbers, x))


CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "relu": nn.RNNCell}


@pytest.mark.parametrize("emission", ["bernoulli", "gaussian", "nade"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_networks_follow_torch_cells(cell: str, emission: str) -> None:
    options = {"hidden_dim": 4, "cell": cell}
    if emission == "nade":
        model = RNNNADE(BITS, nade_dim=2, **options)
    else:
        model = RNN(INFOS[emission], emission=emission, **options)
    model, other = randomised(model, std=0.4), cell_of_torch(model, cell)
    x = frames(emission, B, T)
    seen = (x - CENTRE) / SPREAD if emission == "gaussian" else x
    state, exact = None, []
    for t in range(T):
        state = other(torch.zeros_like(x[:, 0]) if t == 0 else seen[:, t - 1], state)
        h = state[0] if cell == "lstm" else state
        numbers = h @ model.x_from_h.weight.T + model.x_bias.bias[0]
        if emission == "gaussian":
            exact.append(gaussian(numbers, seen[:, t]) - SPREAD.log().sum())
        elif emission == "nade":
            score = nade(model.emission.weight_in, model.emission.weight_out)
            exact.append(score(numbers, x[:, t]))
        else:
            exact.append(bernoulli(numbers, x[:, t]))
    torch.testing.assert_close(nats(model, x), torch.stack(exact, -1))


def cell_of_torch(model: RNN | RNNNADE, name: str) -> nn.Module:
    """Torch's cell with the weights of ours."""
    options = {"nonlinearity": "relu"} if name == "relu" else {}
    cell = CELLS[name](D, 4, **options).double()
    ours = model.cell.network if name != "relu" else model.cell
    with torch.no_grad():
        if name != "relu":
            for theirs, parameter in zip(cell.parameters(), ours.parameters(), strict=True):
                theirs.copy_(parameter)
        else:
            cell.weight_ih.copy_(ours.drive.weight)
            cell.bias_ih.copy_(ours.drive.bias)
            cell.weight_hh.copy_(ours.cell.recurrent.weight)
            cell.bias_hh.zero_()
    return cell


@pytest.mark.parametrize(
    "model",
    [
        RNN(BITS, hidden_dim=4),
        RNNNADE(BITS, hidden_dim=4, nade_dim=2),
        RNNNADE(BITS, hidden_dim=4, nade_dim=2, cell="lstm"),
        AR(BITS, history=1, emission="nade", nade_dim=2),
        AR(BITS, history=2, coupling="own"),
    ],
    ids=["rnn", "rnn-nade", "lstm-nade", "ar-nade", "own"],
)
def test_sums_to_one_over_all_outputs(model: StepModel) -> None:
    total = nats(randomised(model), all_paths(2, D)).sum(-1).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(()).double())


def test_own_past_needs_independent_features_and_no_hidden_layers() -> None:
    for size in (2, D):  # also where the numbers would divide evenly
        with pytest.raises(UsageError, match="which DARN and NADE are not"):
            AR(BITS, coupling="own", emission="nade", nade_dim=size)
    with pytest.raises(UsageError, match="hidden_dim is 4, but hidden layers combine all features"):
        AR(BITS, coupling="own", hidden_dim=4)


@pytest.mark.parametrize("options", [{"hidden_layers": 2}, {"dropout": 0.5}])
def test_options_of_hidden_layers_want_some(options) -> None:
    with pytest.raises(UsageError, match="give hidden_dim too"):
        AR(INFOS["bernoulli"], **options)
    AR(INFOS["bernoulli"], hidden_dim=2, **options)


def test_rnn_nade_is_for_bits() -> None:
    with pytest.raises(
        DataError, match="'nade' scores binary values, but the data 'tiny' has real"
    ):
        RNNNADE(DataInfo("tiny", "real", D, (0.0,) * D, 4.0, 5))
