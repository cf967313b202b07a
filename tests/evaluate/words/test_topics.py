"""Topics and the prediction of words, against sums over all latent paths and counts by hand."""

import math

import numpy as np
import pytest
import torch

from oracles import Enumerated, all_paths, assert_mean
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.words import scores as words
from pyrodgm.evaluate.words.contrasts import coherence, contrasting, near_by
from pyrodgm.evaluate.words.predictors import mixing_share, score_model, trivial_scores
from pyrodgm.evaluate.words.probabilities import smoothed, word_probabilities
from pyrodgm.evaluate.words.scores import (
    Corpus,
    Prediction,
    WordScore,
    nats_per_token,
    overlap,
)
from pyrodgm.evaluate.words.topics import (
    distinctive,
    most_telling,
    top,
    top_words,
    topics,
)
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import HMSBN
from variants import SEQUENTIAL, D, chances_given_paths, frame_terms, frames, pair, scoring


@pytest.mark.parametrize("variant", SEQUENTIAL)
def test_draws_alike_follow_the_guide_and_then_the_model(variant):
    """z_<=T from the guide, z_T+1 and its words from the model, summed over all paths."""
    model, guide = pair(variant, "multinomial")
    x = frames("multinomial", 2)
    exact = Enumerated(model, guide, x, **scoring(model, "multinomial"))
    here = torch.einsum("s,std->td", exact.q, chances_given_paths(model, x, exact.paths))
    dims = list(sizes(model.latents).values())
    last = dict(zip(model.latents, all_paths(1, sum(dims)).split(dims, -1), strict=True))
    longer = {
        name: torch.cat(
            [path.repeat_interleave(len(last[name]), 0), last[name].repeat(len(path), 1, 1)], 1
        )
        for name, path in exact.paths.items()
    }
    joint = frame_terms(model, torch.cat([x, x[:1]]), longer, 2)[:, 1:].exp()
    ahead = exact.q @ joint.reshape(len(exact.q), -1, D).sum(1)
    draws = [word_probabilities(model, guide, x, draws=50, seed=seed) for seed in range(40)]
    assert_mean(torch.from_numpy(np.stack(draws)), torch.cat([here, ahead[None]]).detach())
    assert draws[0].sum(-1) == pytest.approx(1)


@pytest.mark.parametrize("variant", ["hmsbn", "dtsbn-s order 2", "dtsbn-d"])
def test_weighted_draws_follow_the_posterior(variant):
    """Given the counts up to the frame, z_t of the posterior: summed over all paths."""
    model, guide = pair(variant, "multinomial")
    x = frames("multinomial", 3)
    exact = Enumerated(model, guide, x, **scoring(model, "multinomial"))
    given = exact.log_p.cumsum(-1).softmax(0)
    expected = torch.einsum("st,std->td", given, chances_given_paths(model, x, exact.paths))
    # Of the filtering distribution: paths alike up to t count once for each of their ends.
    draws = [
        word_probabilities(model, guide, x, draws=3000, weighted=True, seed=seed)[:-1]
        for seed in range(20)
    ]
    assert_mean(torch.from_numpy(np.stack(draws)), expected.detach())


def test_ties_are_broken_by_place_and_counts_may_be_unsigned():
    counts = np.array([[0, 2, 2, 9]], np.uint32)
    assert top(counts, 3).tolist() == [[3, 1, 2]]
    assert overlap(np.array([[4, 3, 2, 1]]), counts, 2).tolist() == [0.5]


def test_overlap_is_one_where_the_same_words_lead():
    counts = np.random.default_rng(0).permuted(np.tile(np.arange(200), (3, 1)), axis=1)
    assert overlap(np.log1p(counts), counts).tolist() == [1, 1, 1]
    assert overlap(-counts, counts).tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="200 words, too few for a top 300"):
        overlap(counts, counts, 300)


def test_words_of_a_topic_by_weight_and_by_what_tells_it_from_the_rest():
    share = np.array([0.7, 0.2, 0.09, 0.01])
    weights = np.array([[0.0, 0.1, 1.0, 1.1], [0.0, 0.0, 0.0, 0.0]])
    vocabulary = ["the", "war", "tax", "zinc"]
    assert top_words(weights, vocabulary)[0] == ["zinc", "tax", "war", "the"]
    scores = distinctive(weights, share)
    assert top_words(scores, vocabulary, 2)[0] == ["tax", "zinc"]
    topic = share * np.exp(weights[0])
    topic /= topic.sum()
    np.testing.assert_allclose(scores[0], topic * np.log(topic / share))
    with pytest.raises(UsageError, match="3 words for 4 columns"):
        top_words(weights, vocabulary[:3])


