"""Log-probabilities of a program with a site per step, such as one written with `pyro.markov`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyrodgm.errors import CompatibilityError
from pyrodgm.traces import LogProbs, Site, is_pathwise, trace_pair

_ONE_PLATE = (
    "there must be at most one plate, over the data, at dimension -1, and everything else in event "
    "dimensions (.to_event)"
)


def stepwise_log_probs(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, particles: int = 1
) -> LogProbs:
    """Log-probabilities of K draws where every frame has sites of its own: batch shape (B,).

    Frames are found by program order: one begins at each latent site of the model that follows an
    observed site. If the guide draws frames in another order (backwards, say), a later frame's
    terms may depend on an earlier one's in a way that order does not show, and everything is taken
    as a single frame: correct, with more variance.

    Args:
        model: program whose only plate, if any, holds the data and is at dimension -1.
        guide: program over its latent sites.
        args: what both are called with.
        particles: number of draws K.

    Raises:
        CompatibilityError: other sites in the two, more plates than that, or sites outside it.
    """
    try:
        model_sites, guide_sites = trace_pair(model, guide, *args, particles=particles, dim=-2)
    except ValueError as error:
        if "collide" not in str(error):
            raise
        raise CompatibilityError(f"{_ONE_PLATE}, but: {error}") from error
    _refuse_shared({**model_sites, **guide_sites})
    frame_of = _frames(model_sites, guide_sites)
    size = max(_batch_size(name, site, particles) for name, site in model_sites.items())
    num_frames = max(frame_of.values()) + 1
    pathwise = {name: site for name, site in guide_sites.items() if is_pathwise(site)}
    scored = {name: site for name, site in guide_sites.items() if not is_pathwise(site)}

    def stack(sites: Mapping[str, Site], nats: str = "log_prob") -> Tensor:
        like = next(iter(model_sites.values()))["log_prob"]
        frames: list[Tensor] = [like.new_zeros(particles, size)] * num_frames
        for name, site in sites.items():
            frames[frame_of[name]] = frames[frame_of[name]] + site[nats]
        return torch.stack(frames, -1)

    return LogProbs(
        log_p=stack(model_sites),
        log_q=stack(guide_sites),
        log_path=stack(pathwise),
        log_score=stack(scored, "log_score"),
        mask=_frame_mask(model_sites, frame_of, num_frames, size),
        x=_observed_frames(model_sites, frame_of, num_frames),
        sites={f"p({name})": site["log_prob"] for name, site in model_sites.items()}
        | {f"q({name})": site["log_prob"] for name, site in guide_sites.items()},
        values={name: site["value"] for name, site in guide_sites.items()},
    )


def _frames(model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site]) -> dict[str, int]:
    """The frame that each site belongs to, counted from zero."""
    frame_of: dict[str, int] = {}
    frame, observed_last = 0, False
    for name, site in model_sites.items():
        if observed_last and not site["is_observed"]:
            frame += 1
        frame_of[name], observed_last = frame, bool(site["is_observed"])
    order = [frame_of[name] for name in guide_sites]
    return frame_of if order == sorted(order) else dict.fromkeys(frame_of, 0)


def _refuse_shared(sites: Mapping[str, Site]) -> None:
    """Raise where some sites are in the plate and others, shared by all of the data, are not."""
    within = {
        name for name, site in sites.items() if any(p.dim == -1 for p in site["cond_indep_stack"])
    }
    if within and (shared := [name for name in sites if name not in within]):
        raise CompatibilityError(
            f"{_ONE_PLATE}, with all sites in it, and {', '.join(shared)} is outside: it would "
            "count once for every row. Give it to pyro.param, or take pyro.infer.Trace_ELBO"
        )


def _batch_size(name: str, site: Site, particles: int) -> int:
    shape = tuple(site["log_prob"].shape)
    if len(shape) > 2 or (len(shape) == 2 and shape[0] not in (1, particles)):
        raise CompatibilityError(
            f"site '{name}' has log-probabilities of shape {shape}; expected ({particles}, B): "
            f"{_ONE_PLATE}"
        )
    return shape[-1] if shape else 1


def _frame_mask(
    model_sites: Mapping[str, Site], frame_of: Mapping[str, int], num_frames: int, size: int
) -> Tensor:
    """Where any site of a frame counts, (B, T)."""
    like = next(iter(model_sites.values()))["log_prob"]
    mask = torch.zeros(size, num_frames, dtype=torch.bool, device=like.device)
    for name, site in model_sites.items():
        mask[:, frame_of[name]] |= True if site["mask"] is None else site["mask"]
    return mask


def _observed_frames(
    model_sites: Mapping[str, Site], frame_of: Mapping[str, int], num_frames: int
) -> Tensor | None:
    """Observations of every frame side by side, (B, T, D), where all frames look alike."""
    frames: list[list[Tensor]] = [[] for _ in range(num_frames)]
    for name, site in model_sites.items():
        if site["is_observed"]:
            event_dim = site["fn"].event_dim
            value = site["value"]
            batch = value.shape[: value.dim() - event_dim]
            frames[frame_of[name]].append(value.reshape(batch[-1] if batch else 1, -1))
    shapes = {tuple(value.shape for value in frame) for frame in frames}
    if len(shapes) != 1 or not frames[0]:
        return None
    return torch.stack([torch.cat(frame, -1) for frame in frames], 1)
