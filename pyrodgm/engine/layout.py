"""Data and frames in a trace of a Pyro program, read from its plates and the order of its sites.

- **Data** are the entries of plates, which Pyro takes as independent. Draws are grouped by their
  plates. The cost of a draw is that of its own entry and of everything outside its plates. The cost
  of a draw outside all plates is that of the whole program, which is then a single datum.
- **Frames** are found by program order: one begins at each latent site of the model that follows
  an observed site. If the guide draws frames in another order (backwards, say), a later frame's
  terms may depend on an earlier one's in a way that order does not show, and everything is taken
  as a single frame.

Fewer data and frames are correct too, with more variance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

PARTICLES = "num_particles_vectorized"  # as Pyro calls the plate of draws of its ELBOs

Site = dict[str, Any]  # as Pyro's trace has it
Sites = Mapping[str, Site]


@dataclass(frozen=True)
class Layout:
    """One run of a model and a guide as tables by draw, datum and frame, for one group of draws.

    Args:
        model: the model's sites, in program order.
        guide: the guide's sites, in program order.
        plates: the plates whose entries are the data; in front that of the draws, if they run side
            by side.
        single: whether everything is one frame.
    """

    model: Sites
    guide: Sites
    plates: tuple[Any, ...]
    single: bool = False

    @cached_property
    def frame_of(self) -> dict[str, int]:
        """The frame that each site belongs to, counted from zero.

        A site of the guide alone belongs to the frame of the draw before it: whatever it can
        influence comes no earlier.
        """
        frame_of: dict[str, int] = {}
        frame, observed_last = 0, False
        for name, site in self.model.items():
            if observed_last and not site["is_observed"]:
                frame += 1
            frame_of[name], observed_last = frame, bool(site["is_observed"])
        order = [frame_of[name] for name in self.guide if name in frame_of]
        if self.single or order != sorted(order):
            return dict.fromkeys((*self.model, *self.guide), 0)
        frame = 0
        for name in self.guide:
            frame = frame_of.setdefault(name, frame)
        return frame_of

    @property
    def num_frames(self) -> int:
        """How many frames there are, at least one."""
        return max(self.frame_of.values(), default=0) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of draws and of data, (K, B)."""
        sizes = [plate.size for plate in self.plates]
        if self._side_by_side:
            return sizes[0], prod(sizes[1:])
        return 1, prod(sizes)

    @property
    def _side_by_side(self) -> bool:
        return bool(self.plates) and self.plates[0].name == PARTICLES

    @cached_property
    def _zero(self) -> Tensor:
        nats = [s["log_prob"] for sites in (self.model, self.guide) for s in sites.values()]
        nats = nats or [torch.zeros(())]
        dtype = reduce(torch.promote_types, (term.dtype for term in nats))
        return nats[0].new_zeros(self.shape, dtype=dtype)

    def table(self, sites: Sites, term: str, length: int, *, shared: bool = False) -> Tensor:
        """The sum of a term of every site, in nats, (K, B, T); zero in frames past the last.

        Args:
            sites: sites of the model or of the guide.
            term: its name in a site.
            length: number of frames T.
            shared: whether all data share the term of a site outside their plates, so that the sum
                over data is that over sites; otherwise each of them has all of it.
        """
        frames = [self._zero] * length
        for name, site in sites.items():
            nats = site[term]
            if isinstance(nats, Tensor) or nats != 0:
                here = self._by_datum(torch.as_tensor(nats).to(self._zero), site)
                here = here / self._copies(site) if shared else here
                frames[self.frame_of[name]] = frames[self.frame_of[name]] + here
        return torch.stack(frames, -1)

    @property
    def uniform(self) -> bool:
        """Whether every site is in all of the plates."""
        every = (*self.model.values(), *self.guide.values())
        return all(self._copies(site) == 1 for site in every)

    def _copies(self, site: Site) -> int:
        """How many data have one term of a site."""
        return prod(plate.size for plate in self.plates if plate not in site["cond_indep_stack"])

    def mask(self, drawn: Collection[str], length: int) -> Tensor:
        """Where any site of a frame counts, (B, T); masks of the sites in `drawn` are not data."""
        counts = torch.zeros(self.shape[1], length, dtype=torch.bool, device=self._zero.device)
        if not self.model:
            return ~counts
        for name, site in self.model.items():
            here: Any = True
            if isinstance(site["mask"], Tensor) and name not in drawn:
                mask = site["mask"].broadcast_to(site["log_prob"].shape)
                here = self._by_datum(mask.to(self._zero.dtype), site)[0] > 0
            counts[:, self.frame_of[name]] |= here
        return counts

    def observed(self, drawn: Collection[str]) -> Tensor | None:
        """What is observed of each datum side by side, (B, T, D), without the sites in `drawn`.

        Sites of other plates are left out: in the next batch they may have another size. None
        where nothing is left, or frames do not look alike.
        """
        frames: list[list[Tensor]] = [[] for _ in range(self.num_frames)]
        for name, site in self.model.items():
            plates = {frame for frame in site["cond_indep_stack"] if frame.vectorized}
            if site["is_observed"] and name not in drawn and plates == set(self.plates):
                frames[self.frame_of[name]].append(self._features(site))
        shapes = {tuple(value.shape for value in frame) for frame in frames}
        if len(shapes) != 1 or not frames[0]:
            return None
        x = torch.stack([torch.cat(frame, -1) for frame in frames], 1)
        return x.nan_to_num() if x.shape[-1] else None

    def _features(self, site: Site) -> Tensor:
        """The value of an observed site, (B, D), as floating-point numbers."""
        value, shape = site["value"].detach(), site["log_prob"].shape
        event = value.shape[value.dim() - site["fn"].event_dim :]
        value = value.to(self._zero).broadcast_to(shape + event).reshape(*shape, event.numel())
        value = value.movedim([plate.dim - 1 for plate in self.plates], self._front)
        draws, data = self.shape
        return value.reshape(draws, data, -1)[0]

    def _by_datum(self, nats: Tensor, site: Site) -> Tensor:
        """Summed over all but draws and data, (K, B); each datum has what is outside its plates."""
        nats = nats.reshape((1,) * (self._depth - nats.dim()) + nats.shape)
        keep = {plate.dim for plate in self.plates if plate in site["cond_indep_stack"]}
        rest = [dim for dim in range(-nats.dim(), 0) if dim not in keep]
        nats = nats.sum(rest, keepdim=True) if rest else nats
        nats = nats.movedim([plate.dim for plate in self.plates], self._front)
        nats = nats.reshape(nats.shape[: len(self.plates)])
        return nats.broadcast_to([plate.size for plate in self.plates]).reshape(self.shape)

    @property
    def _front(self) -> list[int]:
        return list(range(len(self.plates)))

    @property
    def _depth(self) -> int:
        return max((-plate.dim for plate in self.plates), default=0)


def plates_of(site: Site) -> tuple[Any, ...]:
    """The plates of known size that a site is in, that of the draws in front, others by place."""
    stack = site["cond_indep_stack"]
    plates = [plate for plate in stack if plate.vectorized and plate.size >= 0]
    return tuple(sorted(plates, key=lambda plate: (plate.name != PARTICLES, plate.dim)))


def shared_plates(sites: Sequence[Site]) -> tuple[Any, ...]:
    """The plates that hold every site."""
    stacks = [plates_of(site) for site in sites]
    first = stacks[0] if stacks else ()
    return tuple(plate for plate in first if all(plate in stack for stack in stacks))
