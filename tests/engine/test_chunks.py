"""Sequences in chunks with carried states: log-probabilities, draws and gradients of the whole."""

from dataclasses import replace

import continuous_pairs
import pytest
import torch
from pyro import poutine

from pyrodgm.batch import Batch
from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.chunks import end_of, pieces
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.programs import unrolled
from pyrodgm.engine.sampler import SiteSampler
from pyrodgm.engine.sweeps import Sweeps
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM, LDS, RNN
from pyrodgm.networks.layers import SigmoidLayer
from variants import INFOS, frames, pair, randomised

T, N = 7, 3
BITS = ["tsbn", "tsbn order 2", "dtsbn-s order 2", "dtsbn-d order 2"]
NORMAL = ["vrnn", "vrnn, residual", "vrnn, filtering"]
SMOOTHING = ["storn", "srnn", "dmm"]
EXACT = ["rnn gru", "rnn lstm", "rnn relu", "ar", "hmm"]
TRANSFORMED = [
    ("tsbn order 2", "gaussian"),
    ("vrnn", "gaussian"),
    ("lds", "gaussian"),
    ("dtsbn-d order 2", "multinomial"),
    ("dtsbn-s order 2", "categorical"),
]


def made(name, emission="bernoulli"):
    if name.startswith("rnn"):
        cell = name.removeprefix("rnn ")
        model = RNN(INFOS[emission], hidden_dim=3, cell=cell, emission=emission)
    elif name == "ar":
        model = AR(INFOS[emission], history=4, emission=emission)
    elif name == "lds":
        model = LDS(INFOS[emission])
    elif name == "hmm":
        model = HMM(INFOS[emission], num_states=3, emission=emission)
    else:
        return pair(name, emission) if name in BITS else continuous_pairs.made(name, emission)
    return randomised(model, 0.5), NoGuide(model)


def ragged(emission="bernoulli", lengths=(T, T - 1, 2)):
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    x = frames(emission, len(lengths), T) * mask[..., None]
    return Batch(x, mask, torch.arange(len(lengths)))


def in_chunks(model, guide, batch, values, length=N):
    """The log-probabilities of model and guide in chunks at given values, (K, B, T) by site."""
    found, before, rows = [], None, torch.arange(batch.size)
    for first, last in pieces(batch.length, length):
        kept = rows[batch.lengths[rows] > first]
        piece = batch.chunk(first, last)
        if before is not None:
            piece = replace(piece, before=before.rows(torch.searchsorted(rows, kept)))
        rows = kept
        assert piece.index.tolist() == rows.tolist()
        part = {name: path[:, rows, first:last] for name, path in values.items()}
        found.append((rows, first, last, score(model, piece, part), score(guide, piece, part)))
        before = end_of(model, guide, piece, {name: path[0] for name, path in part.items()})
    return found


def assert_same(whole, chunks, place):
    for rows, first, last, *scores in chunks:
        for name, nats in scores[place].items():
            torch.testing.assert_close(nats, whole[name][..., rows, first:last])


@pytest.mark.parametrize("name", [*BITS, *NORMAL, *SMOOTHING, *EXACT])
def test_log_probabilities_in_chunks_are_those_of_the_whole(name):
    model, guide = made(name)
    batch = ragged()
    values = dict(draw(guide, batch).values)
    chunks = in_chunks(model, guide, batch, values)
    assert_same(score(model, batch, values), chunks, 0)
    if name not in SMOOTHING:
        assert_same(score(guide, batch, values), chunks, 1)


@pytest.mark.parametrize(("name", "emission"), TRANSFORMED)
def test_transformed_observations_are_carried(name, emission):
    model, guide = made(name, emission)
    batch = ragged(emission)
    values = dict(draw(guide, batch).values)
    chunks = in_chunks(model, guide, batch, values, length=2)
    assert_same(score(model, batch, values), chunks, 0)
    assert_same(score(guide, batch, values), chunks, 1)


def test_what_was_observed_of_earlier_frames_is_carried():
    model, guide = made("vrnn")
    batch = ragged()
    seen = batch.mask[..., None] & (torch.rand_like(batch.x) < 0.7)
    batch = replace(batch, seen=seen)
    values = dict(draw(guide, batch).values)
    assert_same(score(model, batch, values), in_chunks(model, guide, batch, values), 0)


