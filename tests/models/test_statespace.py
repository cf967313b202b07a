"""Hidden Markov models against sums over states, linear ones against the joint normal law."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from oracles import assert_mean, bernoulli, categorical, gaussian, gradient, multinomial
from pyrodgm.batch import Batch
from pyrodgm.engine.programs import generate
from pyrodgm.errors import DataError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import HMM, LDS
from pyrodgm.models.lds import CovarianceCell
from pyrodgm.objectives import ML
from variants import (
    CENTRE,
    INFOS,
    SPREAD,
    SYMBOLS,
    D,
    frames,
    numbers_seen,
    path_log_probs,
    randomised,
)

B, T, C = 5, 4, 3
EMITTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "multinomial": multinomial,
    "categorical": categorical(SYMBOLS),
}
LENGTHS = torch.tensor([4, 4, 3, 2, 1])
RAGGED = torch.arange(T) < LENGTHS[:, None]


def nats(model: HMM | LDS, batch: Batch) -> Tensor:
    """log p(x_t | x_<t), (B, T), zero where padded."""
    return path_log_probs(model, batch, {})["x"][0]


def missing(x: Tensor) -> Tensor:
    """Which features were seen: some, a whole frame of one row, none of another, all of a third."""
    seen = torch.rand(x.shape) < 0.6
    seen[0, 1], seen[1], seen[2] = False, False, True
    return seen


def conditionals(of_prefix: Callable[[int, int], Tensor], lengths: Tensor = LENGTHS) -> Tensor:
    """log p(x_t | x_<t) from log p(x_<=t) of every row, zero where padded."""
    rows = []
    for row, length in enumerate(lengths.tolist()):
        total = [torch.zeros(()).double(), *(of_prefix(row, t + 1) for t in range(length))]
        steps = [after - before for before, after in itertools.pairwise(total)]
        rows.append(torch.stack([*steps, *[torch.zeros(()).double()] * (T - length)]))
    return torch.stack(rows)


def hmm(emission: str) -> HMM:
    return randomised(HMM(INFOS[emission], num_states=C, emission=emission))


def path_nats(
    model: HMM, emission: str, x: Tensor, seen: Tensor, states: tuple[int, ...]
) -> Tensor:
    """log p(x, states) of one sequence (T, D)."""
    initial, moves = model.cell.initial.softmax(-1), model.cell.transition.softmax(-1)
    value = (x - CENTRE) / SPREAD if emission == "gaussian" else x

    def emitted(t: int, state: int) -> Tensor:
        numbers, score = numbers_seen(emission, model.by_state[state], seen[t]), EMITTED[emission]
        if emission == "categorical":
            score = categorical([own for own, there in zip(SYMBOLS, seen[t], strict=True) if there])
        score = score(numbers, value[t, seen[t]])
        return score - SPREAD[seen[t]].log().sum() if emission == "gaussian" else score

    chance = initial[states[0]].log()
    chance = chance + sum(moves[a, b].log() for a, b in itertools.pairwise(states))
    return chance + sum(emitted(t, state) for t, state in enumerate(states))


def summed(model: HMM, emission: str, x: Tensor, seen: Tensor) -> Tensor:
    """log p(x) of one sequence (T, D) by a sum over all sequences of states."""
    paths = itertools.product(range(C), repeat=len(x))
    return torch.stack([path_nats(model, emission, x, seen, path) for path in paths]).logsumexp(0)


@pytest.mark.parametrize("some_missing", [False, True])
@pytest.mark.parametrize("emission", EMITTED)
def test_hmm_equals_the_sum_over_all_states(emission: str, some_missing: bool) -> None:
    """Every frame given those before it, of sequences of several lengths; gradients too."""
    model, x = hmm(emission), frames(emission, B, T)
    seen = missing(x) if some_missing else torch.ones_like(x, dtype=torch.bool)
    exact = conditionals(lambda row, t: summed(model, emission, x[row, :t], seen[row, :t]))
    ours = nats(model, Batch(x, RAGGED, torch.arange(B), seen if some_missing else None))
    torch.testing.assert_close(ours, exact)
    parameters = list(model.parameters())
    torch.testing.assert_close(gradient(ours.sum(), parameters), gradient(exact.sum(), parameters))


def test_categorical_hmm_equals_the_scaled_forward_recursion() -> None:
    r"""As peers compute it: :math:`\log p(x) = \sum_t \log c_t`, with B[c, symbol] a table."""
    info = replace(INFOS["categorical"], dim=1, symbols=((1, 2, 5, 6),), frequencies=(0.25,) * 4)
    model = randomised(HMM(info, num_states=C))
    start, moves = model.cell.initial.softmax(-1), model.cell.transition.softmax(-1)
    table = model.by_state.softmax(-1)
    symbols = torch.tensor([0, 3, 3, 1, 2, 2, 0])
    alpha, total = start * table[:, symbols[0]], 0.0
    for symbol in symbols[1:]:
        total = total + alpha.sum().log()
        alpha = (alpha / alpha.sum()) @ moves * table[:, symbol]
    x = torch.tensor([1.0, 2.0, 5.0, 6.0]).double()[symbols][None, :, None]
    torch.testing.assert_close(nats(model, Batch.of(x)).sum(), total + alpha.sum().log())


@pytest.mark.parametrize("emission", EMITTED)
def test_states_equal_those_of_all_paths(emission: str) -> None:
    """Smoothing and the Viterbi algorithm against a list of all paths; padding changes neither."""
    model, x = hmm(emission), frames(emission, B, T)
    batch = Batch(x, RAGGED, torch.arange(B), missing(x) & RAGGED[..., None])
    assert batch.seen is not None
    smoothed, most_likely = model.log_states(batch).exp(), model.most_likely_states(batch)
    for row, length in enumerate(LENGTHS.tolist()):
        paths = list(itertools.product(range(C), repeat=length))
        seen = batch.seen[row, :length]
        joint = [path_nats(model, emission, x[row, :length], seen, path) for path in paths]
        posterior = torch.stack(joint).softmax(0)
        in_state = torch.nn.functional.one_hot(torch.tensor(paths), C).to(posterior)
        exact = torch.einsum("p,ptc->tc", posterior, in_state)
        torch.testing.assert_close(smoothed[row, :length], exact)
        assert tuple(most_likely[row, :length].tolist()) == paths[int(posterior.argmax())]
    torch.testing.assert_close(model.log_likelihood(batch), nats(model, batch).sum())


@pytest.mark.parametrize("emission", ["bernoulli", "gaussian"])
def test_hmm_equals_that_of_pyro(emission: str) -> None:
    model, x = hmm(emission), frames(emission, B, T)
    if emission == "bernoulli":
        x = x.round()
        law = dist.Bernoulli(logits=model.by_state).to_event(1)
    else:
        mean, log_variance = model.by_state.chunk(2, -1)
        scale = ((-log_variance).exp() + 0.25).rsqrt() + 1e-3
        law = dist.Normal(CENTRE + SPREAD * mean, SPREAD * scale).to_event(1)
    # Pyro's chain begins one frame earlier: a first move that forgets where it came from.
    first = model.cell.initial.log_softmax(-1).expand(1, C, C)
    moves = torch.cat([first, model.cell.transition.log_softmax(-1).expand(T - 1, C, C)])
    theirs = dist.DiscreteHMM(torch.zeros(C).double(), moves, law)
    torch.testing.assert_close(nats(model, Batch.of(x)).sum(-1), theirs.log_prob(x))


def lds(state_dim: int = 2) -> LDS:
    return randomised(LDS(INFOS["gaussian"], state_dim=state_dim), std=0.6)


def joint(model: LDS) -> tuple[Tensor, Tensor]:
    """Mean (T, D) and covariance (T, D, T, D) of all frames together."""
    (move, noise), loading = model.dynamics(), model.loading
    mean, spread = [model.initial_mean], [model.log_initial.exp().diag()]
    for _ in range(T - 1):
        mean.append(move @ mean[-1])
        spread.append(move @ spread[-1] @ move.T + noise)
    blocks = torch.zeros(T, D, T, D).double()
    for t, u in itertools.product(range(T), repeat=2):
        early, late = min(t, u), max(t, u)
        cross = torch.linalg.matrix_power(move, late - early) @ spread[early]
        cross = cross if t >= u else cross.T  # Cov(s_t, s_u)
        blocks[t, :, u] = loading @ cross @ loading.T
        if t == u:
            blocks[t, :, u] += (model.log_noise.exp() + 1e-4).diag()
    means = torch.stack(mean) @ loading.T + model.offset
    return CENTRE + SPREAD * means, SPREAD[:, None, None] * blocks * SPREAD


def marginal(model: LDS, x: Tensor, seen: Tensor) -> Tensor:
    """log p of what was seen of one sequence (T', D), T' <= T."""
    mean, covariance = joint(model)
    length, keep = len(x), seen.flatten()
    if not keep.any():
        return torch.zeros(()).double()
    covariance = covariance[:length, :, :length].reshape(length * D, length * D)
    law = MultivariateNormal(mean[:length].flatten()[keep], covariance[keep][:, keep])
    return law.log_prob(x.flatten()[keep])


@pytest.mark.parametrize("some_missing", [False, True])
@pytest.mark.parametrize("state_dim", [1, 2, T])
def test_lds_equals_the_joint_normal_law(state_dim: int, some_missing: bool) -> None:
    """Every frame given those before it, of sequences of several lengths; gradients too."""
    model, x = lds(state_dim), frames("gaussian", B, T)
    seen = missing(x) if some_missing else torch.ones_like(x, dtype=torch.bool)
    filled = torch.where(seen, x, CENTRE)
    exact = conditionals(lambda row, t: marginal(model, x[row, :t], seen[row, :t]))
    ours = nats(model, Batch(filled, RAGGED, torch.arange(B), seen if some_missing else None))
    torch.testing.assert_close(ours, exact)
    parameters = list(model.parameters())
    torch.testing.assert_close(gradient(ours.sum(), parameters), gradient(exact.sum(), parameters))


def test_lds_states_have_covariance_one_in_the_long_run() -> None:
    model = randomised(LDS(INFOS["gaussian"], state_dim=4), std=5.0)
    move, noise = model.dynamics()
    torch.testing.assert_close(move @ move.T + noise, torch.eye(4).double())
    assert torch.linalg.matrix_norm(move, 2) < 1
    assert torch.linalg.eigvalsh(noise).min() > 0


def test_lds_settled_equals_all_frames() -> None:
    """With every feature seen covariances settle; the same model told so by gaps does not look."""
    model, x = lds(3), frames("gaussian", 2, 120)
    parameters = list(model.parameters())
    settled = nats(model, Batch.of(x))
    every = nats(model, every_frame(x))
    torch.testing.assert_close(settled, every)
    torch.testing.assert_close(
        gradient(settled.sum(), parameters), gradient(every.sum(), parameters)
    )


def every_frame(x: Tensor) -> Batch:
    """The same, as if there could be gaps."""
    ones = torch.ones_like(x, dtype=torch.bool)
    return Batch(x, ones[..., 0], torch.arange(len(x)), ones)


def test_lds_that_starts_settled_has_the_gradients_of_all_frames() -> None:
    """Where covariances never move, what they depend on still does."""
    model = LDS(INFOS["gaussian"], state_dim=1).double()
    with torch.no_grad():
        model.motion.fill_(10.0)
        for _ in range(300):
            cell = covariances(model)
            model.log_initial.copy_(cell.outputs(torch.ones(2, 1).double())[-1, :1].log())
    x, parameters = frames("gaussian", 1, 300), list(model.parameters())
    settled, every = nats(model, Batch.of(x)).sum(), nats(model, every_frame(x)).sum()
    torch.testing.assert_close(gradient(settled, parameters), gradient(every, parameters))


def test_lds_with_fast_and_slow_states_settles_when_the_slow_ones_have() -> None:
    model = LDS(INFOS["gaussian"], state_dim=4)
    with torch.no_grad():
        model.motion.copy_(torch.tensor([300.0, 300.0, 0.1, 0.1]).diag())
        model.log_noise.fill_(-6.0)
    x = frames("gaussian", 1, 300)
    exact = nats(model.double(), every_frame(x))
    torch.testing.assert_close(nats(model, Batch.of(x)), exact)
    single = nats(model.float(), Batch.of(x.float())).double()
    torch.testing.assert_close(single, exact, atol=0.01, rtol=0)


def covariances(model: LDS) -> CovarianceCell:
    """The covariances of a model's filter, every feature seen."""
    loading = model.loading
    told = loading.T @ (loading / (model.log_noise.exp() + 1e-4)[:, None])
    return CovarianceCell(*model.dynamics(), model.log_initial.exp().diag(), told, same=True)


def test_lds_equals_that_of_pyro() -> None:
    model, x = lds(), frames("gaussian", B, T)
    transition, covariance = model.dynamics()
    size = len(transition)
    # Pyro's chain begins one frame earlier: a first move that forgets where it came from.
    moves = torch.cat([torch.zeros(1, size, size).double(), transition.T.expand(T - 1, -1, -1)])
    means = torch.cat([model.initial_mean[None], torch.zeros(T - 1, size).double()])
    spread = covariance.expand(T - 1, size, size)
    spread = torch.cat([model.log_initial.exp().diag()[None], spread])
    noise = (model.log_noise.exp() + 1e-4).sqrt()
    theirs = dist.GaussianHMM(
        dist.MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double()),
        moves,
        dist.MultivariateNormal(means, spread),
        model.loading.T,
        dist.Normal(model.offset, noise).to_event(1),
    )
    exact = theirs.log_prob((x - CENTRE) / SPREAD) - T * SPREAD.log().sum()
    torch.testing.assert_close(nats(model, Batch.of(x)).sum(-1), exact)