def test_what_all_units_add_tells_none_from_the_others():
    rng = np.random.default_rng(0)
    weights, share = rng.normal(size=(3, 6)), rng.dirichlet(np.ones(6))
    common = distinctive(weights + rng.normal(size=6), share)
    np.testing.assert_allclose(common, distinctive(weights, share), atol=1e-12)
    alone = share * np.exp(weights[0])
    np.testing.assert_allclose(
        distinctive(weights[:1], share)[0].sum(),
        (alone / alone.sum() * np.log(alone / alone.sum() / share)).sum(),
    )


def test_words_that_come_with_a_unit_by_hand():
    counts = np.array([[40, 2, 9, 0], [41, 0, 1, 0], [39, 0, 0, 0]], np.float32)
    on = np.array([[1.0, 0.5], [0.0, 0.5], [0.0, 0.5]])
    scores = contrasting(counts, on, near=1.0)
    near, far = math.exp(-0.5), math.exp(-2)
    off_around_first = (near + far) / (1 + near + far)
    on_around = near / (1 + 2 * near), far / (1 + near + far)
    with_unit = off_around_first * counts[0] + 0.01 * counts.sum(0)
    without = on_around[0] * counts[1] + on_around[1] * counts[2] + 0.01 * counts.sum(0)
    y, m = with_unit[2], without[2]
    odds = math.log(y / (with_unit.sum() - y)) - math.log(m / (without.sum() - m))
    assert scores[0, 2] == pytest.approx(odds / math.sqrt(1 / y + 1 / m))
    assert scores[0].argmax() == 2
    np.testing.assert_allclose(scores[1], 0, atol=1e-6)
    assert (scores[:, 3] == 0).all()


def test_slow_changes_of_all_words_tell_nothing_of_a_unit():
    """A word that grows steadily, and one that comes and goes with a unit of the second half."""
    frames = np.arange(40)
    on = ((frames > 20) & (frames % 2 == 0)).astype(float)[:, None]
    counts = np.stack([5 + frames, 5 + 3 * on[:, 0], np.full(40, 100)], 1)
    assert contrasting(counts, on, near=2.0)[0].argmax() == 1
    assert contrasting(counts, on, near=1e6)[0].argmax() == 0


def test_coherence_is_the_mean_correlation_of_pairs():
    counts = np.random.default_rng(0).poisson(20, (30, 6)).astype(np.float32)
    counts[:, 5] = 0
    roots = np.sqrt(counts / counts.sum(1, keepdims=True))
    frames = np.arange(30)
    kernel = np.exp(-0.5 * (np.subtract.outer(frames, frames) / 4) ** 2)
    r = roots - kernel / kernel.sum(1, keepdims=True) @ roots
    cosine = [[r[:, v] @ r[:, w] / np.sqrt(r[:, v] @ r[:, v] * (r[:, w] @ r[:, w])) for w in (1, 3)]
              for v in (0, 1)]  # fmt: skip
    found = coherence(counts, np.array([[0, 1, 3], [5, 5, 5]]), near=4.0)
    by_hand = (cosine[0][0] + cosine[0][1] + cosine[1][1]) / 3
    assert found == pytest.approx([by_hand, 0])


def test_topics_that_say_the_same_again_come_last():
    words = np.array([[0, 1, 2, 3, 4], [0, 1, 9, 8, 7], [0, 5, 6, 7, 8], [5, 6, 1, 2, 3]])
    assert most_telling(np.array([0.4, 0.3, 0.2, 0.1]), words, 4).tolist() == [0, 2, 1, 3]


def test_a_unit_that_is_on_where_words_are_read_is_named_by_them():
    """Two subjects, in the first and in the second half of the frames, and a fitting model."""
    rng = np.random.default_rng(0)
    rates = np.kron([[3.0, 0.2], [0.2, 3.0]], np.ones((10, 4)))
    counts = np.concatenate([rng.poisson(rates), np.full((20, 1), 9)], 1).astype(np.float32)
    part = Sequences(counts, np.array([20]))
    vocabulary = (*"abcdefgh", "the")
    parts = dict.fromkeys(("train", "valid", "test"), part)
    splits = Splits.of("speech", "count", parts, words=vocabulary)
    model = HMSBN(splits.info, hidden_dim=2)
    guide = RecurrentBernoulli(model)
    with torch.no_grad():
        for layer in (model.x_from_z, *guide.layers):
            for parameter in layer.parameters():
                parameter.zero_()
        model.x_from_z.weight[:4, 0], model.x_from_z.weight[4:8, 1] = 2.0, 1.0
        guide.layers[0].now.weight[0, :4], guide.layers[0].now.weight[0, 4:8] = 5.0, -5.0
    first, second = topics(model, guide, splits, num=2, num_words=4)
    assert (first.unit, second.unit) == (0, 1)
    assert first.probability == pytest.approx(np.repeat([1.0, 0.0], 10), abs=0.05)
    assert second.probability == pytest.approx(np.full(20, 0.5))
    assert second.coherence == 0 < first.coherence
    assert set(first.words) == set(first.own_words) == set(first.heavy_words) == set("abcd")
    assert set(second.own_words) == set("efgh")


