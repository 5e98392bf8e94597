"""Which tokens may be drawn: top-k, then top-p, then min-p, for the sampler and for the learner.

A completion that was drawn from a truncated distribution has to be scored under that one: under the
whole distribution every token of it is less likely by the part that was cut off, and what a loss
makes of that differs from token to token.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from burnish.kernels import draw as compiled
from burnish.kernels.numbers import follow_torch_threads, supports


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """The kept set of a next-token distribution, which is renormalised over it.

    Top-k keeps what equals the k-th likeliest token or is above it; then top-p (Holtzman et al.
    2020, 1904.09751) the fewest tokens whose share of that reaches p, the first of equals; then
    min-p (Nguyen et al. 2024, 2407.01082) those at least min_p times as likely as the likeliest.
    One token at least is kept.
    """

    top_k: int = 0
    """0 keeps all."""
    top_p: float = 1.0
    """1 keeps all."""
    min_p: float = 0.0
    """0 keeps all."""

    @property
    def whole(self) -> bool:
        """Whether every token is kept."""
        return self.top_k == 0 and self.top_p == 1 and self.min_p == 0

    def truncate_(
        self,
        logits: Float[Tensor, "N V"],
        temperature: float,
        always: Int[Tensor, " N"] | None = None,
    ) -> None:
        """Write -inf over the logits of tokens outside the kept set at a temperature.

        `always` names a token a row that is kept in any case. A row with a NaN keeps it.
        """
        if self.whole:
            return
        if supports(logits):
            follow_torch_threads()
            none = torch.full((len(logits),), -1) if always is None else always
            compiled.truncate_(logits, temperature, self.top_k, self.top_p, self.min_p, none)
            return
        precise = logits if logits.dtype == torch.float64 else logits.float()
        outside = self._outside(precise / temperature)
        if always is not None:
            outside.scatter_(1, always[:, None], False)
        logits.masked_fill_(outside, float("-inf"))

    def _outside(self, logits: Tensor) -> Bool[Tensor, "N V"]:
        if 0 < self.top_k < logits.shape[-1]:
            floor = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < floor, float("-inf"))
        if self.top_p < 1:
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            probability = ordered.softmax(-1)
            before = probability.cumsum(-1) - probability
            ordered = ordered.masked_fill(before >= self.top_p, float("-inf"))
            logits = torch.empty_like(logits).scatter_(1, order, ordered)
        if self.min_p:
            least = logits.amax(-1, keepdim=True) + math.log(self.min_p)
            logits = logits.masked_fill(logits < least, float("-inf"))
        return logits.isneginf()


WHOLE = Support()
"""Every token."""