@pytest.mark.parametrize("make", [lambda: hmm("gaussian"), lds], ids=["hmm", "lds"])
def test_maximum_likelihood_counts_sequences_and_reports_frames(make) -> None:
    model = make()
    batch = Batch(frames("gaussian", B, T), RAGGED, torch.arange(B))
    total = nats(model, batch).sum()
    loss = ML(model, NoGuide(model))(batch)
    torch.testing.assert_close(loss.surrogate, -total / B)
    torch.testing.assert_close(next(iter(loss.report.values())), total.detach() / RAGGED.sum())


def test_lds_draws_have_the_joint_mean_and_covariance() -> None:
    model = lds()
    draws = generate(model, 100_000, T, like=torch.zeros(()).double())["x"].flatten(1)
    mean, covariance = (part.detach() for part in joint(model))
    assert_mean(draws, mean)
    rest = draws - mean.flatten()
    size = T * D
    assert_mean(rest[:, :, None] * rest[:, None], covariance.reshape(size, size))


def test_long_sequences_stay_finite_in_single_precision() -> None:
    for model, emission in (
        (HMM(INFOS["bernoulli"], num_states=20), "bernoulli"),
        (LDS(INFOS["gaussian"], state_dim=3), "gaussian"),
    ):
        values = path_log_probs(model, Batch.of(frames(emission, 1, 800).float()), {})["x"]
        values.sum().backward()
        assert values.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("emission", EMITTED)
