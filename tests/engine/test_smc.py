"""The particle filter against sums over all latent paths."""

import math

import pytest
import torch

from oracles import Enumerated, all_paths, assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.particles import Particles, beginning, systematic
from pyrodgm.engine.smc import ParticleFilter, frame_evidence
from pyrodgm.engine.terms import terms
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.bounds import bound, sequence_bounds
from pyrodgm.guides import GuideTraits, NoGuide, StepGuide
from pyrodgm.models import AR, HMM, LDS, RNNNADE
from pyrodgm.networks.cells import ReLUCell
from variants import INFOS, frames, path_log_probs, randomised
from variants import pair as made

LENGTHS = [3, 1, 2]
SMALL = ["tsbn", "tsbn order 2", "dtsbn-d order 2"]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def pair(variant: str, emission: str = "bernoulli"):
    """A pair whose weights are large enough to matter and small enough for few draws to do."""
    model, guide = made(variant, emission)
    std = 0.25 if emission == "gaussian" else 0.5
    return randomised(model, std), randomised(guide, std)


def ragged_batch(rows: list[torch.Tensor], copies: int = 1, padding: int = 0) -> Batch:
    """All sequences, each `copies` times, with junk where padded."""
    length = max(map(len, rows)) + padding
    x = torch.full((len(rows), length, rows[0].shape[-1]), 0.5, dtype=torch.float64)
    for place, row in enumerate(rows):
        x[place, : len(row)] = row
    mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
    index = torch.arange(len(rows)).repeat_interleave(copies)
    return Batch(x[index], mask[index], index)


def sequences(emission: str = "bernoulli") -> list[torch.Tensor]:
    return [frames(emission, length) for length in LENGTHS]


class Smoother(StepGuide):
    """Every latent sees the whole sequence."""

    traits = GuideTraits(latents="binary", sequential=True)
    history = 1

    def encode(self, batch):
        total = (batch.x * batch.mask[..., None]).sum((1, 2))
        return total.sin()[:, None, None].expand(-1, batch.length, 2)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded + past["z"].flip(-1)))


class Stateful(StepGuide):
    """A guide with a state that its own draws drive."""

    traits = GuideTraits(latents="binary", sequential=True, causal=True)
    history = 1
    states = ("g",)

    def __init__(self, model):
        super().__init__(model)
        self.cell = ReLUCell(2, init_scale=1.0)

    def encode(self, batch):
        return batch.x[..., :2]

    def step(self, draw, past, encoded, t):
        g = past.carry("g", past["z"] + encoded, self.cell)
        draw("z", BernoulliVector(g - 1))


@pytest.mark.parametrize("threshold", [0.5, 1.1])
@pytest.mark.parametrize("variant", SMALL)
def test_the_estimate_of_the_evidence_is_unbiased(variant, threshold):
    model, guide = pair(variant)
    rows, copies = sequences(), 4000
    exact = torch.stack([Enumerated(model, guide, x).evidence() for x in rows])
    batch = ragged_batch(rows, copies, padding=1)
    found = frame_evidence(model, guide, batch, 8, threshold=threshold).sum(-1)
    ratios = (found - exact[batch.index]).exp().view(len(rows), copies).T
    assert_mean(ratios, torch.ones(len(rows)))


@pytest.mark.parametrize("guide", [Smoother, Stateful])
def test_any_guide_gives_an_unbiased_estimate(guide):
    model, _ = pair("tsbn")
    x = sequences()[0]
    exact = Enumerated(model, pair("tsbn")[1], x).evidence()
    batch = ragged_batch([x], 4000)
    found = frame_evidence(model, guide(model).double(), batch, 8, threshold=1.1).sum(-1)
    assert_mean((found - exact).exp()[:, None], 1.0)


@pytest.mark.parametrize("emission", ["nade", "gaussian", "multinomial"])
def test_with_many_particles_it_is_the_evidence_whatever_a_frame_is_made_of(emission):
    model, guide = pair("dtsbn-s", emission)
    batch = ragged_batch(sequences(emission))
    paths = all_paths(3, 4).split(2, -1)
    values = {name: path[:, None] for name, path in zip(model.latents, paths, strict=True)}
    joint = sum(path_log_probs(model, batch, values).values())
    exact = (joint.sum(-1).logsumexp(0)
             - 4 * (batch.length - batch.lengths) * math.log(2))  # fmt: skip
    found = torch.stack([frame_evidence(model, guide, batch, 500).sum(-1) for _ in range(40)])
    assert_mean((found - exact).exp(), torch.ones(len(LENGTHS)))


