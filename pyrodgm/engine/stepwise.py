"""Log-probabilities of any Pyro program with a site per step, by draw, datum and frame.

Pyro traces it, with all its checks (`pyro.infer.enum.get_importance_trace`), and
`pyrodgm.engine.layout` finds the data and the frames in the traces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions.util import is_identically_zero
from pyro.infer.enum import get_importance_trace
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from pyrodgm.engine.dependence import Dependence
from pyrodgm.engine.layout import PARTICLES, Layout, Site, plates_of, shared_plates
from pyrodgm.engine.terms import Terms
from pyrodgm.errors import CompatibilityError, PyrodgmError
from pyrodgm.turns import PROCESS

TracePair = tuple[Trace, Trace]


def stepwise_terms(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, particles: int = 1
) -> Terms:
    """Log-probabilities of K draws side by side, of programs that run under a plate of draws.

    Args:
        model: program whose only plate, if any, holds the data and is at dimension -1.
        guide: program over its latent sites.
        args: what both are called with.
        particles: number of draws K.

    Raises:
        CompatibilityError: other sites in the two, or more plates than that.
    """
    try:
        model, guide = (
            pyro.plate(PARTICLES, particles, dim=-2)(program) for program in (model, guide)
        )
        with PROCESS.taken():
            pair = traced(float("inf"), model, guide, args, {})
    except ValueError as error:
        if "collide" not in str(error):
            raise
        raise CompatibilityError(
            f"there must be at most one plate, over the data, at dimension -1, but: {error}"
        ) from error
    return terms_of([pair])[0]


def traced(
    nesting: float,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> TracePair:
    """Traces of the model and the guide as Pyro's ELBOs take them, with Pyro's checks.

    Raises:
        PyrodgmError: as a distribution of ours raised it; Pyro reports it as a ValueError.
    """
    try:
        return get_importance_trace("flat", nesting, model, guide, args, kwargs)
    except ValueError as error:
        if isinstance(error.__cause__, PyrodgmError):
            raise error.__cause__ from None
        raise


def terms_of(pairs: Sequence[TracePair], depends: Dependence | None = None) -> list[Terms]:
    """Log-probabilities from traces of the model and the guide: several, or one with all draws.

    Args:
        pairs: traces of the model and the guide, from `pyro.infer.enum.get_importance_trace`.
        depends: what in the program depends on its draws; nothing if not given.

    Returns:
        Log-probabilities (K, B, T) of B data of T frames (`pyrodgm.engine.layout`), one for each
        group of draws by their plates. Each has the scores of its own draws, neither scaled nor
        masked, as in Pyro: the cost that they are multiplied with is. The gradients of the terms
        of p and of the path come with the first group alone. Sites that differ in a number at
        the end of their names, ``z_1`` and ``z_2``, are one site in several frames.

    Raises:
        CompatibilityError: the two programs do not draw the same sites.
    """
    depends = depends or Dependence()
    runs = [(_sites(model), _sites(guide)) for model, guide in pairs]
    for run in runs:
        _refuse_others(*run)
    return [
        _group(runs, plates, members, depends, first=not number)
        for number, (plates, members) in enumerate(_groups(runs, depends).items())
    ]


Run = tuple[dict[str, Site], dict[str, Site]]
Plates = tuple[Any, ...]


def _groups(runs: Sequence[Run], depends: Dependence) -> dict[Plates, set[str]]:
    """Names of the guide's scored sites by the plates that they are in; there is at least one."""
    if depends.structure:
        every = [site for run in runs for sites in run for site in sites.values()]
        draws = tuple(plate for plate in shared_plates(every) if plate.name == PARTICLES)
        return {draws: {name for _, guide in runs for name in guide}}
    groups: dict[Plates, set[str]] = {}
    for _, guide in runs:
        for name, site in guide.items():
            if not is_identically_zero(site["score_function"]):
                groups.setdefault(plates_of(site), set()).add(name)
    every = [site for run in runs for sites in run for site in sites.values()]
    return groups or {shared_plates(every): set()}