def test_topics_need_words():
    model, guide = pair("hmsbn", "multinomial")
    part = Sequences(frames("multinomial", 3).numpy(), np.array([3]))
    splits = Splits.of("counts", "count", dict.fromkeys(("train", "valid", "test"), part))
    with pytest.raises(UsageError, match="topics need the names of words"):
        topics(model, guide, splits)


def test_nats_per_token_by_hand():
    probabilities = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    counts = np.array([[1, 1, 0], [0, 0, 2]])
    mean, error = nats_per_token(probabilities, counts)
    assert mean == pytest.approx(math.log(0.5))
    assert error == pytest.approx(0)
    mean, error = nats_per_token(probabilities, np.array([[1, 0, 0], [3, 0, 0]]))
    assert mean == pytest.approx(math.log(0.5) / 4 + 3 * math.log(0.25) / 4)
    off = [math.log(0.5) - mean, 3 * (math.log(0.25) - mean)]
    assert error == pytest.approx(math.sqrt(2 * (off[0] ** 2 + off[1] ** 2)) / 4)


def test_the_mixing_share_maximises_the_likelihood():
    rng = np.random.default_rng(0)
    own, rest = rng.dirichlet(np.ones(6), 4), rng.dirichlet(np.ones(6))
    counts = rng.poisson(1000 * (0.3 * own + 0.7 * rest))
    share = mixing_share(own, rest, counts)

    def nats(value):
        return (counts * np.log(value * own + (1 - value) * rest)).sum()

    assert nats(share) > max(nats(share - 0.01), nats(share + 0.01))
    assert abs(share - 0.3) < 0.1


def test_smoothing_leaves_the_token_itself_out():
    assert smoothed(np.array([2.0, 0.0])).tolist() == [2.5 / 3, 0.5 / 3]
    assert smoothed(np.array([2.0, 0.0]), without=1).tolist() == [1.5 / 2, 0.5 / 2]


@pytest.fixture
def corpus():
    """Frames drawn from two vocabularies in turn: first one, then the other."""
    rng = np.random.default_rng(0)
    laws = np.kron(np.eye(2), np.ones((5, 60))) / 60
    train = rng.poisson(2000 * laws)
    return Corpus(train.astype(np.float32), rng.poisson(500 * laws), rng.poisson(2000 * laws[-1]))


def test_a_corpus_is_what_is_seen_what_is_held_out_and_the_frame_to_come():
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    held_out = 100 + x
    whole = Corpus.of(Sequences(x, np.array([3]), held_out=held_out))
    assert np.array_equal(whole.train, x)
    assert np.array_equal(whole.held_out, held_out)
    assert whole.final is None
    ahead = x.copy()
    ahead[2] = np.nan
    told = Corpus.of(Sequences(ahead, np.array([3]), held_out=held_out))
    assert np.array_equal(told.train, x[:2])
    assert np.array_equal(told.held_out, held_out[:2])
    assert np.array_equal(told.final, held_out[2])
    assert Corpus.of(Sequences(x, np.array([3]))) is None