def test_the_mean_of_its_logarithm_is_the_bound_by_one_path_and_by_many():
    model, guide = pair("tsbn")
    x = sequences()[0]
    exact = Enumerated(model, guide, x)
    for particles, threshold, value in ((1, 0.5, exact.elbo()), (2, 0.0, exact.iwae(2))):
        batch = ragged_batch([x], 4000)
        found = frame_evidence(model, guide, batch, particles, threshold=threshold).sum(-1)
        assert_mean(found[:, None], value)


def test_missing_features_are_left_out_and_unseen_frames_proposed_by_the_model():
    model, guide = pair("tsbn order 2")
    batch = ragged_batch([frames("bernoulli", 3)])
    seen = torch.ones_like(batch.x, dtype=torch.bool)
    seen[0, 0, 1] = seen[0, 1] = False
    batch.seen = seen
    values = {"z": all_paths(3, 2)[:, None]}
    exact = sum(path_log_probs(model, batch, values).values()).sum(-1).logsumexp(0)
    copies = 4000
    many = Batch(
        batch.x.expand(copies, -1, -1),
        batch.mask.expand(copies, -1),
        torch.arange(copies),
        seen.expand(copies, -1, -1),
    )
    found = ParticleFilter(model, guide, many, 8).run()
    assert_mean((torch.stack(found.increments).sum(0) - exact).exp()[:, None], 1.0)
    single = ParticleFilter(model, guide, many, 1)
    single.advance()
    single.advance()
    assert not single.increments[1].any()


@pytest.mark.parametrize("kind", ["ar", "rnn", "hmm", "lds"])
def test_without_latents_it_is_the_likelihood(kind):
    info = INFOS["gaussian" if kind == "lds" else "nade"]
    model = {
        "ar": lambda: AR(info, history=2, hidden_dim=3),
        "rnn": lambda: RNNNADE(info, hidden_dim=3),
        "hmm": lambda: HMM(info, num_states=3),
        "lds": lambda: LDS(info, state_dim=3),
    }[kind]()
    model = randomised(model)
    guide = NoGuide(model)
    batch = ragged_batch(sequences("gaussian" if kind == "lds" else "nade"), padding=1)
    exact = terms(model, guide, batch).log_p[0]
    torch.testing.assert_close(frame_evidence(model, guide, batch, 3), exact)


def test_padding_and_company_change_nothing():
    model, guide = pair("dtsbn-d order 2")
    rows = sequences()
    results = []
    for padding in (0, 2):
        torch.manual_seed(4)
        found = ParticleFilter(model, guide, ragged_batch(rows, padding=padding), 5).run()
        results.append(found)
    short, long = results
    assert torch.equal(torch.stack(short.increments), torch.stack(long.increments[:3]))
    assert not torch.stack(long.increments[3:]).any()
    assert torch.equal(short.log_weights, long.log_weights)
    for name, window in short.p.past.items():
        assert torch.equal(window, long.p.past[name]), name
    for name, state in short.p.past.states.items():
        assert torch.equal(state, long.p.past.states[name]), name


def test_a_sequence_that_has_ended_keeps_what_its_particles_carried():
    model, guide = pair("dtsbn-d order 2")
    batch = ragged_batch(sequences())
    found = ParticleFilter(model, guide, batch, 5, threshold=1.1)
    found.advance()  # the second sequence has a single frame
    before = found.p.fork()
    weights = found.log_weights[:, 1]
    found.run()
    assert torch.equal(found.log_weights[:, 1], weights)
    for old, new in ((before.past, found.p.past), (before.past.states, found.p.past.states)):
        for name in old:
            assert torch.equal(old[name][..., 1, :], new[name][..., 1, :]), name
            assert not torch.equal(old[name][..., 0, :], new[name][..., 0, :]), name


def test_chosen_particles_take_their_windows_and_states_along():
    model, guide = pair("dtsbn-d order 2")
    found = ParticleFilter(model, guide, ragged_batch(sequences()), 4).run()
    index = torch.tensor([[3, 0, 1], [3, 2, 1]])
    for particles in (found.p, found.q):
        chosen = particles.chosen(index)
        for old, new in (
            (particles.past, chosen.past), (particles.past.states, chosen.past.states)
        ):  # fmt: skip
            for name, value in old.items():
                if value.dim() == 2:
                    assert new[name] is value
                    continue
                rows = [value[index[:, b], b] for b in range(3)]
                assert torch.equal(new[name], torch.stack(rows, 1)), name
    assert found.p.past.states["h"].dim() == 3


