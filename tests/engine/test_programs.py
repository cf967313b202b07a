"""One definition, two executions: the same log-probabilities for the same path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance, track_provenance
from scipy.stats import chi2
from torch import nn

from oracles import all_paths, assert_mean, recurrent_log_q, tsbn_log_p
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.programs import fused, generate, join, lagged, unrolled
from pyrodgm.engine.sites import Site
from pyrodgm.engine.stepwise import stepwise_terms
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import GuideTraits, RecurrentBernoulli, StepGuide
from pyrodgm.lags import Lags
from pyrodgm.models import TSBN
from variants import assert_executions_agree

B, T, D, J, K = 3, 6, 4, 3, 5


@pytest.fixture(autouse=True)
def _own_param_store():
    with pyro.get_param_store().scope():
        yield


INFO = DataInfo("tiny", "binary", D, (0.3,) * D, float(T), T)
EXAMPLE = Path(__file__).parents[2] / "examples" / "next_frame_guide.py"


def ragged(lengths: tuple[int, ...] = (6, 4, 1)) -> Batch:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    x = torch.rand(len(lengths), max(lengths), D).round() * mask[..., None]
    return Batch(x, mask, torch.arange(len(lengths)))


def example_guide() -> type[StepGuide]:
    spec = importlib.util.spec_from_file_location("next_frame_guide", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NextFrameBernoulli


class NormalGuide(StepGuide):
    """Draws with gradients, by a distribution of Pyro's that knows nothing of noise."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

    history = 2

    def __init__(self, model: TSBN) -> None:
        super().__init__(model)
        self.latents = {"z": Site(J, "continuous")}
        self.from_x, self.from_z = nn.Linear(D, J), nn.Linear(2 * J, J)

    def encode(self, batch: Batch) -> torch.Tensor:
        return self.from_x(batch.x)

    def step(self, draw, past, encoded, t) -> None:
        draw("z", dist.Normal(encoded + self.from_z(past["z"]), 1.0).to_event(1))


class TwoLayers(StepGuide):
    """Two latent sites a frame, the second given the first, both given each other's past."""

    traits = GuideTraits(latents="binary", sequential=True)

    history = 1

    def __init__(self, model: TSBN) -> None:
        super().__init__(model)
        self.latents = {"top": Site(2, "binary"), "z": Site(J, "binary")}
        self.top, self.low = nn.Linear(D + J, 2), nn.Linear(2 + J + 2, J)

    def encode(self, batch: Batch) -> torch.Tensor:
        return batch.x

    def step(self, draw, past, encoded, t) -> None:
        logits = self.top(join(encoded, past["z"]))
        top = draw("top", dist.Bernoulli(logits=logits).to_event(1))
        logits = self.low(join(top, past["z"], past["top"]))
        draw("z", dist.Bernoulli(logits=logits).to_event(1))


def programs() -> dict[str, nn.Module]:
    model = TSBN(INFO, hidden_dim=J)
    return {
        "tsbn order 1": TSBN(INFO, hidden_dim=J, init_scale=1.0),
        "tsbn order 3": TSBN(INFO, hidden_dim=J, history=3, init_scale=1.0),
        "tsbn longer than the data": TSBN(INFO, hidden_dim=J, history=8, init_scale=1.0),
        "recurrent order 1": RecurrentBernoulli(model, init_scale=1.0),
        "recurrent order 3": RecurrentBernoulli(model, history=3, init_scale=1.0),
        "a user's own": example_guide()(model),
        "normal": NormalGuide(model),
        "two layers": TwoLayers(model),
    }


@pytest.mark.parametrize("name", list(programs()))
def test_fused_and_unrolled_agree_on_the_same_path(name: str) -> None:
    program, batch = programs()[name].double(), ragged()
    batch.x = batch.x.double()
    assert_executions_agree(program, batch)


