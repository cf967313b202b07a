"""Options are checked wherever an object is made."""

import copy
import pickle
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import Field

from pyrodgm.errors import ConfigError, Mistakes
from pyrodgm.models import DTSBNS, TSBN, Model
from pyrodgm.schema import checked, schema
from pyrodgm.setup.registry import REGISTRIES
from variants import INFOS

INFO = INFOS["bernoulli"]
COMPONENTS = [
    (name, cls)
    for kind in ("model", "guide", "objective")
    for name, cls in REGISTRIES[kind].items()
]


def test_every_mistake_is_named_in_python_too():
    with pytest.raises(ConfigError) as caught:
        TSBN(INFO, hidden_dim=-3, history=1.5, emission="nad")
    message = str(caught.value)
    assert "3 mistakes" in message
    assert "TSBN: hidden_dim = -3: Input should be greater than or equal to 1" in message
    assert "TSBN: history = 1.5: Input should be a whole number" in message
    assert "TSBN: emission = 'nad': Input should be 'auto', 'bernoulli'" in message


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"betas": [0.5]}, "betas = [0.5]: Input should be a list of at least 2"),
        ({"betas": [1, 0]}, "betas = [1, 0]: Input should be greater than 0"),
        ({"betas": 3}, "betas = 3: Input should be a list"),
        ({"sizes": []}, "sizes = []: Input should be a whole number, or Input should be a list"),
    ],
)
def test_lists_are_described_as_in_a_configuration(option, words):
    mistakes = Mistakes()
    ((name, value),) = option.items()
    checked(name, schema(_with_lists)[name], value, mistakes)
    (message,) = mistakes.messages
    assert message.startswith(words)
    assert "Tuple" not in message
    assert ("at least 2" in message) == (value == [0.5])


def _with_lists(
    *,
    betas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (1.0, 0.5),
    sizes: int | Annotated[tuple[int, ...], Field(min_length=1)] = 1,
) -> None:
    """A function whose options are lists."""


@pytest.mark.parametrize(("name", "cls"), COMPONENTS)
def test_no_number_is_taken_without_a_look(name, cls):
    """Below every bound: sizes, orders, shares, draws."""
    del name
    sources = {"model": (INFO,), "guide": (TSBN(INFO),), "objective": (None, None)}
    (given,) = (sources[kind] for kind in sources if cls in REGISTRIES[kind].values())
    for option, parameter in schema(cls).items():
        if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
            with pytest.raises(ConfigError, match=f"{cls.__name__}: {option} = -1"):
                cls(*given, **{option: -1})


def test_what_numpy_counts_is_a_number():
    assert TSBN(INFO, hidden_dim=np.int64(3)).dims["z"] == 3
    for sizes in (np.array([3, 2]), tuple(np.array([3, 2]))):
        assert list(DTSBNS(INFO, hidden_dim=sizes).dims.values())[:2] == [3, 2]
    with pytest.raises(ConfigError, match="DTSBNS: hidden_dim"):
        DTSBNS(INFO, hidden_dim=np.array([3, -2]))


def test_copies_are_made_without_options():
    model = TSBN(INFO, hidden_dim=3)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)


@dataclass
class Sizes:
    """Options of one's own kind."""

    first: int = 1


class Own(Model):
    """Takes what no file can hold."""

    def __init__(self, info, *, network: object = None, cls: str = "gru", size: int = 1) -> None:
        super().__init__(info)
        self.network, self.cls, self.size = network, cls, size

    def forward(self, batch) -> None:
        """Not needed."""


class Structured(Own):
    """An annotation that cannot be checked."""

    def __init__(self, info, *, sizes: Sizes, size: int = 1) -> None:
        super().__init__(info, size=sizes.first + size)


class Foreign(Own):
    """Annotations that are no types of this file."""

    def __init__(self, info, *, size: "number of units" = 1, net: "np.nosuch" = None) -> None:  # pyright: ignore
        super().__init__(info, size=size)


class Layered(Own):
    """A module as an option."""

    def __init__(self, info, *, network: torch.nn.Module) -> None:
        super().__init__(info, network=network)


def test_the_options_of_own_classes_may_be_anything():
    layer = torch.nn.Linear(2, 2)
    assert Own(INFO, network=layer, cls="lstm", size=4).network is layer
    assert Layered(INFO, network=layer).network is layer
    assert Structured(INFO, sizes=Sizes(3)).size == 4
    assert Foreign(INFO, size=5).size == 5
    with pytest.raises(ConfigError, match="Own: size = 'big'"):
        Own(INFO, network=layer, size="big")
