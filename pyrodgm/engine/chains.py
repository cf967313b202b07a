"""Sites drawn one after the other, each over all of time, by the cells that a step gives them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.past import Draw, ShiftedPast
from pyrodgm.engine.sampler import Sampler
from pyrodgm.errors import UsageError
from pyrodgm.lags import Lags


class ChainPast(ShiftedPast):
    """The past of all frames at once, which draws the path of every site that a step comes to.

    Args:
        values: values of every site known so far, (..., T, D); paths are added.
        history: number of lags n.
        start: values of every unknown site before the first frame, newest first,
            (*leading, n, D).
        sampler: draws a frame.
        lags: gives the lags of a site.

    Raises:
        UsageError: a site has no path yet where the step looks at its past.
    """

    def __init__(
        self,
        values: dict[str, Tensor],
        history: int,
        start: Mapping[str, Tensor],
        sampler: Sampler,
        lags: Lags,
    ) -> None:
        super().__init__(values, history, lags=lags)
        self.paths = values
        self.start = start
        self.sampler = sampler
        self.drawn_by: dict[str, tuple[Tensor, StochasticCell]] = {}

    def __missing__(self, name: str) -> Tensor:
        if name not in self.paths:
            raise UsageError(
                f"a step looks at the past of site '{name}' before it draws it, so its sites "
                "cannot be drawn one path after the other; set `chained` to False"
            )
        return super().__missing__(name)

    @torch.no_grad()
    def _draw(self, name: str, drive: Tensor, cell: StochasticCell) -> Tensor:
        """The path of a site, (*leading, T, D)."""
        path = cell.path(drive, self.start[name], self.sampler.site(name))
        return self.sampler.with_particles(path)

    def chain(self, draw: Draw, name: str, drive: Tensor, cell: StochasticCell) -> Tensor:
        """The path of a site, (..., T, D)."""
        del draw
        if name not in self.paths:
            self.paths[name] = self._draw(name, drive, cell)
        self.drawn_by[name] = drive, cell
        return self.paths[name]

    def distributions(self) -> dict[str, TorchDistribution]:
        """The distribution of every site in all frames, given its path, by what it was drawn by."""
        return {
            name: cell.distribution(drive, self[name])
            for name, (drive, cell) in self.drawn_by.items()
        }


def only_chains(name: str, _: TorchDistribution) -> Tensor:
    """What a step gets in place of `draw` where it should draw by `past.chain`: an error."""
    raise UsageError(
        f"a step draws site '{name}' without `past.chain`, so its sites cannot be drawn one path "
        "after the other; set `chained` to False"
    )
