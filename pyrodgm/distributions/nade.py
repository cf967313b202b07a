"""The neural autoregressive distribution estimator: binary features one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.distributions.autoregressive import AutoregressiveVector, logistic_noise

SPARSE = 0.25  # share of ones up to which hidden units are shared
SPARSE_DRAWS = 1 / 16  # expected share of ones up to which draws go from one to the next


class NADE(AutoregressiveVector):
    r"""D binary variables, each given those before it.

    .. math::
        h_d = \sigma(c + \textstyle\sum_{i<d} x_i W_i), \qquad
        \log p(x) = \sum_d \log \mathrm{Bern}(x_d; \sigma(b_d + V_d \cdot h_d))

    Args:
        visible_bias: b, (..., D).
        hidden_bias: c, (..., H).
        weight_in: W, (D, H).
        weight_out: V, (D, H).
        order: the features of an event in the order of the variables, (D,); None where variable d
            is feature d.

    The hidden units change only after a variable that is one. In sparse data, such as piano rolls,
    they are computed once for each of the M ones of a frame and not for each of its D variables:
    (M + 1) H sigmoids instead of D H, and two matrix products. Draws that are expected to be sparse
    go from one to the next in the same way: M + 1 steps instead of D.

    The mean has no closed form; average draws instead.

    Reference: Larochelle and Murray, The neural autoregressive distribution estimator, 2011,
    equations 8 and 9; biases that depend on the past are those of Boulanger-Lewandowski, Bengio and
    Vincent, Modeling temporal dependencies in high-dimensional sequences, 2012, equations 18, 19.
    """

    def __init__(
        self,
        visible_bias: Tensor,
        hidden_bias: Tensor,
        weight_in: Tensor,
        weight_out: Tensor,
        order: Tensor | None = None,
    ) -> None:
        self.visible_bias = visible_bias
        self.hidden_bias = hidden_bias
        self.weight_in = weight_in
        self.weight_out = weight_out
        super().__init__(visible_bias.shape[:-1], visible_bias.shape[-1], order)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> NADE:
        """The same over a larger batch."""
        shape = torch.Size(batch_shape)
        return NADE(
            self.visible_bias.expand(shape + self.visible_bias.shape[-1:]),
            self.hidden_bias.expand(shape + self.hidden_bias.shape[-1:]),
            self.weight_in,
            self.weight_out,
            self.order,
        )

    def conditional_logits(self, value: Tensor) -> Tensor:
        """Log-odds of every variable given those before it in `value`, (..., D)."""
        if not value.requires_grad and value.mean() <= SPARSE:  # prefixes have no derivative
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

    def begin(self, shape: torch.Size) -> Tensor:
        """The hidden units before their sigmoid, (..., H)."""
        return self.hidden_bias.expand(shape + self.hidden_bias.shape[-1:])

    def logit(self, state: Tensor, d: int) -> Tensor:
        """Log-odds of variable d, (...)."""
        return self.visible_bias[..., d] + state.sigmoid() @ self.weight_out[d]

    def push(self, state: Tensor, d: int, value: Tensor) -> Tensor:
        """The hidden units after variable d."""
        return state + value[..., None] * self.weight_in[d]

    def _drawn(
        self, shape: torch.Size, known: tuple[Tensor, ...] = (), seen: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Draws of a shape; sparse ones by their ones, with the values of the loop over variables.

        Until the next one, the log-odds of all variables follow from the same hidden units.
        """
        with torch.no_grad():
            state = self.begin(shape[:-1])
            logits = self._all_logits(state)
            if seen or logits.sigmoid().mean() > SPARSE_DRAWS:
                return super()._drawn(shape, known, seen)
            noise, dim = self._noise(shape), shape[-1]
            place = torch.arange(dim, device=noise.device)
            last = place.new_full((*shape[:-1], 1), -1)
            found = torch.zeros_like(noise)
            while True:
                ones = (logits > noise) & (place > last)
                last = place.where(ones, dim).amin(-1, keepdim=True)
                if bool((last == dim).all()):
                    return found if self.order is None else found[..., self.order.argsort()]
                new = (place == last).to(noise)
                found = found + new
                state = state + new @ self.weight_in
                logits = self._all_logits(state)

    def _all_logits(self, state: Tensor) -> Tensor:
        """Log-odds of all variables if those that are still to come were zero, (..., D)."""
        return self.visible_bias + state.sigmoid() @ self.weight_out.T

    def _noise(self, shape: torch.Size) -> Tensor:
        """In the precision of the hidden units."""
        return logistic_noise(shape, self.hidden_bias)


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
