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

CONTINUOUS = {
    "vrnn": {
        "features_x": "model.features_x.0",
        "features_z": "model.features_z.0",
        "prior_first": "model.prior.first",
        "prior_last": "model.prior.last",
        "decoder": "model.decoder.0",
        "posterior_first": "guide.posterior.first",
        "posterior_last": "guide.posterior.last",
        "hidden_from_x": "guide.hidden_from_x",
        "cell": "model.cell.network",
        "output.weight": "model.x_from_features.weight",
        "output.bias": "model.x_bias.bias",
    },
    "srnn": {
        "features_x": "model.features_x.0",
        "cell": "model.cell.network",
        "prior_first": "model.prior.first",
        "prior_last": "model.prior.last",
        "decoder": "model.decoder.first",
        "output": "model.decoder.last",
        "backward_cell": "guide.backward_cell.network",
        "posterior_first": "guide.posterior.first",
        "posterior_last": "guide.posterior.last",
        "hidden_from_a": "guide.hidden_from_a",
    },
    "dmm": {
        **{part: f"model.transition.{part}" for part in ("first", "gate", "mean", "linear")},
        "scale": "model.transition.scale",
        "start": "model.transition.start",
        "decoder.0": "model.decoder.first",
        "decoder.1": "model.decoder.between.0",
        "decoder.2": "model.decoder.last",
        "backward_cell": "guide.cell.network",
        "from_features": "guide.from_features",
        "from_past": "guide.from_past",
        "bias": "guide.bias.bias",
        "numbers": "guide.numbers.z",
    },
}
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


@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in CONTINUOUS])
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


def own_name(name: str, parts: dict[str, str]) -> str:
    """Where the library keeps a parameter of a floor, by what its part is called there."""
    if name in parts:
        return parts[name]
    part, _, kind = name.rpartition(".")
    recurrent = parts[part].endswith("network") and not kind.endswith("_l0")
    return f"{parts[part]}.{kind}{'_l0' if recurrent else ''}"


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_same_step_with_continuous_latents(name: str) -> None:
    variant = replace(VARIANTS[name], dim=5, size=3, length=7)
    x = variant.batch().x.double()
    objective, floor = variant.library("elbo").double(), variant.floor().double()
    for parameter in objective.parameters():
        nn.init.normal_(parameter, std=0.1)
    names = {own: own_name(own, CONTINUOUS[name]) for own, _ in floor.named_parameters()}
    given, shapes = dict(objective.named_parameters()), floor.state_dict()
    assert set(names.values()) == set(given)
    floor.load_state_dict(
        {own: given[there].reshape(shapes[own].shape) for own, there in names.items()}
    )
    torch.manual_seed(1)
    loss = floor(x)
    torch.manual_seed(1)
    surrogate = objective(Batch.of(x)).surrogate
    torch.testing.assert_close(loss, surrogate)
    by_hand, by_library = gradients(floor, loss), gradients(objective, surrogate)
    for own, there in names.items():
        torch.testing.assert_close(by_hand[own], by_library[there].reshape(by_hand[own].shape))
