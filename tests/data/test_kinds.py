import numpy as np
import pytest

from pyrodgm.data.kinds import choose_kind, infer_kind
from pyrodgm.errors import DataError

NAN = np.nan


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([[True, False]]), "binary"),
        (np.array([[0, 1]], np.int64), "binary"),
        (np.array([[0.0, 1.0]]), "binary"),
        (np.array([[NAN, 1.0]]), "binary"),
        (np.array([[0, 0.5]], np.float16), "unit"),
        (np.array([[NAN, 0.5]]), "unit"),
        (np.array([[0, 2]], np.uint16), "count"),
        (np.array([[0, 2]], np.int64), "count"),
        (np.array([[0, 2**24]], np.int64), "count"),
        (np.array([[0, 2**24 + 1]], np.int64), "real"),  # float32 would make it 2^24
        (np.array([[NAN, 2.0]]), "count"),
        (np.array([[1], [6], [2]]), "categorical"),
        (np.array([[0], [6], [2]]), "categorical"),
        (np.array([[1], [6], [2]], np.uint8), "categorical"),
        (np.array([[1, 3], [6, 2]]), "count"),
        (np.arange(32)[:, None], "categorical"),
        (np.arange(33)[:, None], "count"),
        (np.arange(33, dtype=np.uint8)[:, None], "real"),
        (np.array([[1], [2**24 + 1]]), "real"),
        (np.array([[1.0], [6.0], [2.0]]), "real"),
        (np.array([[1.0], [6.0], [NAN]]), "categorical"),
        (np.array([[-1, 2]], np.int64), "real"),
        (np.array([[0, 2]], np.uint8), "real"),
        (np.array([[0, 2]], np.int8), "real"),
        (np.array([[0.0, 2.0]]), "real"),
        (np.array([[NAN, 2.5]]), "real"),
        (np.array([[NAN, -2.0]]), "real"),
    ],
)
def test_kind_is_inferred_from_the_values_that_are_there(values, kind):
    assert infer_kind({"train": values}) == kind


def test_every_array_has_a_say():
    counts, grey = np.array([[0, 2]]), np.array([[0.5, 1]])
    gaps = np.array([[NAN, 1.0]])
    assert infer_kind({"train": counts, "test": grey}) == "real"
    assert infer_kind({"train": counts, "test": gaps}) == "count"
    assert infer_kind({"train": counts.astype(float), "test": gaps}) == "count"
    assert infer_kind({"train": counts.astype(np.uint8), "test": gaps}) == "real"
    assert infer_kind({"train": np.array([[0, 1]]), "test": gaps}) == "binary"


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (np.array([[0.0, 1.0, NAN]]), "unit"),
        (np.array([[0.0, 1.0, NAN]]), "count"),
        (np.array([[0, 255]], np.uint8), "count"),
        (np.array([[0.0, 2.0]]), "count"),
        (np.array([[0.0, 2.0]]), "categorical"),
        (np.array([[True, False]]), "real"),
    ],
)
def test_a_kind_that_holds_may_be_asked_for(values, asked):
    assert choose_kind({"train": values}, asked) == asked


def test_a_kind_that_does_not_hold_is_refused_with_the_place():
    x = np.array([[0, 1, 2], [0, 1, -1]])
    values = {"train": x[:1], "test": x}
    with pytest.raises(DataError, match=r"'count' was .* frame 1 of 'test' has -1 in feature 2"):
        choose_kind(values, "count")
    with pytest.raises(DataError, match=r"frame 0 of 'train' has 2 .* must be 0 or 1.*is 'real'"):
        choose_kind(values, "binary")
    with pytest.raises(DataError, match=r"has 1.5 .* between 0 and 1"):
        choose_kind({"train": np.array([[1.5]])}, "unit")
    with pytest.raises(
        DataError, match="no kind 'counts'; give auto, binary, unit, categorical, count"
    ):
        choose_kind(values, "counts")
