"""A field over sequences against the enumeration of every binary sequence of up to six frames."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from oracles import gradient
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.models import SequenceField

INFO = DataInfo("bits", "binary", 1, (0.4,), 3.0, 6)
PAIRS = replace(INFO, dim=2, mean=(0.4, 0.7), max_length=3)
NETWORKS = {
    "recurrent": {"hidden_dim": (3, 2)},
    "bidirectional": {"hidden_dim": (3, 4)},
    "conv": {"hidden_dim": (3, 2), "history": 1},
    "features": {"history": 2},
}


class Coins:
    """A noise distribution: bits that are one with probability 0.3 after a one, else with 0.6."""

    def log_prob(self, x, batch):
        before = torch.cat([torch.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)
        p = torch.where(before > 0, 0.3, 0.6).to(x)
        nats = torch.where(x > 0, p, 1 - p).log().sum(-1)
        return nats.masked_fill(~batch.mask, 0.0)


def field(network="bidirectional", info=INFO, **options):
    """A field whose frames depend on each other."""
    torch.manual_seed(1)
    model = SequenceField(info, network=network, **NETWORKS[network], **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    model.lengths.count(np.array([1, 2, 2, 3]))
    model.over(Coins())
    return model


def all_sequences(length, dim=1):
    """Every binary sequence of a length, (2^(l D), l, D)."""
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=length * dim)))
    return bits.reshape(-1, length, dim).double()


def gru(cell, v):
    """The states of a gated recurrent unit, frame by frame, from its equations."""
    net, h, found = cell.network, torch.zeros(cell.dim, dtype=v.dtype), []
    for each in v:
        i = (net.weight_ih_l0 @ each + net.bias_ih_l0).chunk(3)
        j = (net.weight_hh_l0 @ h + net.bias_hh_l0).chunk(3)
        r, z = torch.sigmoid(i[0] + j[0]), torch.sigmoid(i[1] + j[1])
        h = (1 - z) * torch.tanh(i[2] + r * j[2]) + z * h
        found.append(h)
    return torch.stack(found)


def potential(network, v):
    """The potential of one sequence of features (l, E), written from its equation."""
    if type(network).__name__ == "PairFeatures":
        total = v[0] @ network.first + v[-1] @ network.last + (v @ network.single).sum()
        for k, t in itertools.product(range(len(network.pairs)), range(len(v))):
            if t >= k:
                total = total + v[t - k] @ network.pairs[k] @ v[t]
        return total
    if type(network).__name__ == "ConvolutionalPotential":
        h = v
        for layer in network.layers:
            n, zero = layer.padding[0], torch.zeros_like(h[0])
            rows = [zero] * n + list(h) + [zero] * n
            frames = [
                layer.bias + sum(layer.weight[:, :, k] @ rows[t + k] for k in range(2 * n + 1))
                for t in range(len(h))
            ]
            h = torch.stack(frames).relu()
        return (h @ network.last.weight.T).sum()
    h = gru(network.forwards, v)
    if network.backwards is not None:
        h = torch.cat([h, gru(network.backwards, v.flip(0)).flip(0)], -1)
    first, _, last = network.network
    return (torch.relu(h @ first.weight.T + first.bias) @ last.weight.T).sum()


def log_probabilities(model, length, dim=1):
    """Log-probability of every sequence given its length, by brute force."""
    every = all_sequences(length, dim)
    u = torch.stack([potential(model.network, x) for x in every])
    if model.residual:
        u = u + Coins().log_prob(every, Batch.of(every)).sum(-1)
    return u - u.logsumexp(0)


@pytest.mark.parametrize("reference", ["none", "noise"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("info", [INFO, PAIRS], ids=["bits", "pairs"])
def test_every_sequence_has_the_probability_of_enumeration(network, reference, info):
    model = field(network, info, reference=reference)
    total = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for length in range(1, info.max_length + 1):
            every = all_sequences(length, info.dim)
            batch = Batch.of(every)
            one = Batch.of(every[:1])
            nats = model.potential(every, batch).sum(-1) - model.log_normalisers(one).sum()
            torch.testing.assert_close(nats, log_probabilities(model, length, info.dim))
            total += (nats + model.lengths(torch.tensor(length))).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("reference", ["none", "noise"])
def test_a_limit_bounds_the_network_and_has_the_probabilities_of_enumeration(reference):
    model, limit = field(reference=reference, limit=0.5), 0.5
    every = all_sequences(4)
    batch = Batch.of(every)
    with torch.no_grad():
        free = torch.stack([potential(model.network, x) for x in every])
        u = limit * torch.tanh(free / limit)
        assert (free.abs() > limit).any()
        if reference == "noise":
            ratios = model.log_ratio(every, batch, model._reference()).sum(-1)
            torch.testing.assert_close(ratios, u)
            u = u + Coins().log_prob(every, batch).sum(-1)
        nats = model.potential(every, batch).sum(-1) - model.log_normalisers(batch)[:, 0]
    torch.testing.assert_close(nats, u - u.logsumexp(0))


def test_with_a_shared_normaliser_lengths_and_sequences_have_probability_one_together():
    model = field(reference="none", log_z="shared")
    with torch.no_grad():
        log_z = model.log_normalisers(Batch.of(torch.zeros(1, 2, 1).double())).sum()
        u = [
            torch.stack([potential(model.network, x) for x in all_sequences(length)])
            for length in range(1, 7)
        ]
        joint = torch.cat([each + model.lengths.log_probs[i] for i, each in enumerate(u)])
    torch.testing.assert_close(log_z, joint.logsumexp(0))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_of_the_log_likelihood_is_that_of_enumeration(network):
    """Of data of unequal lengths in one padded batch: data's gradient minus the field's."""
    model = field(network, reference="none")
    data = [torch.tensor(bits).double()[:, None] for bits in ([1.0], [0.0, 1.0, 1.0], [1.0] * 5)]
    x = nn.utils.rnn.pad_sequence(data, batch_first=True)
    mask = torch.arange(5) < torch.tensor([1, 3, 5])[:, None]
    batch = Batch(x, mask, torch.arange(3))
    nats = (model.potential(x, batch) - model.log_normalisers(batch)).sum()
    exact = sum(potential(model.network, each) for each in data)
    for each in data:
        every = all_sequences(len(each))
        p = log_probabilities(model, len(each)).exp().detach()
        exact = exact - (p * torch.stack([potential(model.network, s) for s in every])).sum()
    weights = list(model.parameters())
    torch.testing.assert_close(gradient(nats, weights), gradient(exact, weights))


@pytest.mark.parametrize("reference", ["none", "noise"])
@pytest.mark.parametrize("network", NETWORKS)
def test_padding_and_the_size_of_a_batch_change_nothing(network, reference):
    model = field(network, PAIRS, reference=reference)
    lengths = torch.tensor([3, 1, 2])
    x = torch.rand(2, 3, 3, 2).round().double()  # two draws of three sequences
    mask = torch.arange(3) < lengths[:, None]
    padded = torch.cat([x * mask[..., None], torch.ones(2, 3, 2, 2).double()], -2)
    batch = Batch(padded[0], torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], 1), lengths)
    with torch.no_grad():
        together = model.potential(padded, batch).sum(-1)
        for k, row in itertools.product(range(2), range(3)):
            alone = x[k, row : row + 1, : lengths[row]]
            torch.testing.assert_close(
                model.potential(alone, Batch.of(alone)).sum(), together[k, row]
            )


def test_a_residual_starts_at_its_noise_distribution():
    model = SequenceField(INFO).double()
    noise = Coins()
    model.over(noise)
    every = all_sequences(4)
    batch = Batch.of(every)
    assert torch.equal(model.potential(every, batch), noise.log_prob(every, batch))
    assert not model.log_ratio(every, batch, noise).any()
    torch.testing.assert_close(
        model.log_normalisers(batch), torch.zeros(16, 4, dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("reference", ["none", "noise"])
def test_the_ratio_to_a_noise_distribution_is_the_potential_less_its_density(reference):
    model, own, other = field(reference=reference), Coins(), Coins()
    model.over(own)
    every = all_sequences(3)
    batch = Batch.of(every)
    expected = (model.potential(every, batch) - own.log_prob(every, batch)).sum(-1)
    for noise in (own, other):
        torch.testing.assert_close(model.log_ratio(every, batch, noise).sum(-1), expected)


@pytest.mark.parametrize("log_z", ["by-length", "shared"])
def test_learned_normalisers_start_where_a_field_of_zero_has_them(log_z):
    model = SequenceField(INFO, reference="none", log_z=log_z).double()
    x = torch.zeros(2, 4, 1).double()
    batch = Batch(x, torch.arange(4) < torch.tensor([[4], [2]]), torch.arange(2))
    found = model.free_log_normaliser().double()(batch)
    assert found.shape == (2, 4)
    torch.testing.assert_close(
        found.sum(-1), model.log_normalisers(batch).sum(-1), rtol=1e-6, atol=0
    )


def test_conditions_enter_the_potential_and_the_normaliser():
    info = replace(PAIRS, condition_mean=(0.0,), condition_std=(1.0,))
    model = field(info=info, reference="none")
    given = torch.tensor([0.0, 1.0, -1.0]).double()[:, None]
    every = all_sequences(3, 2)
    u = torch.stack([potential(model.network, torch.cat([x, given], -1)) for x in every])
    with torch.no_grad():
        batch = Batch.of(every, given.expand(len(every), -1, -1))
        torch.testing.assert_close(model.potential(every, batch).sum(-1), u)
        one = Batch.of(every[:1], given[None])
        torch.testing.assert_close(model.log_normalisers(one).sum(), u.logsumexp(0))


def test_lengths_are_counted_from_the_training_data():
    model = SequenceField(INFO)
    split = Sequences(np.zeros((9, 1), np.uint8), np.array([2, 2, 5]))
    model.begin(Splits(INFO, split, split, split), 0)
    expected = torch.tensor([1 / 6, 2 + 1 / 6, 1 / 6, 1 / 6, 1 + 1 / 6, 1 / 6]) / 4
    torch.testing.assert_close(model.lengths.log_probs.exp(), expected)
    assert model.lengths(torch.tensor(7)) == -torch.inf
    assert set(model.lengths.draw(50).tolist()) <= set(range(1, 7))


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"kind": "unit"}, {}, "has grey values"),
        ({"has_missing": True}, {}, "has missing values"),
        ({"kind": "real"}, {"reference": "none"}, "set model.reference=noise"),
        ({"kind": "real"}, {"network": "features"}, "choose another model.network"),
        (
            {"condition_mean": (0.0,), "condition_std": (1.0,)},
            {"log_z": "shared"},
            "set model.log_z=by-length",
        ),
    ],
)
def test_what_has_no_density_is_refused(change, options, words):
    with pytest.raises((DataError, UsageError), match=words):
        SequenceField(replace(INFO, **change), **options)


def test_a_residual_without_noise_and_what_needs_independent_frames_are_refused():
    model = SequenceField(INFO)
    x = torch.zeros(1, 2, 1)
    with pytest.raises(CompatibilityError, match=r"call model\.over\(guide\)"):
        model.potential(x, Batch.of(x))
    with pytest.raises(CompatibilityError, match="its frames depend on each other"):
        model.gibbs(x, Batch.of(x))
    with pytest.raises(CompatibilityError, match="at most 16 bits"):
        SequenceField(replace(INFO, max_length=17)).log_normalisers(Batch.of(x))