def _group(
    runs: Sequence[Run],
    plates: Plates,
    members: set[str],
    depends: Dependence,
    *,
    first: bool,
) -> Terms:
    layouts = [Layout(*run, plates, single=depends.structure) for run in runs]
    length = max(layout.num_frames for layout in layouts)

    def stack(part: str, term: str, kind: str, *, shared: bool = False) -> Tensor:
        return torch.cat(
            [
                lay.table(_of_kind(getattr(lay, part), kind), term, length, shared=shared)
                for lay in layouts
            ]
        )

    def direct(part: str, term: str, kind: str) -> Tensor:
        """The value that this group's draws answer for, and its share in the gradient."""
        value = stack(part, term, kind)
        if not first:
            return value.detach()
        if all(layout.uniform for layout in layouts):
            return value
        share = stack(part, term, kind, shared=True)
        return value.detach() + share - share.detach()

    def scores(kind: str) -> Tensor:
        """Those of this group's draws alone."""
        tables = []
        for lay in layouts:
            own = {n: s for n, s in _of_kind(lay.guide, kind).items() if n in members}
            tables.append(lay.table(own, "score_function", length))
        return torch.cat(tables)

    model, guide = _kinds(lay.model for lay in layouts), _kinds(lay.guide for lay in layouts)
    return Terms(
        p={kind: direct("model", "log_prob", kind) for kind in model},
        q={kind: stack("guide", "log_prob", kind) for kind in guide},
        path={kind: direct("guide", "entropy_term", kind) for kind in guide},
        score={kind: scores(kind) for kind in guide},
        values={
            name: site["value"]
            for name, site in layouts[0].guide.items()
            if not site["is_observed"]
        },
        mask=layouts[0].mask(depends.sites, length),
        x=None if depends.structure else layouts[0].observed(depends.sites),
    )


def site_kind(name: str) -> str:
    """The name of a site without its frame: ``z`` of ``z_3``."""
    return re.sub(r"_\d+$", "", name)


def _kinds(runs: Iterable[Mapping[str, Site]]) -> tuple[str, ...]:
    """The names of all sites without their frames, each once."""
    return tuple(dict.fromkeys(site_kind(name) for sites in runs for name in sites))


def _of_kind(sites: Mapping[str, Site], kind: str) -> dict[str, Site]:
    return {name: site for name, site in sites.items() if site_kind(name) == kind}


class SharedSubsamples(Messenger):
    """Within it every plate of one name takes the subsample that it took first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample) and msg["name"] in self.rows:
            msg["value"], msg["done"] = self.rows[msg["name"]], True

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample):
            self.rows.setdefault(msg["name"], msg["value"])


def _sites(trace: Trace) -> dict[str, Site]:
    """Sample sites with the parts of their scores; `pyro.deterministic` has nothing to add."""
    nodes: dict[str, Any] = dict(trace.nodes)
    sites: dict[str, Site] = {}
    for name, site in nodes.items():
        if site["type"] == "sample" and not site["infer"].get("_deterministic"):
            parts = site["score_parts"]._asdict() if "score_parts" in site else {}
            sites[name] = {**site, **parts, "log_prob": site["log_prob"]}
    return sites


def _refuse_others(model: Mapping[str, Site], guide: Mapping[str, Site]) -> None:
    """Raise where a latent site is in one program only."""
    latent = {name for name, site in model.items() if not site["is_observed"]}
    proposed = {
        name
        for name, site in guide.items()
        if not site["is_observed"] and not site["infer"].get("is_auxiliary")
    }
    if latent - set(guide) or proposed - latent:
        raise CompatibilityError(
            f"the guide draws {sorted(proposed - latent) or 'nothing'} that the model does not "
            f"know, and the model draws {sorted(latent - set(guide)) or 'nothing'} that the guide "
            "does not; both must draw the same sites, but for those that the guide marks by "
            "infer={'is_auxiliary': True}"
        )
