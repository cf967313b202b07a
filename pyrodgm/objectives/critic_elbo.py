"""The critic term with plain Pyro programs: an evidence lower bound with a critic in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.score_parts import ScoreParts
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from pyrodgm.distributions import Implicit
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.stepwise import SharedSubsamples, TracePair, site_kind
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.objectives.critic_term import CriticTerm, DistanceTerm
from pyrodgm.objectives.elbo import ELBO
from pyrodgm.objectives.svi import ObjectiveELBO, Traced

Program = Callable[..., Any]
Sites = dict[str, dict[str, Any]]  # as Pyro's trace has them


class CriticELBO(ObjectiveELBO):
    r"""The evidence lower bound with a critic in the place of KL terms, as a `pyro.infer.ELBO`.

    .. math::
        \text{CriticTerm: } & E_q[\log p(x \mid z) - T(x, z)], \qquad
            T \approx \log q(z \mid x) - \log p(z) \\
        \text{DistanceTerm: } & E_q \log p(x \mid z) - (E_q D(x, z) - E_p D(x, z))

    The critic scores the latent sites that the guide gives as values without a density,
    ``pyro.sample(name, dist.Delta(value))``, computed from auxiliary sites, which are marked by
    ``infer={"is_auxiliary": True}``; or those named by `sites`, whose draws carry gradients. Other
    sites of the guide are scored by their own densities.

    Sites that differ in a number at the end of their names, ``z_0`` and ``z_1`` of `pyro.markov`,
    are one site in several frames: the critic is called with ``z``, the path of all frames,
    (..., T, J), zero in frames that are masked out. Draws of the prior are those of the model, each
    frame given its own latents before it.

    A step of training is some steps of the critic on `critic_loss`, by an optimiser of its own, and
    one of `pyro.infer.SVI` on this; or one on `reconstruction_loss` and one on `adversary_loss`,
    whose optimisers scale their gradients apart. The value of the loss is an estimate, no bound.

    Args:
        term: the critic, called with what the programs are called with and with the latents by
            name; it gives a number for every entry of their plates.
        sites: names, without frames, of the latent sites that the critic scores, or one name.
        num_particles: number of draws, one after the other.
        name: as of `ObjectiveELBO`.

    Raises:
        UsageError: what is given is no `CriticTerm` or `DistanceTerm`.
        CompatibilityError: a program is a sequence program, the guide gives no value by a Delta,
            lacks a site of `sites`, or draws one without gradients; or the critic gives numbers of
            another shape.
    """

    def __init__(
        self,
        term: CriticTerm | DistanceTerm,
        *,
        sites: str | Sequence[str] | None = None,
        num_particles: int = 1,
        name: str = "pyrodgm.critic",
    ) -> None:
        if not isinstance(term, CriticTerm | DistanceTerm):
            raise UsageError(
                f"CriticELBO takes a CriticTerm or a DistanceTerm, and {type(term).__name__} is "
                "given; wrap the critic: CriticTerm(critic)"
            )
        super().__init__(ELBO, name=name, particles=num_particles)
        self.term = term
        names = [sites] if isinstance(sites, str) else sites
        self.sites = None if names is None else frozenset(names)

    def critic_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The mean loss of the critic at draws of the guide and of the model's prior, a scalar.

        Its gradient is that of the critic alone.
        """
        with torch.no_grad():
            of_q, of_p, site = self._draws(model, guide, args, kwargs)
        return _mean(_checked(self.term.loss(of_q, of_p, *args, **kwargs), site), site["mask"])

    def adversary_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The mean divergence that the critic sees, a scalar, for guide and prior to reduce."""
        of_q, of_p, site = self._draws(model, guide, args, kwargs)
        seen = _checked(self.term.divergence(of_q, of_p, *args, **kwargs), site)
        return _mean(seen, site["mask"])

    def reconstruction_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound, by one draw, without the sites that the critic scores; in nats."""
        with SharedSubsamples():
            pair = self._own_trace(model, guide, args, kwargs)
        of_model, of_guide = map(_sites, pair)
        scored = self._scored(of_guide)
        log_p, log_q = (
            sum(
                site["log_prob_sum"]
                for name, site in sites.items()
                if name not in scored and not site["infer"].get("is_auxiliary")
            )
            for sites in (of_model, of_guide)
        )
        return log_q - torch.as_tensor(log_p)

    def traced(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traced:
        """Log-probabilities of draws from the guide, and the loss; see `ObjectiveELBO`."""
        for program in (model, guide):
            if isinstance(program, SequenceProgram):
                raise CompatibilityError(
                    f"CriticELBO is for plain Pyro programs, and {type(program).__name__} is a "
                    "program of pyrodgm; take pyrodgm.fit with an objective that has a critic"
                )
        return super().traced(model, guide, args, kwargs)

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> TracePair:
        pair = self._own_trace(model, guide, args, kwargs)
        of_model, of_guide = map(_sites, pair)
        names = self._scored(of_guide)
        nats = self._stand_in(model, of_model, of_guide, names, args, kwargs)
        for name in names:
            _set_log_prob(of_guide[name], nats[name])
        for site in of_guide.values():
            if site["infer"].get("is_auxiliary"):
                _set_log_prob(site, torch.zeros_like(site["unscaled_log_prob"]))
        return pair

    def _own_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> TracePair:
        """Traces of both, with values alone as certain."""
        pair = super()._get_trace(model, _KnownAsDelta()(guide), args, kwargs)
        if torch.is_grad_enabled():
            _refuse_constants(pair[1], self._scored(_sites(pair[1])))
        return pair

    def _stand_in(
        self, model: Program, of_model: Sites, of_guide: Sites, names: list[str], *inputs: Any
    ) -> dict[str, Tensor]:
        """What stands for the log-probability of the guide's draws, by site.

        It is log p(z) and what the critic sees, which is counted with the first site. Under a
        `CriticTerm` it has no gradient of the prior's parameters, as the density of the guide has
        none: the prior learns by log p. Under a `DistanceTerm` it learns by its own draws.
        """
        args, kwargs = inputs
        log_q = {name: of_model[name]["unscaled_log_prob"] for name in names}
        of_q = _paths(of_guide, names)
        if isinstance(self.term, DistanceTerm):
            of_p = _paths(_sites(poutine.trace(model).get_trace(*args, **kwargs)), names)
            seen = self.term.divergence(of_q, of_p, *args, **kwargs)
        else:
            fixed = {name: site["value"].detach() for name, site in of_guide.items()}
            again = poutine.trace(poutine.condition(model, fixed)).get_trace(*args, **kwargs)
            again.compute_log_prob(lambda name, _: name in names)
            for name in names:
                learnt = _sites(again)[name]["unscaled_log_prob"]
                log_q[name] = log_q[name] - (learnt - learnt.detach())
            seen = self.term.ratio(of_q, *args, **kwargs)
        log_q[names[0]] = log_q[names[0]] + _checked(seen, of_guide[names[0]])
        return log_q

    def _draws(
        self, model: Program, guide: Program, args: Any, kwargs: Any
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """What the critic sees of the guide and of the model's prior, and its first site."""
        with SharedSubsamples(), _KnownAsDelta():
            q, p = (_sites(poutine.trace(f).get_trace(*args, **kwargs)) for f in (guide, model))
        names = self._scored(q)
        if missing := [name for name in names if name not in p]:
            raise CompatibilityError(
                f"the guide draws {', '.join(missing)}, which the model does not; mark what only "
                "the guide draws by infer={'is_auxiliary': True}"
            )
        return _paths(q, names), _paths(p, names), q[names[0]]

    def _scored(self, guide: Sites) -> list[str]:
        """The sites of a guide that the critic scores, in the order of the program."""
        if self.sites is None:
            return _values_alone(guide)
        latent = {
            name: site["fn"]
            for name, site in guide.items()
            if not site["infer"].get("is_auxiliary") and not isinstance(site["fn"], _Subsample)
        }
        if missing := self.sites - {site_kind(name) for name in latent}:
            raise CompatibilityError(
                f"the guide does not draw {', '.join(sorted(missing))}, which the critic is to "
                f"score; it draws {', '.join(dict.fromkeys(map(site_kind, latent))) or 'nothing'}"
            )
        names = [name for name in latent if site_kind(name) in self.sites]
        if fixed := [name for name in names if not latent[name].has_rsample]:
            raise CompatibilityError(
                f"draws of {', '.join(fixed)} carry no gradients, through which a critic trains a "
                "guide; take draws that do, such as those of dist.Normal"
            )
        return names


class _KnownAsDelta(Messenger):
    """Within it draws of unknown density are certain values, of log-probability zero."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Implicit):
            msg["fn"] = Delta(msg["fn"].v, event_dim=msg["fn"].event_dim)


def _sites(trace: Trace) -> Sites:
    """The sample sites of a trace."""
    nodes: dict[str, Any] = dict(trace.nodes)
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def _paths(sites: Sites, names: list[str]) -> dict[str, Tensor]:
    """Latents as the critic sees them: frames of one site side by side, zero where masked."""
    found: dict[str, Tensor] = {}
    for kind in dict.fromkeys(map(site_kind, names)):
        frames = [name for name in names if site_kind(name) == kind]
        values = [_unmasked(sites[name]) for name in frames]
        along = values[0].dim() - sites[frames[0]]["fn"].event_dim
        found[kind] = values[0] if frames == [kind] else torch.stack(values, along)
    return found


def _unmasked(site: dict[str, Any]) -> Tensor:
    """The value of a site, zero where it is masked out."""
    if site["mask"] is None:
        return site["value"]
    mask = torch.as_tensor(site["mask"], device=site["value"].device)
    return site["value"].where(mask[(..., *(None,) * site["fn"].event_dim)], 0.0)


def _checked(each: Tensor, site: dict[str, Any]) -> Tensor:
    """Numbers of a critic, one for each entry of the plates of a site."""
    wanted = site["fn"].batch_shape
    if each.shape != wanted:
        hint = "; a layer with one output needs .squeeze(-1)" if each.shape == (*wanted, 1) else ""
        raise CompatibilityError(
            f"the critic gives numbers of shape {tuple(each.shape)}; expected {tuple(wanted)}, one "
            f"for every entry of the plates of site '{site_kind(site['name'])}'{hint}"
        )
    return each


def _mean(each: Tensor, mask: Any) -> Tensor:
    """The mean over data that count, a scalar."""
    if mask is None:
        return each.mean()
    mask = torch.as_tensor(mask, device=each.device).expand(each.shape)
    return each.where(mask, 0.0).sum() / mask.sum()


def _values_alone(guide: Sites) -> list[str]:
    """The sites of a guide that are values without a density.

    Raises:
        CompatibilityError: there are none.
    """
    names = [
        name
        for name, site in guide.items()
        if not site["infer"].get("is_auxiliary") and isinstance(_base(site["fn"]), Delta)
    ]
    if not names:
        raise CompatibilityError(
            "the guide gives no latent site its value by a Delta, so that there is nothing for a "
            "critic to score: pyro.sample(name, dist.Delta(value).to_event(1)), or take "
            "pyro.infer.Trace_ELBO, for its density is known"
        )
    return names


def _refuse_constants(guide: Trace, names: list[str]) -> None:
    """Raise where no value carries gradients to the parameters of a guide that has some."""
    nodes: dict[str, Any] = dict(guide.nodes)
    learns = any(node["type"] == "param" for node in nodes.values())
    if learns and not any(nodes[name]["value"].requires_grad for name in names):
        raise CompatibilityError(
            f"the guide gives {', '.join(names)} without gradients, through which the critic "
            "trains it; leave out detach() and torch.no_grad()"
        )


def _base(distribution: Any) -> Any:
    """The distribution within those that only shape or mask it."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return distribution


def _set_log_prob(site: dict[str, Any], nats: Tensor) -> None:
    """Another log-probability of a site in a trace, whose draw carries gradients."""
    scaled = scale_and_mask(nats, site["scale"], site["mask"])
    site["unscaled_log_prob"], site["log_prob"] = nats, scaled
    site["log_prob_sum"] = scaled.sum()
    no_score: Any = 0
    site["score_parts"] = ScoreParts(scaled, no_score, scaled)
