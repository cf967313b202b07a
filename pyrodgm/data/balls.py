"""Bouncing balls: three equal balls in a box, drawn as 30 x 30 grey pictures.

The physics and the rendering are those of the published benchmark (Sutskever, Hinton and Taylor,
2008; Gan et al., 2015), which distributes a generator and no data.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator

BOX = 10.0
RADIUS = 1.2
SPEED = 0.5  # norm of the velocities of all balls together, per frame
PIXELS = 30
NUM_BALLS = 3
SUBSTEPS = 2
# Far from all balls, grey values are subnormal numbers such as 1e-40, with which many processors
# are ten times slower than with zero.
BLACK = 1e-20
PAIRS = ((1, 0), (2, 0), (2, 1))


def load(
    *,
    num_train: int = 400,
    num_valid: int = 40,
    num_test: int = 100,
    length: int = 100,
    seed: int = 0,
    kind: Literal["unit", "real"] = "unit",
) -> Splits:
    """Videos of bouncing balls, generated; the published set has 4000 for training, 200 for test.

    Args:
        num_train: training videos. Each split has a random stream of its own, so the size of
            one does not change another.
        num_valid: validation videos.
        num_test: test videos.
        length: frames per video.
        seed: of all three streams.
        kind: "unit" reads a grey value as the probability of a white pixel, "real" as a number.

    Raises:
        UsageError: a number is not positive, the seed is negative, or there is no such kind.

    >>> splits = load(num_train=2, num_valid=1, num_test=1, length=5)
    >>> splits.train.batch([0, 1]).x.shape
    torch.Size([2, 5, 900])
    """
    sizes = {"train": num_train, "valid": num_valid, "test": num_test}
    if min(length, *sizes.values()) < 1:
        raise UsageError(f"balls: need at least one video per split and one frame, got {sizes}")
    if kind not in ("unit", "real"):
        raise UsageError(f"balls: kind is '{kind}'; give unit or real")
    parts = {}
    for split, size in sizes.items():
        centres = simulate(size, length, numpy_generator(seed, "balls", split))
        parts[split] = Sequences(render(centres).reshape(-1, PIXELS**2), np.full(size, length))
    return Splits.of("balls", kind, parts, image_shape=(PIXELS, PIXELS), frame_rate=25.0)


def simulate(num: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Trajectories of the ball centres, (num, length, 3, 2), in box coordinates [0, 10]."""
    return motion(num, length, rng)[0]


def motion(num: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres and velocities per frame of the balls, each (num, length, 3, 2)."""
    x = _initial_positions(num, rng)
    v = rng.standard_normal(x.shape)
    v *= SPEED / np.linalg.norm(v, axis=(1, 2), keepdims=True)
    path, speed = np.empty((2, num, length, NUM_BALLS, 2))
    for t in range(length):
        path[:, t], speed[:, t] = x, v
        for _ in range(SUBSTEPS):
            x += v / SUBSTEPS
            v = np.where(x < RADIUS, np.abs(v), v)
            v = np.where(x > BOX - RADIUS, -np.abs(v), v)
            _collide(x, v)
    return path, speed


def render(centres: np.ndarray) -> np.ndarray:
    """Grey pictures in [0, 1], (..., 30, 30) float32, of ball centres (..., balls, 2).

    The first picture axis is the second coordinate, as in the published data.
    """
    grid = (np.arange(PIXELS, dtype=np.float32) + 0.5) * np.float32(BOX / PIXELS)
    # In units of the radius, and one coordinate per picture axis before they meet.
    scaled = (centres.astype(np.float32)[..., None] - grid) / np.float32(RADIUS)
    squares = np.square(scaled)
    frames = np.zeros((*centres.shape[:-2], PIXELS, PIXELS), np.float32)
    for video in np.ndindex(centres.shape[:-3]):  # one video at a time stays in the cache
        for ball in range(centres.shape[-2]):
            along = squares[video][..., ball, :, :]
            power = along[..., 0, None, :] + along[..., 1, :, None]
            np.square(power, out=power)
            np.square(power, out=power)
            frames[video] += np.exp(np.negative(power, out=power), out=power)
        frames[video][frames[video] < BLACK] = 0
    return np.minimum(frames, 1, out=frames)


def _initial_positions(num: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of balls that touch neither a wall nor each other, by rejection, (num, 3, 2)."""
    accepted = np.empty((0, NUM_BALLS, 2))
    while len(accepted) < num:
        x = 2 + 8 * rng.random((num, NUM_BALLS, 2))
        inside = (x + RADIUS <= BOX).all((1, 2))
        apart = [np.linalg.norm(x[:, i] - x[:, j], axis=-1) >= 2 * RADIUS for i, j in PAIRS]
        accepted = np.concatenate([accepted, x[inside & np.all(apart, axis=0)]])
    return accepted[:num]


def _collide(x: np.ndarray, v: np.ndarray) -> None:
    """Exchange, in place, the velocities along the centre line of balls that overlap.

    Overlapping balls exchange whether or not they approach each other: so does the benchmark.
    """
    for i, j in PAIRS:
        line = x[:, i] - x[:, j]
        distance = np.linalg.norm(line, axis=-1, keepdims=True)
        line = np.where(distance < 2 * RADIUS, line / distance, 0.0)
        exchange = line * ((v[:, j] - v[:, i]) * line).sum(-1, keepdims=True)
        v[:, i] += exchange
        v[:, j] -= exchange
