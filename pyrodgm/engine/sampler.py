"""Draws frame by frame, from noise made for all frames at once where that is possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrodgm.errors import CompatibilityError

Absent = Mapping[str, tuple[Tensor, Tensor]]


class SiteSampler:
    """Draws the frames of one site.

    Args:
        name: of the site.
        leading: shape of what is drawn in one frame.
        length: number of frames T.
        given: noise to take, (T, *leading, D), which draws are written over.
        kept: where noise that is drawn is copied to, by site; nowhere if None.

    Raises:
        CompatibilityError: noise is given for a site that is not drawn from noise.
    """

    def __init__(
        self,
        name: str,
        leading: torch.Size,
        length: int,
        given: Tensor | None = None,
        kept: dict[str, Tensor] | None = None,
    ) -> None:
        self.name, self.leading, self.length = name, leading, length
        self._noise, self._kept = given, kept
        self._frames: tuple[Tensor, ...] | None = None

    def __call__(self, t: int, distribution: Any) -> Tensor:
        """The value in frame t."""
        frames = self._frames
        if frames is None:
            noise = self.noise(distribution)
            frames = self._frames = () if noise is None else noise.unbind(0)
        if frames:
            return distribution.from_noise(frames[t])
        expanded = distribution.expand(self.leading)
        return expanded.rsample() if expanded.has_rsample else expanded.sample()

    def noise(self, distribution: Any) -> Tensor | None:
        """The noise of all frames, (T, *leading, D); None where the distribution takes none."""
        takes_noise = hasattr(distribution, "from_noise")
        if self._noise is not None:
            if not takes_noise:
                raise CompatibilityError(
                    f"site '{self.name}' is drawn from {type(distribution).__name__}, which is "
                    "not made from noise; leave its noise out"
                )
        elif takes_noise:
            shape = torch.Size([self.length]) + self.leading + distribution.event_shape
            self._noise = distribution.noise(shape)
            if self._kept is not None:
                self._kept[self.name] = self._noise.movedim(0, -2).clone()
        return self._noise

    @property
    def dtype(self) -> torch.dtype | None:
        """That of the noise; None where there is none yet."""
        return None if self._noise is None else self._noise.dtype

    def frames(self, value: Tensor) -> tuple[Tensor, ...]:
        """All frames of (..., T, E), each as one is drawn."""
        return self.as_drawn(value).unbind(-2)

    def as_drawn(self, value: Tensor) -> Tensor:
        """Without the dimension that a single particle has outside of the loop."""
        return value[0] if value.dim() > len(self.leading) + 2 else value


class Sampler:
    """Draws the frames of every site.

    A single particle has no dimension of its own here, since every operation of a loop counts.

    Args:
        leading: shape of everything drawn in front of time, usually (K, B) or (B,).
        length: number of frames T.
        given: noise to take, (*leading, T, D), by site.
        keep_noise: whether noise is kept, in `noise`; draws are written over it otherwise.
        absent: by site, which of its features are drawn, and what the others are, (..., T, D) each.

    Attributes:
        leading: shape of what is drawn in one frame.
    """

    def __init__(
        self,
        leading: torch.Size,
        length: int,
        given: Mapping[str, Tensor] | None = None,
        *,
        keep_noise: bool = False,
        absent: Absent | None = None,
    ) -> None:
        self.single = len(leading) > 1 and leading[0] == 1
        self.leading = leading[1:] if self.single else leading
        self.length = length
        self._given = given or {}
        self._kept: dict[str, Tensor] | None = {} if keep_noise else None
        self._sites: dict[str, SiteSampler] = {}
        self._absent = {
            name: (drawn.unbind(-2), others.unbind(-2))
            for name, (drawn, others) in (absent or {}).items()
        }

    def __call__(self, t: int, name: str, distribution: Any) -> Tensor:
        """The value of a site in frame t."""
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = self.site(name)
        if name in self._absent:
            drawn, others = self._absent[name]
            whole = not hasattr(distribution, "sample_seen")
            value = site(t, distribution) if whole else self._seen(distribution, drawn[t])
            return value.where(drawn[t], others[t])
        return site(t, distribution)

    def _seen(self, distribution: Any, drawn: Tensor) -> Tensor:
        """A draw of some features, which is not a whole draw without the others."""
        return distribution.expand(self.leading).sample_seen(drawn)

    def site(self, name: str) -> SiteSampler:
        """What draws the frames of one site."""
        site = SiteSampler(name, self.leading, self.length, kept=self._kept)
        if (given := self._given.get(name)) is not None:
            frames = site.as_drawn(given).movedim(-2, 0)
            return SiteSampler(
                name, self.leading, self.length, frames.clone(memory_format=torch.contiguous_format)
            )
        return site

    @property
    def noise(self) -> dict[str, Tensor]:
        """Noise that was kept, (*leading, T, D), by site."""
        return {name: self.with_particles(noise) for name, noise in (self._kept or {}).items()}

    def path(self, frames: list[Tensor]) -> Tensor:
        """What was drawn in all frames, (*leading, T, D)."""
        return self.with_particles(torch.stack(frames, -2))

    def with_particles(self, path: Tensor) -> Tensor:
        """A path with the dimension that a single particle has outside of the loop."""
        return path[None] if self.single else path