@pytest.mark.parametrize("name", ["tsbn order 2", "dtsbn-s order 2", "vrnn"])
def test_draws_in_chunks_from_the_noise_of_the_whole_are_those_of_the_whole(name):
    model, guide = made(name)
    batch = Batch.of(frames("bernoulli", 2, T))
    whole = draw(guide, batch, 1, keep_noise=True)
    before = batch.before
    for first, last in pieces(T, N):
        chunk = replace(batch.chunk(first, last), before=before)
        noise = {site: values[:, :, first:last] for site, values in whole.noise.items()}
        found = draw(guide, chunk, 1, noise=noise).values
        for site, path in found.items():
            torch.testing.assert_close(path, whole.values[site][:, :, first:last])
        before = end_of(model, guide, chunk, {site: path[0] for site, path in found.items()})


@pytest.mark.parametrize("history", [1, 2])
def test_sweeps_start_where_the_loop_starts(history):
    layer = SigmoidLayer(4, 4 * history, 0, 0, history=history, scale=3.0)
    leading, length = torch.Size([2]), 60
    drive = torch.randn(2, length, 4)
    start = torch.randint(2, (2, history, 4)).float()
    noise = 3 * torch.randn(length, 2, 4)
    loop = StochasticCell.path(
        layer, drive, start, SiteSampler("z", leading, length, noise.clone())
    )
    sampler = SiteSampler("z", leading, length, noise.clone())
    assert torch.equal(Sweeps(layer, layer.own, drive, sampler, start).path(), loop)
    zero = StochasticCell.path(
        layer, drive, 0 * start, SiteSampler("z", leading, length, noise.clone())
    )
    assert not torch.equal(zero, loop)


@pytest.mark.parametrize("name", ["tsbn order 2", "vrnn", "srnn", "rnn lstm"])
def test_other_executions_start_at_the_same_place(name):
    model, guide = made(name)
    batch = ragged(lengths=(T, T))
    chunk = replace(batch.chunk(3, T), before=end_of(model, guide, batch.chunk(0, 3)))
    found = run_filter(model, guide, chunk, 2, threshold=0.0)
    values = {site: path.detach() for site, path in found.values.items()}
    of_sites = score(model, chunk, values)
    log_p, expected = sum(found.log_p.values()), sum(of_sites.values())
    torch.testing.assert_close(*torch.broadcast_tensors(log_p, expected))
    one = {site: path[:1] for site, path in values.items()}
    data = {f"{s}_{t + 1}": path[0, :, t] for s, path in one.items() for t in range(chunk.length)}
    trace = poutine.trace(poutine.condition(unrolled(model, register=False), data=data)).get_trace(
        chunk
    )
    trace.compute_log_prob()
    for t in range(chunk.length):
        nats = sum(trace.nodes[f"{site}_{t + 1}"]["log_prob"] for site in model.dims)
        torch.testing.assert_close(nats, sum(of_sites.values())[0, :, t])


def gradients(model, nats):
    model.zero_grad()
    sum(part.sum() for part in nats).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["ar", "dmm", "rnn gru", "tsbn order 2", "vrnn"])
def test_gradients_differ_only_by_what_flows_through_states(name):
    """At given values: windows hold values, through which no gradient of scores flows."""
    model, guide = made(name)
    batch = ragged()
    values = {site: path.detach() for site, path in draw(guide, batch).values.items()}
    whole = gradients(model, score(model, batch, values).values())
    chunks = in_chunks(model, guide, batch, values)
    found = gradients(model, [nats for chunk in chunks for nats in chunk[3].values()])
    if model.states:
        assert not torch.allclose(found, whole, rtol=1e-3)
    else:
        torch.testing.assert_close(found, whole)


def test_memory_of_gradients_is_that_of_a_chunk():
    model, guide = made("vrnn")

    def saved(batch):
        sizes = {}

        def keep(part):
            sizes[part.data_ptr()] = part.untyped_storage().nbytes()
            return part

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
            values = dict(draw(guide, batch).values)
            total = sum(part.sum() for part in score(model, batch, values).values())
        total.backward()
        return sum(sizes.values())

    found = []
    for length in (20, 200):
        batch = Batch.of(frames("bernoulli", 2, length))
        last = replace(
            batch.chunk(length - 10, length),
            before=end_of(model, guide, batch.chunk(0, length - 10)),
        )
        found.append((saved(last), saved(batch)))
    (short, _), (long, whole) = found
    assert long == pytest.approx(short, rel=0.2)
    assert whole > 10 * long