def test_hmm_smoothed_equals_the_sum_over_all_states(emission: str) -> None:
    """Weights of the states of every frame, of sequences of several lengths, with gaps."""
    model, x = hmm(emission), frames(emission, B, T)
    seen = missing(x) & RAGGED[..., None]
    law = model.smoothed(Batch(x, RAGGED, torch.arange(B), seen))
    for row, length in enumerate(LENGTHS.tolist()):
        joint = torch.zeros(length, C).double()
        for states in itertools.product(range(C), repeat=length):
            nats = path_nats(model, emission, x[row, :length], seen[row, :length], states)
            for t, state in enumerate(states):
                joint[t, state] += nats.exp()
        exact = joint / joint.sum(-1, keepdim=True)
        torch.testing.assert_close(law.log_weights[row, :length].exp(), exact)
    torch.testing.assert_close(law.components.mean, model.emission(model.by_state).mean)


def test_components_of_a_state_depend_on_what_was_seen_of_a_frame() -> None:
    """A mixture in every state, by a sum over all sequences of states and of components."""
    model = randomised(HMM(INFOS["gaussian"], num_states=2, emission="gaussian-mixture:2"), 1.0)
    x = frames("gaussian", 1, T)
    seen = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 1]]).bool()
    batch = Batch(x, torch.ones(1, T, dtype=torch.bool), torch.arange(1), seen[None])
    emission = model.emission(model.by_state)
    normal = torch.distributions.Normal(emission.components.loc, emission.components.scale)
    initial, moves = model.cell.initial.log_softmax(-1), model.cell.transition.log_softmax(-1)
    total, weighted = torch.zeros(()).double(), torch.zeros_like(x[0])
    for path in itertools.product(itertools.product(range(2), range(2)), repeat=T):
        nats = initial[path[0][0]] + sum(moves[a[0], b[0]] for a, b in itertools.pairwise(path))
        for t, place in enumerate(path):
            each = normal.log_prob(x[0, t])[place]
            nats = nats + emission.log_weights[place] + each[seen[t]].sum()
        total = total + nats.exp()
        weighted = weighted + nats.exp() * torch.stack([normal.loc[place] for place in path])
    torch.testing.assert_close(model.smoothed(batch).mean[0][~seen], (weighted / total)[~seen])


