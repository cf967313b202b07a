"""The neural autoregressive distribution estimator: binary features one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions.dot import dot

SPARSE = 0.25  # share of ones up to which hidden units are shared


class NADE(TorchDistribution):
    r"""D binary variables, each given those before it.

    .. math::
        h_d = \sigma(c + \textstyle\sum_{i<d} x_i W_i), \qquad
        \log p(x) = \sum_d \log \mathrm{Bern}(x_d; \sigma(b_d + V_d \cdot h_d))

    Args:
        visible_bias: b, (..., D).
        hidden_bias: c, (..., H).
        weight_in: W, (D, H).
        weight_out: V, (D, H).

    The hidden units change only after a variable that is one. In sparse data, such as piano rolls,
    they are computed once for each of the M ones of a frame and not for each of its D variables:
    (M + 1) H sigmoids instead of D H, and two matrix products.

    The mean has no closed form; average draws instead.

    Reference: Larochelle and Murray, The neural autoregressive distribution estimator, 2011,
    equations 8 and 9; biases that depend on the past are those of Boulanger-Lewandowski, Bengio and
    Vincent, Modeling temporal dependencies in high-dimensional sequences, 2012, equations 18, 19.
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.boolean, 1)  # pyright: ignore[reportAssignmentType]
    has_mean = False

    def __init__(
        self, visible_bias: Tensor, hidden_bias: Tensor, weight_in: Tensor, weight_out: Tensor
    ) -> None:
        self.visible_bias = visible_bias
        self.hidden_bias = hidden_bias
        self.weight_in = weight_in
        self.weight_out = weight_out
        super().__init__(visible_bias.shape[:-1], visible_bias.shape[-1:], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> NADE:
        """The same over a larger batch."""
        shape = torch.Size(batch_shape)
        return NADE(
            self.visible_bias.expand(shape + self.visible_bias.shape[-1:]),
            self.hidden_bias.expand(shape + self.hidden_bias.shape[-1:]),
            self.weight_in,
            self.weight_out,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D) in {0,1}."""
        logits = self.conditional_logits(value)
        return dot(value, logits) - F.softplus(logits).sum(-1)

    def conditional_logits(self, value: Tensor) -> Tensor:
        """Log-odds of every variable given those before it in `value`, (..., D)."""
        if value.mean() <= SPARSE:
            return self.visible_bias + self._by_ones(value)
        before = F.pad(value[..., :-1, None] * self.weight_in[:-1], (0, 0, 1, 0)).cumsum(-2)
        hidden = (self.hidden_bias[..., None, :] + before).sigmoid()
        return self.visible_bias + (hidden * self.weight_out).sum(-1)

    def _by_ones(self, value: Tensor) -> Tensor:
        """V_d h_d for all d, (..., D), with hidden units computed once per prefix of a frame."""
        batch = torch.broadcast_shapes(value.shape[:-1], self.hidden_bias.shape[:-1])
        split = len(batch) - value.dim() + 1
        value = value.expand(batch[split:] + value.shape[-1:])
        frame, before, vector = _prefixes(value.reshape(-1, value.shape[-1]))
        bias = self.hidden_bias.expand(batch + self.hidden_bias.shape[-1:])
        bias = bias.reshape(*batch[:split], -1, bias.shape[-1]).index_select(-2, frame)
        hidden = (bias + before.to(self.weight_in.dtype) @ self.weight_in).sigmoid()
        each = (hidden @ self.weight_out.T).flatten(-2)
        place = vector * value.shape[-1] + torch.arange(value.shape[-1], device=value.device)
        return each.index_select(-1, place.flatten()).view(batch[:split] + value.shape)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Zeros and ones, sample_shape + (..., D)."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            noise = torch.rand(shape, dtype=self.hidden_bias.dtype, device=self.hidden_bias.device)
            noise = noise.logit_()
            before = self.hidden_bias.expand(shape[:-1] + self.hidden_bias.shape[-1:])
            drawn = []
            for d in range(shape[-1]):
                logit = self.visible_bias[..., d] + before.sigmoid() @ self.weight_out[d]
                value = (logit > noise[..., d]).to(noise.dtype)
                before = before + value[..., None] * self.weight_in[d]
                drawn.append(value)
        return torch.stack(drawn, -1)


def _prefixes(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All different prefixes of frames (N, D): without their ones, with the first one, and so on.

    Returns:
        The frame of each prefix (R,), the prefix itself (R, D), and for every frame and variable
        the index of the prefix that ends before it (N, D).
    """
    so_far = frames.cumsum(-1)
    sizes = so_far[:, -1].long() + 1
    first = F.pad(sizes.cumsum(0), (1, 0))[:-1]
    frame = torch.arange(len(frames), device=frames.device).repeat_interleave(sizes)
    ones = torch.arange(len(frame), device=frames.device) - first[frame]
    before = frames[frame] * (so_far[frame] <= ones[:, None])
    return frame, before, first[:, None] + (so_far - frames).long()
