import numpy as np
import pytest
import torch

from oracles import assert_mean
from pyrodgm import data
from pyrodgm.data import local, stu
from pyrodgm.errors import DataError, UsageError

YEARS = np.array([1790, 1791, 1793])
WORDS = ["peace", "rare", "union", "war"]
TABLE = np.array([[30, 3, 60, 0], [0, 3, 10, 15], [7, 4, 9, 50]])


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A small corpus in the published form, in place of the published one."""
    monkeypatch.setattr(stu, "SHAPE", TABLE.shape)
    monkeypatch.setattr(stu, "TOKENS", TABLE.sum())
    rows, columns = TABLE.nonzero()
    indptr = np.concatenate([[0], np.bincount(rows).cumsum()])
    sparse = {"data": TABLE[rows, columns].astype(np.uint16), "indices": columns, "indptr": indptr}
    np.savez(tmp_path / stu.COUNTS, **sparse, shape=TABLE.shape, years=YEARS)
    (tmp_path / stu.VOCABULARY).write_text("\n".join(WORDS) + "\n")
    return str(tmp_path)


def frames(part):
    return part.x.numpy(), None if part.held_out is None else part.held_out.numpy()


def test_tokens_are_shared_out_and_none_is_used_twice(corpus):
    splits = data.load("stu", path=corpus, least_total=0, least_in_a_year=0, valid_share=0.1)
    (train, nothing), (valid_x, valid), (test_x, test) = map(
        frames, (splits.train, splits.valid, splits.test)
    )
    assert nothing is None
    np.testing.assert_array_equal(train, valid_x)
    np.testing.assert_array_equal(train, test_x[:-1])
    np.testing.assert_array_equal(train + valid + test[:-1], TABLE[:-1])
    assert min(train.min(), valid.min(), test.min()) >= 0
    totals = TABLE[:-1].sum(1)
    np.testing.assert_array_equal(test[:-1].sum(1), np.ceil(0.2 * totals))
    np.testing.assert_array_equal(valid.sum(1), np.ceil(0.1 * totals))


def test_the_last_year_is_in_reach_and_given_to_nobody(corpus):
    test = data.load("stu", path=corpus, least_total=0, least_in_a_year=0).test
    batch = test.batch([0])
    assert batch.seen[0, :, 0].tolist() == [True, True, False]
    assert torch.isfinite(batch.x).all()
    np.testing.assert_array_equal(test.held_out_batch([0])[0, -1], TABLE[-1])


def test_facts_name_words_and_years(corpus):
    splits = data.load("stu", path=corpus)
    assert splits.info.words == ("peace", "union", "war")
    assert splits.info.frame_labels == ("1790", "1791", "1793")
    assert (splits.info.kind, splits.info.dim, splits.info.max_length) == ("count", 3, 3)
    assert "3 of 4 words are used at least 20 times" in splits.notes[0]
    assert "the year 1793" in splits.notes[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"least_total": 11, "least_in_a_year": 5}, ["peace", "union", "war"]),
        ({"least_total": 10, "least_in_a_year": 4}, WORDS),
        ({"least_total": 65, "least_in_a_year": 5}, ["union", "war"]),
        ({"least_total": 10, "least_in_a_year": 51}, ["union"]),
    ],
)
def test_rare_words_are_dropped(corpus, options, words):
    assert list(data.load("stu", path=corpus, **options).info.words) == words


def test_validation_tokens_do_not_move_test_tokens(corpus):
    def held_out(**options):
        return frames(data.load("stu", path=corpus, **options).test)[1]

    np.testing.assert_array_equal(held_out(valid_share=0.3), held_out(valid_share=0.0))
    assert not np.array_equal(held_out(seed=1), held_out())
    assert (held_out(held_out_share=0.5)[:-1].sum(1) > held_out()[:-1].sum(1)).all()


def test_every_token_is_as_likely_to_be_held_out(corpus):
    drawn = [
        frames(data.load("stu", path=corpus, least_total=0, least_in_a_year=0, seed=seed).test)[1]
        for seed in range(300)
    ]
    total = TABLE[0].sum()
    assert_mean(
        torch.tensor(np.stack(drawn)[:, 0], dtype=torch.float64),
        torch.tensor(TABLE[0] * np.ceil(0.2 * total) / total),
    )


def test_a_share_of_tokens_is_rounded_up_and_not_off():
    assert stu._share(0.2, np.array([555])) == 111
    assert stu._share(0.2, np.array([556])) == 112
    assert stu._share(0.0, np.array([556])) == 0


@pytest.mark.parametrize(
    "options", [{"held_out_share": 0.7, "valid_share": 0.3}, {"valid_share": -0.1}]
)
def test_shares_must_leave_something(corpus, options):
    with pytest.raises(UsageError, match="together less than 1"):
        data.load("stu", path=corpus, **options)


def test_a_filter_that_drops_every_word_is_refused(corpus):
    with pytest.raises(UsageError, match="no word is used 1000 times"):
        data.load("stu", path=corpus, least_total=1000)


def test_what_is_damaged_or_other_data_is_refused(corpus, tmp_path):
    (tmp_path / stu.VOCABULARY).write_text("peace\n")
    with pytest.raises(DataError, match=r"found \(3, 4\), 191 and 1 words"):
        data.load("stu", path=corpus)
    np.savez(tmp_path / stu.COUNTS, data=np.ones(3))
    with pytest.raises(DataError, match="does not hold the published stu"):
        data.load("stu", path=corpus)
    (tmp_path / stu.COUNTS).write_bytes(b"PK")
    with pytest.raises(DataError, match="does not hold the published stu"):
        data.load("stu", path=corpus)
    with pytest.raises(DataError, match="No such file"):
        data.load("stu", path=str(tmp_path / "absent"))


def test_the_published_corpus(real_data, monkeypatch):
    folder = real_data("sotu/counts_by_year.npz").parent
    monkeypatch.setenv(local.ENVIRONMENT, str(folder.parent))
    splits = data.load("stu")
    train, (_, valid), (_, test) = splits.train, frames(splits.valid), frames(splits.test)
    assert (splits.info.dim, train.num_frames, splits.test.num_frames) == (2969, 223, 224)
    assert (splits.info.frame_labels[0], splits.info.frame_labels[-1]) == ("1790", "2014")
    assert "1933" not in splits.info.frame_labels
    whole = train.x.numpy() + valid + test[:-1]
    assert whole.sum() + test[-1].sum() == 644_244
    counts, years, words = stu.read(folder)
    assert (len(words), len(years)) == (7644, 224)
    top = [set(np.argsort(-year, kind="stable")[:50]) for year in counts[-2:]]
    # 70 % of 2014's 50 most frequent words were 2013's too, give or take a tie at the 50th place.
    assert abs(len(top[0] & top[1]) / 50 - 0.7) <= 0.02
