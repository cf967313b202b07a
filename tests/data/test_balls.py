import numpy as np
import pytest
from scipy.special import xlogy

from pyrodgm.data import balls
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator


@pytest.fixture(scope="module")
def videos():
    centres = balls.simulate(100, 100, numpy_generator(0, "calibration"))
    return centres, balls.render(centres).reshape(100, 100, -1).astype(np.float64)


def squared_error(guess, truth):
    return np.square(guess - truth).sum(-1).mean()


def test_generator_is_the_published_task(videos):
    centres, x = videos
    constant_velocity = balls.render(2 * centres[:, 1:-1] - centres[:, :-2])
    measured = {
        "mean image": squared_error(x.mean((0, 1)), x),
        "copy last": squared_error(x[:, :-1], x[:, 1:]),
        "linear": squared_error(np.clip(2 * x[:, 1:-1] - x[:, :-2], 0, 1), x[:, 2:]),
        "oracle": squared_error(constant_velocity.reshape(100, 98, -1), x[:, 2:]),
        "entropy": -(xlogy(x, x) + xlogy(1 - x, 1 - x)).sum(-1).mean(),
    }
    published = {
        "mean image": 74.95,
        "copy last": 11.87,
        "linear": 6.79,
        "oracle": 2.01,
        "entropy": 55.53,
    }
    assert measured == pytest.approx(published, rel=0.03)


def test_energy_is_conserved_away_from_walls(videos):
    speed = np.linalg.norm(np.diff(videos[0], axis=1), axis=(2, 3))
    # A bounce within a frame shortens the step; otherwise the norm of all velocities is 0.5.
    assert speed.max() <= balls.SPEED + 1e-9
    assert np.isclose(speed, balls.SPEED).mean() > 0.7


def test_balls_start_apart_and_inside(videos):
    start = videos[0][:, 0]
    assert start.min() >= 2
    assert start.max() <= balls.BOX - balls.RADIUS
    for i, j in balls.PAIRS:
        assert np.linalg.norm(start[:, i] - start[:, j], axis=-1).min() >= 2 * balls.RADIUS


def test_picture_shows_a_ball_where_it_is():
    picture = balls.render(np.array([[2.5, 7.5]]))
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert (column + 0.5) / 3 == pytest.approx(2.5, abs=1.3)
    assert (row + 0.5) / 3 == pytest.approx(7.5, abs=1.3)
    assert picture[0, 0] == 0
    weights = picture / picture.sum()
    centres = (np.arange(30) + 0.5) / 3
    assert weights.sum(0) @ centres == pytest.approx(2.5, abs=0.02)
    assert weights.sum(1) @ centres == pytest.approx(7.5, abs=0.02)


def test_seed_decides_and_splits_are_independent_of_each_others_size():
    small = balls.load(num_train=1, num_valid=1, num_test=2, length=4)
    other = balls.load(num_train=3, num_valid=1, num_test=2, length=4)
    assert small.test.x.equal(other.test.x)
    assert not small.train.x.equal(small.valid.x)
    reseeded = balls.load(num_train=1, num_valid=1, num_test=2, length=4, seed=1)
    assert not small.test.x.equal(reseeded.test.x)
    assert (small.info.kind, small.info.image_shape) == ("unit", (30, 30))
    assert 0 <= small.train.x.min() <= small.train.x.max() <= 1


def test_nothing_to_generate_is_refused():
    with pytest.raises(UsageError, match="at least one video per split"):
        balls.load(num_test=0)


def test_balls_move_by_their_velocity_until_something_is_hit():
    x, v = balls.motion(50, 60, np.random.default_rng(0))
    free = np.isclose(v[:, 1:], v[:, :-1], atol=1e-12).all((2, 3))
    np.testing.assert_allclose((x[:, :-1] + v[:, :-1])[free], x[:, 1:][free], atol=1e-9)
    assert 0.3 < free.mean() < 0.95
    # The published oracle, 2.01 ± 0.33 over videos, moves true centres by their last displacement.
    seen = balls.render(x)
    guess = balls.render(2 * x[:, 1:-1] - x[:, :-2])
    error = np.square(guess - seen[:, 2:]).sum((2, 3)).mean(1)
    assert abs(error.mean() - 2.01) < 4.1 * 0.33 / np.sqrt(50)


def test_no_pixel_is_too_small_to_compute_with():
    seen = balls.render(balls.simulate(3, 20, np.random.default_rng(0)))
    assert seen[seen > 0].min() > 1e-20
    assert (seen == 0).any()


def test_grey_values_may_be_read_as_real_numbers():
    sizes = {"num_train": 3, "num_valid": 1, "num_test": 1, "length": 6}
    grey, real = balls.load(**sizes), balls.load(**sizes, kind="real")
    assert (grey.info.kind, real.info.kind) == ("unit", "real")
    assert grey.train.x.equal(real.train.x)
    with pytest.raises(UsageError, match="kind is 'count'; give unit or real"):
        balls.load(**sizes, kind="count")
