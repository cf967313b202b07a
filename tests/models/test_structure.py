"""Dependence structure of models for any weights, as read by the oracles from the modules."""

from __future__ import annotations

import pytest
import torch

from pyrodgm.batch import Batch
from variants import VARIANTS, frames, latent_paths, pair, path_log_probs

T = 3
PATHS = 40


def some_paths(program) -> dict[str, torch.Tensor]:
    """A few paths of all latents, the same ones for every model."""
    generator = torch.Generator().manual_seed(0)
    every = latent_paths(program, T)
    rows = torch.randint(len(next(iter(every.values()))), (PATHS,), generator=generator)
    return {name: path[rows] for name, path in every.items()}


def moved(program, paths, *, frame: int) -> dict[str, list[bool]]:
    """In which frames log-probabilities of every site change when one observation does."""
    x = frames("bernoulli", 1, T)
    other = x.clone()
    other[:, frame] = 1 - other[:, frame]
    with torch.no_grad():
        one, two = (path_log_probs(program, Batch.of(each), paths) for each in (x, other))
    return {name: (one[name] != two[name]).any(0)[0].tolist() for name in one}


@pytest.mark.parametrize("variant", ["hmsbn", "deep hmsbn"])
def test_latents_of_a_hidden_markov_network_never_see_an_observation(variant) -> None:
    model, guide = pair(variant)
    paths = some_paths(model)
    for frame in range(T):
        only = [t == frame for t in range(T)]
        sites = moved(model, paths, frame=frame)
        assert sites.pop("x") == only, "an observation sees the latents of its frame alone"
        assert all(not any(changed) for changed in sites.values())
        for changed in moved(guide, paths, frame=frame).values():
            assert not any(c and not o for c, o in zip(changed, only, strict=True))


@pytest.mark.parametrize(
    "variant", [v for v in VARIANTS if "hmsbn" not in v and VARIANTS[v].length > 1]
)
def test_all_others_see_as_many_frames_as_their_order(variant) -> None:
    model, guide = pair(variant)
    order, paths = model.history, some_paths(model)
    reach = T if hasattr(model, "cell") else order  # a deterministic layer remembers
    sites = moved(model, paths, frame=0)
    assert sites["x"] == [t <= reach for t in range(T)]
    lowest = next(iter(model.latents))
    if not hasattr(model, "cell"):
        assert sites[lowest] == [0 < t <= order for t in range(T)]
    assert moved(guide, paths, frame=0)[lowest][0], "the guide sees the frame itself"


def test_every_layer_is_driven_by_the_one_above_it_and_its_own_past() -> None:
    model, _ = pair("dtsbn-s 3")
    paths = some_paths(model)
    batch = Batch.of(frames("bernoulli", 1, T))
    with torch.no_grad():
        before = path_log_probs(model, batch, paths)
        for name, path in paths.items():
            other = path.clone()
            other[:, :, 0] = 1 - other[:, :, 0]
            after = path_log_probs(model, batch, {**paths, name: other})
            found = {s: (before[s] != after[s]).any(0)[0].tolist() for s in before}
            expected = dict.fromkeys(before, [False] * T)
            expected[name] = [True, True, False]  # its own frame, and its own past
            below = {"z3": "z2", "z2": "z1", "z1": "x"}[name]
            expected[below] = [True, False, False]  # in the same frame
            above = {"z1": "z2", "z2": "z3"}.get(name)
            if above:
                expected[above] = [False, True, False]  # which sees the past of the one below
            assert found == expected