def test_states_of_guides_are_chosen_too():
    batch = ragged_batch(sequences())
    particles = Particles(Stateful(pair("tsbn")[0]).double(), batch, 4)
    for t in range(2):
        particles.step(lambda name, law: law.expand((4, 3)).sample(), torch.tensor(t))
        particles.push({"z": torch.rand(4, 3, 2).double()})
    particles.step(lambda name, law: law.expand((4, 3)).sample(), torch.tensor(2))
    index = torch.tensor([[2, 1, 0]])
    chosen = particles.chosen(index).past.states["g"]
    assert torch.equal(chosen[0, 0], particles.past.states["g"][2, 0])


def test_resampling_happens_where_weights_are_uneven_and_nowhere_else(monkeypatch):
    model, guide = pair("tsbn")
    moved = []
    monkeypatch.setattr(ParticleFilter, "choose", lambda self, index: moved.append(self.t))
    ParticleFilter(model, guide, ragged_batch(sequences()), 4, threshold=0.0).run()
    assert moved == []
    ParticleFilter(model, guide, ragged_batch(sequences()), 4, threshold=1.1).run()
    assert moved == [0, 1, 2]


def test_systematic_resampling_is_fair_and_even():
    weights = torch.tensor([[0.05, 0.7], [0.45, 0.1], [0.5, 0.2]], dtype=torch.float64)
    counts = []
    for _ in range(4000):
        index = systematic(weights, 5)
        counts.append(torch.stack([torch.bincount(i, minlength=3) for i in index.T]).T)
    counts = torch.stack(counts).double()
    assert_mean(counts, 5 * weights)
    assert ((counts - 5 * weights).abs() < 1).all()


def test_means_without_a_closed_form_are_those_of_draws():
    model, _ = pair("tsbn", "nade")
    law = model.emission(torch.randn(1, 1, model.emission.size).double())
    x = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    exact = law.log_prob(x.double()[:, None]).exp()[:, 0] @ x.double()
    found = torch.stack([expected(law, torch.Size([100, 1])).mean(0)[0] for _ in range(100)])
    assert_mean(found, exact)


def test_what_comes_after_a_beginning_is_hidden():
    batch = ragged_batch(sequences())
    start = beginning(batch, torch.tensor([2, 1, 1]))
    assert start.mask.tolist() == [[True, True], [True, False], [True, False]]
    assert torch.equal(start.x[0], batch.x[0, :2])
    assert not start.x[2, 1].any()


@pytest.fixture
def split() -> Sequences:
    return Sequences(torch.rand(9, 3).round().numpy(), torch.tensor([4, 2, 3]).numpy())


def test_the_bound_by_a_particle_filter_has_a_name_and_a_seed(split):
    model, guide = pair("tsbn")
    model, guide = model.float(), guide.float()
    found = [
        bound(model, guide, split, particles=8, estimator="fivo", seed=seed).to_dict()
        for seed in (1, 1, 2)
    ]
    assert found[0]["estimator"] == "fivo"
    assert found[0]["particles"] == 8
    assert found[0] == found[1] != found[2]


def test_estimators_that_do_not_fit_are_refused(split):
    model, guide = pair("tsbn")
    with pytest.raises(UsageError, match="latents that cannot be summed out"):
        bound(model, guide, split, estimator="exact")
    with pytest.raises(UsageError, match="unknown estimator 'aes'; known: auto, elbo"):
        bound(model, guide, split, estimator="aes")
    with pytest.raises(UsageError, match="give at least 1"):
        bound(model, guide, split, estimator="fivo", particles=0)

    class Whole(torch.nn.Module):
        traits = model.traits

    with pytest.raises(UsageError, match="Whole does not give the distribution of a frame"):
        sequence_bounds(Whole(), guide, split, estimator="fivo")


def test_the_likelihood_is_exact_without_latents(split):
    info = DataInfo("tiny", "binary", 3, (0.5,) * 3, 3.0, 4)
    model = randomised(AR(info)).float()
    guide = NoGuide(model)
    found = [
        bound(model, guide, split, particles=k, estimator=estimator)
        for k, estimator in ((7, "auto"), (1, "exact"), (3, "fivo"), (3, "iwae"))
    ]
    assert (found[0].estimator, found[0].particles) == ("exact", 1)
    assert [each.estimator for each in found] == ["exact", "exact", "fivo", "exact"]
    assert found[0] == found[1]
    for other in found[2:]:
        assert other.nats_per_example == pytest.approx(found[0].nats_per_example, rel=1e-6)
