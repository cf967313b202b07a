"""Options are checked wherever an object is made."""

import copy
import pickle

import numpy as np
import pytest
import torch

from pyrodgm.errors import ConfigError
from pyrodgm.models import DTSBNS, TSBN, Model
from pyrodgm.objectives import OBJECTIVES
from pyrodgm.registry import REGISTRIES
from pyrodgm.schema import schema
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
    assert "TSBN: history = 1.5: Input should be a valid integer" in message
    assert "TSBN: emission = 'nad': Input should be 'auto', 'bernoulli'" in message


@pytest.mark.parametrize(("name", "cls"), COMPONENTS)
def test_no_number_is_taken_without_a_look(name, cls):
    """Below every bound: sizes, orders, shares, draws."""
    del name
    given = (None, None) if cls in OBJECTIVES.values() else (INFO,)
    for option, parameter in schema(cls).items():
        if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
            with pytest.raises(ConfigError, match=f"{cls.__name__}: {option} = -1"):
                cls(*given, **{option: -1})


def test_what_numpy_counts_is_a_number():
    assert TSBN(INFO, hidden_dim=np.int64(3)).latents == {"z": 3}
    sizes = tuple(np.array([3, 2]))
    assert DTSBNS(INFO, hidden_dim=sizes).latents == {"z1": 3, "z2": 2}


def test_copies_are_made_without_options():
    model = TSBN(INFO, hidden_dim=3)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)


class Own(Model):
    """Takes what no file can hold, and what no schema can read."""

    def __init__(self, info, *, network: torch.nn.Module, sizes: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.network, self.sizes = network, sizes

    def forward(self, batch) -> None:
        """Not needed."""


class Readable(Own):
    """The same with annotations that can be read."""

    def __init__(self, info, *, network: object = None, size: int = 1) -> None:
        super().__init__(info, network=network)
        self.size = size


def test_the_options_of_own_classes_may_be_anything():
    layer = torch.nn.Linear(2, 2)
    assert Own(INFO, network=layer, sizes=(1, 2)).network is layer
    assert Readable(INFO, network=layer, size=4).network is layer
    with pytest.raises(ConfigError, match="Readable: size = 'big'"):
        Readable(INFO, network=layer, size="big")
