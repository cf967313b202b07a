"""The floors of the benchmarks do what the library does: same draws, terms, loss and gradient."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from family import VARIANTS, Variant

SIZES = {"hidden_dim": 4, "dim": 5, "size": 3, "length": 7}


def counterparts(variant: Variant) -> dict[str, str]:
    """Where the library keeps each parameter of the floor."""
    baseline = [f"baseline.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")]
    names = dict(zip(baseline, baseline, strict=True))
    names |= {"c": "model.x_bias.bias", "W4": "model.x_from_x.weight"}
    if variant.model == "dtsbn-d":
        return names | {
            "W1": "model.layer.own.weight",
            "b": "model.layer.bias.bias",
            "W5": "model.h_from_z.weight",
            "a_p": "model.h_from_z.bias",
            "W6": "model.cell.recurrent.weight",
            "W7": "model.h_from_x.weight",
            "W2": "model.x_from_h.weight",
            "U1": "guide.layers.0.own.weight",
            "U4": "guide.layers.0.now.weight",
            "U5": "guide.layers.0.past.weight",
            "d": "guide.layers.0.bias.bias",
            "U23": "guide.drive.weight",
            "a_q": "guide.drive.bias",
            "U6": "guide.cell.recurrent.weight",
        }
    for layer in range(variant.layers):
        below = f"model.layers.{layer - 1}.now" if layer else "model.x_from_z"
        names |= {
            f"W1.{layer}": f"model.layers.{layer}.own.weight",
            f"W2.{layer}": f"{below}.weight",
            f"W3.{layer}": f"model.layers.{layer}.past.weight",
            f"b.{layer}": f"model.layers.{layer}.bias.bias",
            f"U1.{layer}": f"guide.layers.{layer}.own.weight",
            f"U2.{layer}": f"guide.layers.{layer}.now.weight",
            f"U3.{layer}": f"guide.layers.{layer}.past.weight",
            f"d.{layer}": f"guide.layers.{layer}.bias.bias",
        }
    return names


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter, by name."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("name", [n for n, v in VARIANTS.items() if v.model != "vrnn"])
def test_the_same_step(name: str) -> None:
    """Three times, since running means start from zero and one, and count from the second on."""
    variant = replace(VARIANTS[name], **SIZES)
    x = variant.batch().x.double()
    objective, floor = variant.library("nvil", signal="future").double(), variant.floor().double()
    for parameter in objective.parameters():
        nn.init.normal_(parameter, std=0.5)
    pairs, given = counterparts(variant), dict(objective.named_parameters())
    floor.load_state_dict({name: given[own] for name, own in pairs.items()}, strict=False)
    assert set(pairs.values()) == set(given)
    assert set(pairs) == {name for name, _ in floor.named_parameters()}
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        expected = objective.trace(Batch.of(x))
        torch.manual_seed(seed)
        paths, log_p, log_q = floor.trace(x, floor.frame.look(x))
        for path, value in zip(paths, expected.values.values(), strict=True):
            assert torch.equal(path, value[0])
        torch.testing.assert_close(log_p, expected.log_p[0])
        torch.testing.assert_close(log_q, expected.log_q[0])
        torch.manual_seed(seed)
        loss = floor(x)
        surrogate = objective.estimate(expected).surrogate
        torch.testing.assert_close(loss, surrogate)
        by_hand, by_library = gradients(floor, loss), gradients(objective, surrogate)
        torch.testing.assert_close(by_hand, {name: by_library[own] for name, own in pairs.items()})


def test_the_same_step_of_a_vrnn() -> None:
    variant = replace(VARIANTS["vrnn"], dim=5, size=3, length=7)
    x = variant.batch().x.double()
    objective, floor = variant.library("elbo").double(), variant.floor().double()
    for parameter in objective.parameters():
        nn.init.normal_(parameter, std=0.2)
    pairs = {
        "features_x": "model.features_x.0",
        "features_z": "model.features_z.0",
        "prior_first": "model.prior.first",
        "prior_last": "model.prior.last",
        "decoder": "model.decoder.0",
        "posterior_first": "guide.posterior.first",
        "posterior_last": "guide.posterior.last",
    }
    names = {f"{a}.{kind}": f"{b}.{kind}" for a, b in pairs.items() for kind in ("weight", "bias")}
    names |= {
        f"cell.{part}": f"model.cell.network.{part}_l0"
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    names |= {
        "output.weight": "model.x_from_features.weight",
        "output.bias": "model.x_bias.bias",
        "hidden_from_x.weight": "guide.hidden_from_x.weight",
    }
    given = dict(objective.named_parameters())
    assert set(names.values()) == set(given)
    state = {
        name: given[own].reshape(-1) if own.endswith("x_bias.bias") else given[own]
        for name, own in names.items()
    }
    floor.load_state_dict(state)
    torch.manual_seed(1)
    loss = floor(x)
    torch.manual_seed(1)
    surrogate = objective(Batch.of(x)).surrogate
    torch.testing.assert_close(loss, surrogate)
    by_hand, by_library = gradients(floor, loss), gradients(objective, surrogate)
    for name, own in names.items():
        torch.testing.assert_close(by_hand[name], by_library[own].reshape(by_hand[name].shape))