@pytest.mark.parametrize("some_missing", [False, True])
def test_lds_smoothed_equals_the_conditional_normal_law(some_missing: bool) -> None:
    """Means and variances of what was not seen, of sequences of several lengths."""
    model, x = lds(3), frames("gaussian", B, T)
    seen = missing(x) & RAGGED[..., None] if some_missing else RAGGED[..., None].expand_as(x)
    batch = Batch(torch.where(seen, x, CENTRE), RAGGED, torch.arange(B), seen)
    law = model.smoothed(batch if some_missing else Batch(x, RAGGED, torch.arange(B)))
    mean, covariance = (part.flatten() if part.ndim == 2 else part for part in joint(model))
    covariance = covariance.reshape(T * D, T * D)
    for row in range(B):
        keep = seen[row].flatten()
        gain = covariance[:, keep] @ torch.linalg.inv(covariance[keep][:, keep])
        told = mean + gain @ (x[row].flatten() - mean)[keep]
        left = (covariance - gain @ covariance[keep]).diag()
        torch.testing.assert_close(law.mean[row].flatten()[~keep], told[~keep])
        torch.testing.assert_close(law.variance[row].flatten()[~keep], left[~keep])


def test_hmm_has_no_emission_nade() -> None:
    for emission in ("nade", "darn"):
        with pytest.raises(
            UsageError, match=f"emission = '{emission}': Input should be 'auto', 'bernoulli'"
        ):
            HMM(INFOS["nade"], emission=emission)


@pytest.mark.parametrize("emission", ["nade", "bernoulli", "multinomial", "categorical"])
def test_lds_is_for_real_values(emission: str) -> None:
    with pytest.raises(DataError, match=r"lds models real values.*hmm has"):
        LDS(INFOS[emission])
