"""Dynamic noise-contrastive estimation: the noise learns too, and is a part of the data."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.likelihood.field import ABOVE_NOISE, validate_field
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Phase
from pyrodgm.objectives.noise_contrast import NoiseContrast
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.targets import Targets


@final
class DNCE(NoiseContrast):
    r"""Dynamic noise-contrastive estimation.

    .. math::
        \max_{\theta, \zeta} \; \mathrm{E}_m \log \frac{\hat p(x)}{\hat p(x) + \nu q(x)}
          + \nu\, \mathrm{E}_q \log \frac{\nu q(x)}{\hat p(x) + \nu q(x)}, \qquad
        m = \alpha \tilde p + (1 - \alpha) q, \qquad
        \max_\phi \; \mathrm{E}_{\tilde p} \log q_\phi(x)

    with :math:`\log \hat p = \phi_\theta - \zeta`. The noise q learns the data by maximum
    likelihood at the same time, so that few draws of it suffice; and draws of it are data, too,
    which is against overfitting. For given noise the optimum is :math:`\hat p = m`, not the data's
    distribution: it goes there only as far as the noise does, or with :math:`\alpha = 1`. With
    :math:`\alpha = 1` and a noise that has ended learning it is `NCE`.

    The field's turn is before the noise's. A guide without parameters does not learn. The
    validation score is the log-likelihood of the field: exact if the normaliser can be enumerated,
    and else a lower bound by draws of the noise (`pyrodgm.evaluate.likelihood.field`).

    Args:
        model: a model with an unnormalised density, of frames or of whole sequences.
        guide: the noise distribution q, over observations and with a density.
        noise_per_datum: draws of noise for each example :math:`\nu`.
        noise_from: folder of a run of the guide's model alone, such as `rnn-nade` by `ml` on the
            same data, with whose weights the guide starts.
        interpolation: share of data in what is contrasted with the noise, :math:`\alpha`.
        noise_steps: steps in which the noise alone learns, before the field's first.
        noise_ends: whether the noise ends learning with them, and stays as it is from then on.
        noise_lr: learning rate of the noise; that of the field if not given.

    Reference: Wang and Ou, Improved training of neural trans-dimensional random field language
    models with dynamic noise-contrastive estimation, 2018. There, draws of the noise in m are not
    those of the second term.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("data and noise from noise", "ML", "Wang and Ou 2018"),
    )

    shown: ClassVar[tuple[str, ...]] = (ABOVE_NOISE,)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        noise_per_datum: Annotated[int, Field(ge=1)] = 1,
        noise_from: str | None = None,
        interpolation: Annotated[float, Field(gt=0, le=1)] = 0.5,
        noise_steps: Annotated[int, Field(ge=0)] = 0,
        noise_ends: bool = False,
        noise_lr: Positive | None = None,
    ) -> None:
        given = {"noise_per_datum": noise_per_datum, "noise_from": noise_from}
        super().__init__(model, guide, interpolation=interpolation, **given)
        learns = any(True for _ in guide.parameters())
        self.noise_alone = noise_steps if learns else 0
        self.noise_end = self.noise_alone if noise_ends or not learns else None
        self.noise_lr = noise_lr

    def phases(self) -> tuple[Phase, ...]:
        """The field with its log Z, then the noise if it learns."""
        field = Phase("field", (self.model, self.log_z), self.contrast, start=self.noise_alone)
        if self.noise_end == 0:
            return (field,)
        of_noise = {"lr": self.noise_lr, "end": self.noise_end}
        return field, Phase("noise", (self.guide,), self.noise_loss, **of_noise)

    def noise_loss(self, batch: Batch) -> Loss:
        """Minus the log-likelihood of the noise, per sequence."""
        nats = self.noise.log_prob(batch.x, batch).masked_fill(~batch.mask, 0.0)
        report = {"noise_nats_per_frame": nats.detach().sum() / batch.mask.sum()}
        return Loss(-nats.sum(-1).mean(), report, {"log q(x)": nats.detach()})

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The log-likelihood of the field, exact or its lower bound by draws of the noise."""
        return validate_field(self.field, self.noise, sequences, seed=seed)
