"""Sites drawn one path after the other are those drawn frame by frame, with the same gradient."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.cells import FunctionCell
from pyrodgm.engine.rollout import Rollout
from pyrodgm.engine.sites import Site
from pyrodgm.errors import UsageError
from pyrodgm.guides import GuideTraits, StepGuide
from variants import VARIANTS, frames, pair, randomised

LENGTH, SIZE = 6, 4


def rollout(guide: StepGuide, particles: int) -> Rollout:
    torch.manual_seed(1)  # so that all have the same observations, and then the same noise
    made = Rollout.over(guide, Batch.of(frames("bernoulli", SIZE, LENGTH)), {})
    made.leading = torch.Size([particles, SIZE])
    return made


def gradient(guide: StepGuide, made: Rollout) -> tuple[torch.Tensor, ...]:
    """Of log q of the path drawn."""
    laws = made.score()
    total = sum(laws[name].log_prob(value).sum() for name, value in made.values.items())
    return torch.autograd.grad(total, list(guide.parameters()))


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "sbn"])
def test_chains_and_frames_draw_the_same(variant: str, particles: int) -> None:
    guide = pair(variant)[1]
    assert guide.chained
    chains = rollout(guide, particles)
    chains.draw()
    guide.chained = False
    whole = rollout(guide, particles)
    whole.draw()
    for name, dim in guide.dims.items():
        assert chains.values[name].shape == (particles, SIZE, LENGTH, dim)
        assert torch.equal(chains.values[name], whole.values[name])
    torch.testing.assert_close(gradient(guide, chains), gradient(guide, whole))


def test_paths_drawn_without_gradients_are_scored_with_them() -> None:
    guide = pair("dtsbn-s")[1]
    made = rollout(guide, 1)
    with torch.no_grad():
        made.draw()
    expected = rollout(guide, 1)
    expected.values = made.values
    torch.testing.assert_close(gradient(guide, made), gradient(guide, expected))


def test_a_path_that_is_given_is_not_drawn() -> None:
    """The layers above follow it."""
    guide = pair("dtsbn-s")[1]
    made = rollout(guide, 2)
    given = torch.rand(2, SIZE, LENGTH, 2).round().double()
    made.values["z1"] = given
    values = made.draw()
    assert values["z1"] is given
    assert values["z2"].shape == given.shape


def test_paths_do_not_wait_for_the_garbage_collector() -> None:
    """A cycle of references would keep the tensors of several steps in memory."""
    guide = pair("dtsbn-s")[1]
    made = rollout(guide, 1)
    made.draw()
    made.score()
    path = weakref.ref(made.values["z1"])
    gc.disable()
    try:
        del made
        assert path() is None
    finally:
        gc.enable()


class Entangled(StepGuide):
    """Two sites that are given each other's past, in the order of the names."""

    traits = GuideTraits(latents="binary", sequential=True)
    history, chained = 1, True

    def __init__(self, model) -> None:
        super().__init__(model)
        self.latents = {"low": Site(2, "binary"), "high": Site(2, "binary")}
        self.plain = False

    def encode(self, batch: Batch) -> torch.Tensor:
        return batch.x[..., :2]

    def step(self, draw, past, encoded, t) -> None:
        if self.plain:
            draw("low", BernoulliVector(encoded))
        cell = FunctionCell(lambda drive, own: BernoulliVector(drive))
        past.chain(draw, "low", encoded + past["high"], cell)


def test_what_is_no_chain_says_so() -> None:
    guide = randomised(Entangled(pair("tsbn")[0]))
    with pytest.raises(UsageError, match="past of site 'high' before it draws it"):
        rollout(guide, 1).draw()
    guide.plain = True
    with pytest.raises(UsageError, match=r"site 'low' without `past.chain`"):
        rollout(guide, 1).draw()
