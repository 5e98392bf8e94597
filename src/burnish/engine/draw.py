"""Drawing tokens from logits: one uniform a token, no pass that sorts or sums the vocabulary twice.

Inverse-CDF sampling in two levels: probabilities are summed in blocks, the block is found from the
blocks' running sum, and only that block is scanned. Top-k and top-p renormalise the kept set, and
the log-probability returned is that of the distribution that was sampled from.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 256


def draw(
    logits: Float[Tensor, "N V"],
    uniforms: Float[Tensor, " N"],
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """A token for each row, and its log-probability under the distribution it was drawn from.

    Temperature 0 takes the likeliest token; its log-probability is that at temperature 1.
    """
    logits = logits.float()
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, _logprob(logits, tokens)
    if temperature != 1:
        logits = logits / temperature
    if top_k or top_p < 1:
        logits = _truncate(logits, top_k, top_p)
    tokens = _inverse_cdf(logits, uniforms)
    return tokens, _logprob(logits, tokens)


def _logprob(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)


def _truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Logits outside the kept set become -inf; at least one token is kept."""
    if top_k and top_k < logits.shape[-1]:
        floor = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability
        ordered = ordered.masked_fill(before >= top_p, float("-inf"))
        logits = torch.empty_like(logits).scatter_(1, order, ordered)
    return logits


def _inverse_cdf(logits: Tensor, uniforms: Tensor) -> Tensor:
    rows, vocabulary = logits.shape
    mass = (logits - logits.amax(-1, keepdim=True)).exp_()
    spare = -vocabulary % BLOCK
    if spare:
        mass = torch.nn.functional.pad(mass, (0, spare))
    blocks = mass.view(rows, -1, BLOCK)
    running = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = uniforms.to(torch.float64) * running[:, -1]
    block = torch.searchsorted(running, target[:, None], right=True)[:, 0]
    block = block.clamp(max=running.shape[1] - 1)
    index = torch.arange(rows, device=logits.device)
    before = torch.where(block > 0, running[index, (block - 1).clamp(min=0)], 0.0)
    inside = blocks[index, block].double().cumsum(-1)
    # Rounding may leave the target a hair past the block's own sum: stay on its last real token.
    within = torch.searchsorted(inside, (target - before)[:, None], right=True)[:, 0]
    last = (blocks[index, block] > 0).double().mul(torch.arange(BLOCK, device=logits.device) + 1)
    within = torch.minimum(within, last.argmax(-1))
    return block * BLOCK + within
