"""Drawing tokens from logits, one uniform a token.

Inverse-CDF sampling in two levels: probabilities are summed in blocks, the block is found from the
blocks' running sum, and only that block is scanned. Top-k, top-p and min-p renormalise the kept
set, and the log-probability returned is that of the distribution that was sampled from. On the CPU
a row is one pass of a compiled loop; elsewhere, and in float64, the same by torch.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from burnish.kernels import draw as compiled
from burnish.kernels.numbers import follow_torch_threads, supports

BLOCK = 256


def draw(
    logits: Float[Tensor, "N V"],
    uniforms: Float[Tensor, " N"],
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """A token for each row, and its log-probability under the distribution it was drawn from.

    Top-k keeps what equals the k-th likeliest token or is above it; then top-p (Holtzman et al.
    2020, 1904.09751) the fewest tokens whose share of that reaches p; then min-p (Nguyen et al.
    2024, 2407.01082) those at least min_p times as likely as the likeliest. Temperature 0 takes
    the likeliest token; its log-probability is that at temperature 1.
    """
    if supports(logits):
        follow_torch_threads()
        return compiled.draw(
            logits.contiguous(), uniforms.double(), temperature, top_k, top_p, min_p
        )
    if temperature == 0:
        logits = logits.float()
        tokens = logits.argmax(-1)
        return tokens, logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    if top_k or top_p < 1 or min_p:
        logits, temperature = _truncate(logits / temperature, top_k, top_p, min_p), 1.0
    return _inverse_cdf(logits, uniforms, temperature)


def _truncate(logits: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor:
    """Logits outside the kept set become -inf; at least one token is kept."""
    if top_k and top_k < logits.shape[-1]:
        floor = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability
        ordered = ordered.masked_fill(before >= top_p, float("-inf"))
        logits = torch.empty_like(logits).scatter_(1, order, ordered)
    if min_p:
        least = logits.amax(-1, keepdim=True) + math.log(min_p)
        logits = logits.masked_fill(logits < least, float("-inf"))
    return logits


def _inverse_cdf(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    rows, vocabulary = logits.shape
    peak = logits.amax(-1, keepdim=True).float()
    mass = logits.float().sub_(peak) if logits.dtype != torch.float32 else logits - peak
    if temperature != 1:
        mass.div_(temperature)
    mass.exp_()
    spare = -vocabulary % BLOCK
    if spare:
        mass = torch.nn.functional.pad(mass, (0, spare))
    blocks = mass.view(rows, -1, BLOCK)
    running = blocks.sum(-1).double().cumsum(-1)
    total = running[:, -1]
    target = uniforms.to(torch.float64) * total
    block = torch.searchsorted(running, target[:, None], right=True)[:, 0]
    block = block.clamp(max=running.shape[1] - 1)
    index = torch.arange(rows, device=logits.device)
    before = torch.where(block > 0, running[index, (block - 1).clamp(min=0)], 0.0)
    chosen = blocks[index, block].double()
    within = torch.searchsorted(chosen.cumsum(-1), (target - before)[:, None], right=True)[:, 0]
    # Rounding may leave the target a hair past the block's own sum: stay on its last real token.
    places = torch.arange(1, BLOCK + 1, device=logits.device)
    within = torch.minimum(within, ((chosen > 0) * places).argmax(-1))
    tokens = block * BLOCK + within
    picked = logits.gather(-1, tokens[:, None]).float()
    logprobs = ((picked - peak) / temperature)[:, 0] - total.log()
    return tokens, logprobs.float()
