"""Drawing tokens from logits, one uniform a token.

Inverse-CDF sampling in two levels: probabilities are summed in blocks, the block is found from the
blocks' running sum, and only that block is scanned. Top-k, top-p and min-p renormalise the kept
set, and the log-probability returned is that of the distribution that was sampled from. On the CPU
a row is one pass of a compiled loop; elsewhere, and in float64, the same by torch.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from burnish.kernels import draw as compiled
from burnish.kernels.numbers import follow_torch_threads, supports
from burnish.models.support import Support

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

    `Support` says what top-k, top-p and min-p keep. Temperature 0 takes the likeliest token; its
    log-probability is that at temperature 1.
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
    support = Support(top_k=top_k, top_p=top_p, min_p=min_p)
    if not support.whole:
        logits = logits.clone()
        support.truncate_(logits, temperature)
    return _inverse_cdf(logits, uniforms, temperature)


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
