"""Storage of an objective's networks and running values in Pyro's parameter store."""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from pyrodgm.errors import UsageError


class StoredState:
    """The parameters and buffers of a module under one name of the current parameter store.

    The store takes precedence: values under the name, from a file or from another module with the
    same name, are loaded. As elsewhere in Pyro, one name is one set of values.

    Args:
        name: prefix in the store, "name$$$baseline.0.weight" and so on.
        module: the module with the state.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self._kept: dict[str, Tensor] = {}

    def recall(self) -> None:
        """Load the values of the store, if they are not those stored last.

        Raises:
            UsageError: the values have other shapes.
        """
        store = pyro.get_param_store()
        names = {key: self._full(key) for key in self.module.state_dict()}
        held = {key: store[name] for key, name in names.items() if name in store}
        if all(value is self._kept.get(key) for key, value in held.items()):
            return
        try:
            self.module.load_state_dict(held, strict=False)
        except RuntimeError as error:
            raise UsageError(
                f"the parameter store holds another objective under the name {self.name!r}, which "
                f"does not fit this one ({' '.join(str(error).split())}); give this one another "
                "name, as in ObjectiveELBO(NVIL, name='second'), or call pyro.clear_param_store()"
            ) from error
        pyro.module(self.name, self.module, update_module_params=True)

    def keep(self) -> None:
        """Write the state into the store, with parameters where SVI finds them."""
        store = pyro.get_param_store()
        pyro.module(self.name, self.module)
        for key, value in self.module.named_buffers():
            store[self._full(key)] = value.clone()
        self._kept = {key: store[self._full(key)] for key in self.module.state_dict()}

    def _full(self, key: str) -> str:
        return f"{self.name}$$${key}"
