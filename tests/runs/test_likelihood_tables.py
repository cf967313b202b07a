"""Tables of results say for rows what differs, and for sequences all of it."""

import numpy as np
import pytest

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.models import VAE
from pyrodgm.runs.likelihood_tables import likelihood_table

INFO = DataInfo("bits", "binary", 3, (0.5,) * 3, mean_length=1, max_length=3)
TRIVIAL = ("independent", "markov", "previous frame", "entropy")


def bounds(lengths, *nats):
    return [Bound.of(np.full(len(lengths), each), np.array(lengths), "exact") for each in nats]


@pytest.mark.parametrize("splits", [("test",), ("valid", "test")])
def test_rows_have_one_mean_and_no_predictor_of_the_past(splits):
    own, *trivial = bounds([1, 1, 1], -2.0, -3.0, -3.0, -3.0, -1.0)
    found = dict(zip(TRIVIAL, trivial, strict=True))
    table = likelihood_table(VAE(INFO), dict.fromkeys(splits, own), dict.fromkeys(splits, found))
    names = [row[0] for row in table.rows]
    assert names[0] == "upper limit of any prediction"
    assert names[1].startswith("VAE")
    assert names[2:] == ["independent features"]
    assert {len(row) for row in table.rows} == {1 + 2 * len(splits)} == {len(table.columns)}
    assert table.title == "test: 3 rows"


def test_sequences_have_means_over_frames_and_over_sequences_and_all_predictors():
    own, *trivial = bounds([1, 3], -2.0, -3.0, -3.0, -3.0, -1.0)
    found = dict(zip(TRIVIAL, trivial, strict=True))
    model = VAE(INFO)
    table = likelihood_table(model, {"test": own}, {"test": found}, per_sequence=True)
    assert len(table.rows) == 5
    mine = next(row for row in table.rows if row[0].startswith("VAE"))
    assert mine[1] == pytest.approx(-1.0)  # -4 nats over 4 frames
    assert mine[3] == pytest.approx(-4 / 3)  # the mean of -2 and of -2 / 3
    assert mine[5] == pytest.approx(-2.0)
    assert table.title == "test: 2 sequences, 4 frames"
