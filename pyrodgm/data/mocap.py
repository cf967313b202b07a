"""Motion capture: people walking, as joint angles over time."""

from __future__ import annotations

from pyrodgm.data.base import Splits
from pyrodgm.data.published import Published

MIT = Published(
    name="mocap",
    folder="mocap",
    file="mit_mocap.npz",
    what=(
        "MIT walking motion as Taylor, Hinton and Roweis (2007) prepared it, from "
        "mocap/mit_data/mit_mocap.mat of github.com/zhegan27/TSBN_code_NIPS2015, as a ragged npz: "
        "train (3500, 49) with train_lengths (35,), test (326, 49) with test_lengths (4,)"
    ),
    shape=((31, 3100), (4, 400), (4, 326)),
    dim=49,
    notes=(
        "standardised over train and test together, before it was published",
        "the test sequences continue training sequences",
    ),
)
CMU35 = Published(
    name="cmu35-walk",
    folder="mocap",
    file="cmu35_walk.npz",
    what=(
        "walks of subject 35 of the CMU motion capture database, 50 channels, from "
        "github.com/uncbiag/neuro_shooting, as a ragged npz: train (4800, 50), valid (900, 50) and "
        "test (1200, 50), all lengths 300"
    ),
    shape=((16, 4800), (3, 900), (4, 1200)),
    dim=50,
)


def load_mit(*, path: str | None = None, split_seed: int = 0) -> Splits:
    """Walking motion of the MIT; four of the 35 training sequences are held out for validation.

    Args:
        path: the npz file, if it is not in a usual place.
        split_seed: of the choice of these four.

    Raises:
        DataError: it is not on this machine, or not what was published.
    """
    return MIT.load(path, split_seed=split_seed)


def load_cmu35(*, path: str | None = None) -> Splits:
    """Walks of subject 35 of the CMU database.

    Args:
        path: the npz file, if it is not in a usual place.

    Raises:
        DataError: it is not on this machine, or not what was published.
    """
    return CMU35.load(path)
