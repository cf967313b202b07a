"""Draws frame by frame: from noise made ahead, and of one site's whole path at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.engine.past import Draw, Law, ShiftedPast, Windows
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.lags import Lags


class Sampler:
    """Draws one frame at a time from noise made for all frames at once, where that is possible.

    A single particle has no dimension of its own here, since every operation of a loop counts.

    Args:
        leading: shape of everything drawn in front of time, usually (K, B) or (B,).
        length: number of frames T.
        given: noise to take, (*leading, T, D), by site.
        keep_noise: whether noise is kept, in `noise`; draws are written over it otherwise.

    Attributes:
        leading: shape of what is drawn in one frame.
        noise: kept, (*leading, T, D), by site.

    Raises:
        CompatibilityError: noise is given for a site that is not drawn from noise.
    """

    def __init__(
        self,
        leading: torch.Size,
        length: int,
        given: Mapping[str, Tensor] | None = None,
        *,
        keep_noise: bool = False,
    ) -> None:
        self.single = len(leading) > 1 and leading[0] == 1
        self.leading = leading[1:] if self.single else leading
        self.length = length
        self._given = given or {}
        self._keep = keep_noise
        self.noise: dict[str, Tensor] = {}
        self._frames: dict[str, tuple[Tensor, ...]] = {}

    def __call__(self, t: int, name: str, distribution: Any) -> Tensor:
        """The value of a site in frame t."""
        noise = self._frames.get(name)
        if noise is None:
            noise = self._frames[name] = self._made(name, distribution)
        if noise:
            return distribution.from_noise(noise[t])
        expanded = distribution.expand(self.leading)
        return expanded.rsample() if expanded.has_rsample else expanded.sample()

    def _made(self, name: str, distribution: Any) -> tuple[Tensor, ...]:
        """The noise of a site in all frames; nothing where its distribution takes none."""
        takes_noise = hasattr(distribution, "from_noise")
        if name in self._given:
            if not takes_noise:
                raise CompatibilityError(
                    f"site '{name}' is drawn from {type(distribution).__name__}, which is not made "
                    "from noise; leave its noise out"
                )
            return self.frames(self._given[name].clone())
        if not takes_noise:
            return ()
        shape = torch.Size([self.length]) + self.leading + distribution.event_shape
        noise = distribution.noise(shape)
        if self._keep:
            self.noise[name] = self.with_particles(noise.movedim(0, -2).clone())
        return noise.unbind(0)

    def frames(self, value: Tensor) -> tuple[Tensor, ...]:
        """All frames of (..., T, E), each as one is drawn."""
        shape = self.leading + value.shape[-2:]
        return (value[0] if value.dim() > len(shape) else value).unbind(-2)

    def path(self, frames: list[Tensor]) -> Tensor:
        """What was drawn in all frames, (*leading, T, D)."""
        return self.with_particles(torch.stack(frames, -2))

    def with_particles(self, path: Tensor) -> Tensor:
        """A path with the dimension that a single particle has outside of the loop."""
        return path[None] if self.single else path


class ChainPast(ShiftedPast):
    """The past of all frames at once, which draws the path of every site that a step comes to.

    Args:
        values: values of every site known so far, (..., T, D); paths are added.
        history: number of lags n.
        windows: of every unknown site before the first frame, (..., n D).
        sampler: draws a frame.
        lags: gives the lags of a site.

    Raises:
        UsageError: a site has no path yet where the step looks at its past.
    """

    def __init__(
        self,
        values: dict[str, Tensor],
        history: int,
        windows: Mapping[str, Tensor],
        sampler: Sampler,
        lags: Lags,
    ) -> None:
        super().__init__(values, history, lags=lags)
        self.paths = values
        self.windows = windows
        self.sampler = sampler
        self.driven: dict[str, tuple[Tensor, Law]] = {}

    def __missing__(self, name: str) -> Tensor:
        if name not in self.paths:
            raise UsageError(
                f"a step looks at the past of site '{name}' before it draws it, so its sites "
                "cannot be drawn one path after the other; set `chained` to False"
            )
        return super().__missing__(name)

    def chain(self, draw: Draw, name: str, drive: Tensor, law: Law) -> Tensor:
        """The path of a site, (..., T, D)."""
        del draw
        if name not in self.paths:
            self.paths[name] = self._path(name, drive, law)
        self.driven[name] = drive, law
        return self.paths[name]

    def laws(self) -> dict[str, TorchDistribution]:
        """The distribution of every site in all frames, given its path, by what drove it."""
        return {name: law(drive, self[name]) for name, (drive, law) in self.driven.items()}

    @torch.no_grad()
    def _path(self, name: str, drive: Tensor, law: Law) -> Tensor:
        window, frames = self.windows[name], self.sampler.frames(drive)
        if self.history > 1:
            windows = Windows(window, len(frames), self.history)
            for t, now in enumerate(frames):
                windows.push(self.sampler(t, name, law(now, windows.last())))
            return self.sampler.with_particles(windows.values())
        values = []
        for t, now in enumerate(frames):
            values.append(self.sampler(t, name, law(now, window)))
            window = values[-1] if self.history else window
        return self.sampler.path(values)


def only_chains(name: str, _: TorchDistribution) -> Tensor:
    """What a step gets in place of `draw` where it should draw by `past.chain`: an error."""
    raise UsageError(
        f"a step draws site '{name}' without `past.chain`, so its sites cannot be drawn one path "
        "after the other; set `chained` to False"
    )