@pytest.mark.parametrize("execution", [fused, unrolled])
def test_log_probs_of_drawn_paths_are_those_of_the_paths(execution) -> None:
    """What the guide reports for its own draw is what scoring that draw gives."""
    model, guide = programs()["tsbn order 3"], programs()["recurrent order 3"]
    batch = ragged((4, 4))
    if execution is fused:
        traced = terms(model, guide, batch, particles=K)
    else:
        programs_of_frames = unrolled(model), unrolled(guide)
        traced = stepwise_terms(*programs_of_frames, batch, particles=K)
    z = (
        traced.values["z"]
        if execution is fused
        else torch.stack([traced.values[f"z_{t + 1}"] for t in range(4)], -2)
    )
    for row in range(2):
        exact = tsbn_log_p(model.double(), batch.x[row].double(), z[:, row].double())
        torch.testing.assert_close(traced.log_p[:, row].double(), exact, atol=1e-5, rtol=1e-5)
        model.float()


def test_padding_changes_nothing() -> None:
    model = TSBN(INFO, hidden_dim=J, init_scale=1.0)
    short = ragged((4, 3))
    junk = torch.cat([short.x, torch.ones(2, 3, D)], 1)
    mask = torch.cat([short.mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
    long = Batch(junk, mask, short.index)
    z = torch.rand(1, 2, 7, J).round()
    totals = []
    for batch in (short, long):
        path = {"z": z[:, :, : batch.length]}
        with pyro.plate("particles", 1, dim=-2):
            trace = poutine.trace(poutine.condition(model, data=path)).get_trace(batch)
        trace.compute_log_prob()
        totals.append(sum(trace.nodes[site]["log_prob"].sum(-1) for site in ("z", "x")))
    torch.testing.assert_close(totals[0], totals[1])


def test_both_executions_draw_from_the_same_distribution() -> None:
    guide = RecurrentBernoulli(TSBN(INFO, hidden_dim=2), init_scale=1.5)
    batch = ragged((3,))
    weights = (2.0 ** torch.arange(6)).flip(0)
    num = 40_000
    counts = []
    with torch.no_grad():
        with pyro.plate("particles", num, dim=-2):
            path = poutine.trace(guide).get_trace(batch).nodes["z"]["value"]
        counts.append(torch.bincount((path.reshape(num, 6) @ weights).long(), minlength=64))
        with pyro.plate("particles", num, dim=-2):
            trace = poutine.trace(unrolled(guide)).get_trace(batch)
        path = torch.stack([trace.nodes[f"z_{t}"]["value"] for t in (1, 2, 3)], -2)
        counts.append(torch.bincount((path.reshape(num, 6) @ weights).long(), minlength=64))
    exact = recurrent_log_q(guide.double(), batch.x[0].double(), all_paths(3, 2)).sum(-1).exp()
    for count in counts:
        expected = exact.detach() * num
        big = expected > 5
        statistic = float(((count - expected).square() / expected)[big].sum())
        assert statistic < chi2.isf(2e-5, int(big.sum()))


@pytest.mark.parametrize("history", [1, 2])
def test_generation_follows_the_model(history: int) -> None:
    info = DataInfo("tiny", "binary", 1, (0.5,), 3.0, 3)
    model = TSBN(info, hidden_dim=1, history=history, init_scale=1.5)
    draws = generate(model, 200_000, 3, like=torch.zeros(()))["x"]
    assert draws.shape == (200_000, 3, 1)
    paths = all_paths(3, 1)
    exact = torch.stack(
        [tsbn_log_p(model.double(), x, paths).sum(-1).exp().sum() for x in paths]
    ).detach()
    kind = (draws[..., 0] @ torch.tensor([4.0, 2.0, 1.0])).long()
    assert_mean(torch.nn.functional.one_hot(kind, 8).double(), exact)


def test_generated_means_are_fed_back() -> None:
    info = DataInfo("tiny", "unit", 1, (0.5,), 2.0, 2)
    model = TSBN(info, hidden_dim=1)
    with torch.no_grad():
        for weight in (model.x_from_z.weight, model.x_bias.bias):
            weight.zero_()
        model.x_from_x.weight.fill_(2.0)
    frames = generate(model, 3, 3, like=torch.zeros(()), means=True)["x"][0, :, 0]
    second = torch.tensor(2 * 0.5).sigmoid()
    torch.testing.assert_close(
        frames, torch.stack([torch.tensor(0.5), second, (2 * second).sigmoid()])
    )


def test_unconditioned_programs_feed_their_own_draws_back() -> None:
    model, batch = TSBN(INFO, hidden_dim=J, init_scale=1.0), Batch.of(torch.zeros(1, 2, D))
    with torch.no_grad():
        model.x_bias.bias[0] = 50.0  # the first frame is all ones, whatever the batch says
        model.x_from_x.weight.fill_(100.0)
        model.x_bias.bias[1] = -100.0  # and so is the second, but only after a frame of ones
    trace = poutine.trace(poutine.uncondition(unrolled(model))).get_trace(batch)
    assert trace.nodes["x_2"]["value"].eq(1).all()
    with pytest.raises(CompatibilityError, match=r"take pyrodgm\.engine\.programs\.unrolled"):
        poutine.uncondition(fused(model))(batch)
    given = {"z": trace.nodes["z_1"]["value"][:, None].expand(1, 2, J)}
    program = poutine.condition(poutine.uncondition(fused(model)), given)
    assert poutine.trace(program).get_trace(batch).nodes["x"]["value"].eq(1).all()


def test_reparameterised_paths_carry_gradients_through_the_loop() -> None:
    model, batch = TSBN(INFO, hidden_dim=J), ragged((5, 5))
    guide = NormalGuide(model)
    trace = poutine.trace(guide).get_trace(batch)
    trace.nodes["z"]["value"][:, -1].sum().backward()
    assert guide.from_x.weight.grad.abs().sum() > 0
    discrete = poutine.trace(TwoLayers(model)).get_trace(batch)
    assert not discrete.nodes["z"]["value"].requires_grad


def test_tensor_subclasses_keep_what_they_track() -> None:
    """Pyro's TraceGraph_ELBO relies on it; a custom gradient alone would drop it silently."""
    value = track_provenance(torch.ones(2, 3), frozenset({"z_1"}))
    logits = torch.zeros(2, 3, requires_grad=True)
    assert get_provenance(BernoulliVector(logits).log_prob(value)) == {"z_1"}
    assert get_provenance(BernoulliVector(logits + value).log_prob(torch.ones(3))) == {"z_1"}


def test_lags_reach_no_further_than_the_start() -> None:
    value = torch.arange(1.0, 4.0)[:, None]
    assert lagged(value, 5)[-1].tolist() == [2, 1, 0, 0, 0]
    assert lagged(value[:1], 2).tolist() == [[0, 0]]


def test_shared_lags_are_those_of_the_value_at_hand() -> None:
    lags, value, carrying = Lags(), torch.rand(2, 4, 3), torch.rand(4, 3, requires_grad=True)
    for history, given in [(1, value), (2, value), (2, value + 1), (2, carrying), (2, value)]:
        assert torch.equal(lags("z", given, history), lagged(given, history))
    assert lags("z", value, 2) is lags("z", value, 2)
    assert lags("z", carrying, 2) is not lags("z", carrying, 2)


@pytest.mark.parametrize("history", [1, 2])
def test_a_batch_remembers_nothing_that_changes_a_score(history: int) -> None:
    model = TSBN(INFO, hidden_dim=J, history=history)
    guide = RecurrentBernoulli(model)

    def weights(batch: Batch) -> torch.Tensor:
        torch.manual_seed(4)
        return terms(model, guide, batch, 2).log_w

    used = ragged((4, 2))
    for earlier in (1, 3):
        other = TSBN(INFO, history=earlier, hidden_dim=J)
        terms(other, RecurrentBernoulli(other), used, 2)
    assert torch.equal(weights(used), weights(Batch(used.x, used.mask, used.index)))
    assert torch.equal(weights(used), weights(used))


def test_sites_that_do_not_match_are_named() -> None:
    guide = RecurrentBernoulli(TSBN(INFO, hidden_dim=J))
    guide.latents = {"h": Site(J, "binary")}
    guide.chained = False
    guide.step = lambda draw, past, encoded, t: draw(
        "h", dist.Bernoulli(0.5 * torch.ones(J)).to_event(1)
    )
    with pytest.raises(CompatibilityError, match=r"draws \['h'\] that the model does not"):
        terms(TSBN(INFO, hidden_dim=J), guide, ragged())


def test_generation_refuses_nothing_to_do() -> None:
    with pytest.raises(UsageError, match="0 frames"):
        generate(TSBN(INFO, hidden_dim=J), 1, 0, like=torch.zeros(()))
