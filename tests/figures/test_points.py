"""Points in the plane: which features are shown, and which points lie on top."""

import numpy as np
import pytest

from pyrodgm.figures.points import axes_of, scatter


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_the_features_that_vary_most_are_shown(dim):
    x = np.random.default_rng(0).normal(size=(50, dim)) * np.arange(dim, 0, -1)
    (ax,) = scatter({"drawn": x, "test": x[:20]}).axes
    first, second = ax.collections
    chosen = np.array([0, min(1, dim - 1)])
    assert axes_of(x) == tuple(chosen)
    assert np.array_equal(np.asarray(first.get_offsets()), x[:, chosen])
    assert np.array_equal(np.asarray(second.get_offsets()), x[:20, chosen])
    assert first.get_zorder() > second.get_zorder()