def test_trivial_predictors_by_hand(monkeypatch):
    """Three years and four words, of which one is ranked."""
    monkeypatch.setattr(words, "TOP", 1)
    train = np.array([[9, 1, 0, 0], [0, 8, 1, 1], [0, 0, 9, 3]], np.float32)
    held_out = np.array([[0, 0, 0, 5], [0, 7, 0, 0], [1, 0, 6, 0]], np.float32)
    found = trivial_scores(Corpus(train, held_out, np.array([0, 0, 4, 1], np.float32)))
    # Words by all years: 9, 9, 10, 4, so the third; that of the year before, for the first by all.
    assert found["unigram"].overlap == pytest.approx(1 / 3)
    assert found["previous frame"].overlap == 0.0  # third, first, second; asked fourth, second, ...
    assert found["same frame"].overlap == pytest.approx(2 / 3)
    assert found["previous frame"].next_overlap == 1.0  # the third, as in the last year
    assert found["unigram"].next_overlap == 1.0
    total = train.sum(0)
    unigram = smoothed(total)
    tokens = held_out.sum()
    expected = (held_out * np.log(unigram)).sum() / tokens
    assert found["unigram"].nats == pytest.approx(expected)
    own = train / train.sum(-1, keepdims=True)
    rest = smoothed(total, without=1)
    # Of each token the others of its year: without it a word is there one time less.
    left = (train - 1).clip(0) / (train.sum(-1, keepdims=True) - 1)
    shares = np.linspace(0, 1, 10_001)[1:-1, None, None]
    best = shares[(train * np.log(shares * left + (1 - shares) * rest)).sum((1, 2)).argmax()]
    mixed = best[0] * own + (1 - best[0]) * unigram
    expected = (held_out * np.log(mixed)).sum() / tokens
    assert found["same frame"].nats == pytest.approx(expected, abs=1e-3)


def test_trivial_predictors_are_in_the_order_that_the_corpus_gives(corpus):
    found = trivial_scores(corpus)
    best = -math.log(60)
    assert found["unigram"].nats == pytest.approx(best - math.log(2), abs=0.02)
    assert found["same frame"].nats == pytest.approx(best, abs=0.02)
    assert found["unigram"].nats < found["previous frame"].nats < found["same frame"].nats
    assert found["previous frame"].next_nats == pytest.approx(best, abs=0.15)
    assert found["previous frame"].next_overlap > 0.7
    assert math.isnan(found["same frame"].next_overlap)
    assert found["same frame"].to_dict()["next_overlap"] is None


def test_trivial_predictors_do_not_look_at_held_out_tokens(corpus):
    moved = Corpus(corpus.train, np.roll(corpus.held_out, 60, axis=1), corpus.final)
    one, other = trivial_scores(corpus)["same frame"], trivial_scores(moved)["same frame"]
    assert one.overlap > 0.7
    assert other.overlap < 0.1
    assert other.nats < one.nats - 2


def test_scores_of_a_model_are_those_of_its_chances(monkeypatch):
    model, guide = pair("deep hmsbn", "multinomial")
    monkeypatch.setattr(words, "TOP", 1)
    train = frames("multinomial", 4).float().numpy()
    corpus = Corpus(train, np.eye(D)[[0, 1, 2, 0]], np.eye(D)[1])
    model, guide = model.float(), guide.float()
    found = score_model(model, guide, corpus, seeds=3, draws=5)
    counts = torch.from_numpy(train)
    probabilities = word_probabilities(model, guide, counts, draws=5, weighted=True)
    assert found["weighted"].nats == pytest.approx(
        nats_per_token(probabilities[:-1], corpus.held_out)[0]
    )
    assert found["weighted"].next_nats == pytest.approx(math.log(probabilities[-1, 1]))
    single = [word_probabilities(model, guide, counts, seed=seed) for seed in range(3)]
    here = [overlap(probabilities[:-1], corpus.held_out, 1).mean() for probabilities in single]
    ahead = [overlap(probabilities[-1:], corpus.final[None], 1)[0] for probabilities in single]
    assert found["guide"].overlap == pytest.approx(np.mean(here))
    assert found["guide"].next_overlap == pytest.approx(np.mean(ahead))
    assert found["guide"].nats != found["weighted"].nats
    mixture = overlap(probabilities[:-1], corpus.held_out, 1).mean()
    assert found["weighted"].mixture_overlap == pytest.approx(mixture)
    assert (
        found["weighted"].mixture_next_overlap
        == overlap(probabilities[-1:], corpus.final[None], 1)[0]
    )


def test_a_single_seed_has_no_deviation(corpus):
    ranking = corpus.train[None]
    probabilities = np.broadcast_to(smoothed(corpus.train.sum(0)), corpus.train.shape)
    found = WordScore.of(Prediction(ranking, probabilities), corpus)
    assert math.isnan(found.overlap_sd)


def test_what_is_near_by_is_weighed_by_its_distance():
    x = np.random.default_rng(0).random((200, 3))
    apart = np.subtract.outer(np.arange(200), np.arange(200)) / 6.0
    weights = np.exp(-0.5 * apart**2)
    expected = weights @ x / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(near_by(x, 6.0), expected, atol=1e-8)
