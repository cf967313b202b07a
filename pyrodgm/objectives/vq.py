"""Vector quantisation: the evidence lower bound of nearest codes, with straight-through vectors."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, cast, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.distributions import partial
from pyrodgm.errors import CodebookWarning
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.guides.nearest import nearest
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.schedule import NonNegative, scheduled
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.state import Running
from pyrodgm.objectives.targets import Targets

Decay = Annotated[float, Field(gt=0, lt=1)]
USAGE_DECAY = 0.99
DEAD = 0.01  # share of the average use below which a code counts as dead
LEAST_COUNT = 1e-5  # of vectors, below which the average of a code stays where it is


@final
class VQ(Objective):
    r"""The evidence lower bound of the nearest codes, and two terms that bring vectors and codes
    together.

    With the vectors :math:`e_j` of the guide, their nearest codes :math:`c_{z_j}`, and sg for what
    has no gradient,

    .. math::
        L = -\log p\big(x \mid e + \mathrm{sg}[c_z - e]\big) - \log p(z)
            + \sum_j \big\lVert \mathrm{sg}[e_j] - c_{z_j} \big\rVert^2
            + \beta \sum_j \big\lVert e_j - \mathrm{sg}[c_{z_j}] \big\rVert^2

    The decoder reads the codes, and the guide gets its gradient as if it had read the vectors
    (straight-through): it is **biased**, and the decoder's is not. The third term moves the codes
    and the last one, the commitment, moves the vectors; both are squared distances and no nats.

    The guide is certain of its codes, so that its evidence lower bound is
    :math:`\log p(x \mid z) + \log p(z)`, and with equal probabilities of C classes the KL term is
    the constant J log C. This is a valid lower bound for the discrete model, and what is reported
    and validated. It is low where the codes in use are few: a prior fitted to the codes
    (``model.prior=learned`` for their frequencies) makes it higher.

    Instead of by its term, a code can follow the vectors that chose it, as averages over steps:

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \qquad
        m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{j: z_j = k} e_j, \qquad c_k = m_k / N_k

    A code that is hardly chosen is dead: `code_use` in metrics.jsonl is the share of codes that are
    not, and a `CodebookWarning` at validation names the number of those that are. They can be
    revived: each is moved to a random vector of the last batch (over several processes, to a mean
    of one of each).

    Args:
        model: the model p, with a codebook.
        guide: the guide q, `NearestCode`.
        commitment: :math:`\beta`, a number or a schedule.
        ema: :math:`\gamma`, weight of the past in the averages, such as 0.99; None for codes that
            follow their term.
        revive: whether dead codes are revived.

    Reference: van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning, 2017,
    equations 1 to 3 and appendix A.1; Dhariwal et al., Jukebox, 2020, for codes that are revived.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB, biased", "van den Oord et al. 2017, eq. 3"),
    )
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"categorical"}), reparameterised=False, codebook=True
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        commitment: NonNegative = 0.25,
        ema: Decay | None = None,
        revive: bool = False,
    ) -> None:
        super().__init__(model, guide)
        self.commitment = scheduled(commitment)
        self.ema, self.revive = ema, revive
        codes = cast("Any", model).codebook.detach()
        self.usage = Running(USAGE_DECAY, start=codes.new_full((len(codes),), 1 / len(codes)))
        if ema is not None:
            self.counts = Running(ema, start=codes.new_ones(len(codes)))
            self.sums = Running(ema, start=codes.clone())
        if revive:
            self.candidates = Running(0.0, start=codes.clone())

    @property
    def dead(self) -> Tensor:
        """The codes that are hardly chosen, (C,)."""
        return self.usage.value < DEAD / len(self.usage.value)

    def loss(self, batch: Batch) -> Loss:
        """Minus the bound, with the codebook's term and the commitment, per sequence."""
        model, guide = cast("Any", (self.model, self.guide))
        if self.training:
            self._move_codes(model.codebook)
        vectors = guide.vectors(guide.encode(batch))
        z = nearest(vectors, model.codebook).mean
        codes = model.codes(z).view_as(vectors)
        read = vectors + (codes - vectors).detach()
        bound = self._bound(batch, z, read.flatten(-2))
        to_codes, to_vectors = (
            _squares(*pair).masked_fill(~batch.mask, 0.0)
            for pair in ((vectors.detach(), codes), (vectors, codes.detach()))
        )
        total = bound - self.commitment() * to_vectors
        if self.ema is None:
            total = total - to_codes
        report = self._report(batch, bound, to_codes / vectors[0, 0].numel())
        if self.training:
            self._count(batch, z, vectors.detach())
        return Loss(-sequence_mean(total[None]), report, {"p(x, z)": bound.detach()[None]})

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The evidence lower bound; warns of dead codes."""
        if number := int(self.dead.sum()):
            ways = "model.classes lower" if self.revive else "objective.revive=True"
            warnings.warn(
                f"{number} of {len(self.dead)} codes are chosen less than {DEAD:.0%} as often as "
                f"the average code; set {ways} to use the whole codebook",
                CodebookWarning,
                stacklevel=2,
            )
        return super().validate(sequences, seed=seed)

    def _bound(self, batch: Batch, z: Tensor, read: Tensor) -> Tensor:
        """Log p(x | z) + log p(z) of every frame, (B, T), with what the decoder reads."""
        model = cast("Any", self.model)
        row = partial(model.decoded(read, model.encode(batch)), batch.seen)
        nats = row.log_prob(batch.x) + model.prior_of(*model.latents).log_prob(z)
        return nats.masked_fill(~batch.mask, 0.0)

    @torch.no_grad()
    def _report(self, batch: Batch, bound: Tensor, distance: Tensor) -> dict[str, Tensor]:
        """The bound in nats, the mean squared distance, and the share of codes in use."""
        frames = batch.mask.sum()
        return {
            self.headline: bound.sum() / frames,
            "quantisation_error": distance.sum() / frames,
            "code_use": (~self.dead).to(bound.dtype).mean(),
        }

    @torch.no_grad()
    def _count(self, batch: Batch, z: Tensor, vectors: Tensor) -> None:
        """Update how often codes are chosen, their averages, and candidates for dead codes."""
        classes, dim = cast("Any", self.model).codebook.shape
        chosen = (z * batch.mask[..., None]).reshape(-1, classes)
        vectors, number = vectors.reshape(-1, dim), chosen.sum(0)
        self.usage.update(number / number.sum())
        if self.ema is not None:
            self.counts.update(number)
            self.sums.update(chosen.T @ vectors)
        if self.revive:
            of_data = chosen.sum(-1)
            self.candidates.update(vectors[torch.multinomial(of_data, classes, replacement=True)])

    @torch.no_grad()
    def _move_codes(self, codebook: Tensor) -> None:
        """Move codes to their averages, and dead ones to vectors of the last batch."""
        if self.ema is not None:
            counts = self.counts.value[:, None]
            averages = self.sums.value / counts.clamp(min=LEAST_COUNT)
            codebook.copy_(torch.where(counts > LEAST_COUNT, averages, codebook))
        if self.revive:
            dead, moved = self.dead, self.candidates.value
            codebook.copy_(torch.where(dead[:, None], moved, codebook))
            self.usage.value = torch.where(dead, 1 / len(dead), self.usage.value)
            if self.ema is not None:
                self.counts.value = torch.where(dead, 1.0, self.counts.value)
                self.sums.value = torch.where(dead[:, None], moved, self.sums.value)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances, summed over variables, (..., J, M) to (...)."""
    return (a - b).square().sum((-1, -2))
