"""Noise-contrastive estimation, with a noise distribution that stays as it is."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import NonFiniteError
from pyrodgm.evaluate.likelihood.field import validate_field
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Phase
from pyrodgm.objectives.noise_contrast import NoiseContrast
from pyrodgm.objectives.targets import Targets


@final
class NCE(NoiseContrast):
    r"""Noise-contrastive estimation: a classifier of data and noise, whose log Z is a parameter.

    .. math::
        J = \mathrm{E}_{\tilde p} \log \frac{\hat p(x)}{\hat p(x) + \nu q(x)}
          + \nu\, \mathrm{E}_q \log \frac{\nu q(x)}{\hat p(x) + \nu q(x)}, \qquad
        \log \hat p = \phi - \zeta

    The noise q is not trained. The learned :math:`\zeta` are parameters of the objective, `log_z`;
    evaluation does not trust them, and estimates log Z. The validation score is the exact
    log-likelihood if the normaliser can be enumerated, and J on validation otherwise.

    Args:
        model: a model with an unnormalised density, of frames or of whole sequences.
        guide: the noise distribution q, over observations and with a density.
        noise_per_datum: draws of noise for each frame, or for each sequence of a field over
            sequences, :math:`\nu`.
        noise_from: folder of a run of the guide's model alone, such as `rnn-nade` by `ml` on the
            same data, with whose weights the guide starts. Without it, a guide with parameters
            stays at random ones, and `DNCE` is the better choice.

    Reference: Gutmann and Hyvarinen, Noise-contrastive estimation, 2010; on sequences: Wang and Ou,
    Learning neural trans-dimensional random field language models with noise-contrastive
    estimation, 2018.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("data from noise", "none", "alg. 9, eq. 45-49"),
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        noise_per_datum: Annotated[int, Field(ge=1)] = 10,
        noise_from: str | None = None,
    ) -> None:
        super().__init__(model, guide, noise_per_datum=noise_per_datum, noise_from=noise_from)

    def phases(self) -> tuple[Phase, ...]:
        """One phase, of the field and its log Z."""
        return (Phase("field", (self.model, self.log_z), self.loss),)

    def loss(self, batch: Batch) -> Loss:
        """Minus J, per sequence."""
        return self.contrast(batch)

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The exact log-likelihood if the normaliser can be enumerated, else J on validation."""
        if self.field.enumerable:
            return validate_field(self.field, self.noise, sequences, seed=seed)
        nats = self.held_out_contrast(sequences, seed=seed)
        if not math.isfinite(nats):
            raise NonFiniteError(f"the classification of data and noise on validation is {nats}")
        return Validation("classification of data and noise", nats, {self.headline: nats})
