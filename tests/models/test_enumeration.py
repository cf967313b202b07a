"""Every variant with every emission against sums over all latent paths and all outputs."""

from __future__ import annotations

import pytest
import torch

from oracles import Enumerated, all_paths
from pyrodgm.batch import Batch
from variants import (
    EMISSIONS,
    VARIANTS,
    D,
    frames,
    latent_paths,
    output_log_probs,
    pair,
    path_log_probs,
    scoring,
)

PARTIAL = [name for name in EMISSIONS if name != "nade"]  # those that can leave features out


@pytest.mark.parametrize("emission", EMISSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_log_probabilities_of_all_paths_are_those_of_the_formulas(variant, emission) -> None:
    model, guide = pair(variant, emission)
    x = frames(emission, VARIANTS[variant].length)
    exact = Enumerated(model, guide, x, **scoring(model, emission))
    paths = {name: path[:, None] for name, path in exact.paths.items()}
    for program, expected in ((model, exact.log_p), (guide, exact.log_q)):
        sites = path_log_probs(program, Batch.of(x[None]), paths)
        torch.testing.assert_close(sum(sites.values())[:, 0], expected)


@pytest.mark.parametrize("emission", PARTIAL)
@pytest.mark.parametrize("variant", VARIANTS)
def test_only_features_that_were_seen_are_scored(variant, emission) -> None:
    model, guide = pair(variant, emission)
    x, seen = frames(emission, VARIANTS[variant].length), slice(0, None, 2)
    exact = Enumerated(model, guide, x, **scoring(model, emission, seen))
    batch = Batch.of(x[None])
    batch.seen = torch.zeros_like(batch.x, dtype=torch.bool)
    batch.seen[..., seen] = True
    paths = {name: path[:, None] for name, path in exact.paths.items()}
    for program, expected in ((model, exact.log_p), (guide, exact.log_q)):
        sites = path_log_probs(program, batch, paths)
        torch.testing.assert_close(sum(sites.values())[:, 0], expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_guide_sums_to_one_over_all_paths(variant) -> None:
    _, guide = pair(variant)
    length = VARIANTS[variant].length
    batch = Batch.of(frames("bernoulli", 4, length))
    sites = path_log_probs(guide, batch, latent_paths(guide, length))
    totals = sum(sites.values()).sum(-1).logsumexp(0)
    torch.testing.assert_close(totals, torch.zeros(4).double())


@pytest.mark.parametrize("emission", ["bernoulli", "nade"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_sums_to_one_over_all_paths_and_outputs(variant, emission) -> None:
    model, _ = pair(variant, emission)
    outputs = all_paths(min(2, VARIANTS[variant].length), D)
    total = output_log_probs(model, outputs).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(()).double())
