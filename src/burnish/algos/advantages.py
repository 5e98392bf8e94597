"""Advantage estimators: generalised advantage estimation, group baselines, whitening."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def gae(
    *,
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    next_values: Float[Tensor, "B T"],
    terminated: Bool[Tensor, "B T"],
    truncated: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation (Schulman et al. 2015, 1506.02438, eq. 16).

        delta_t = r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma lambda (1 - end_t) A_{t+1},    R_t = A_t + V(s_t)

    A terminated step does not bootstrap; a truncated one does, and neither passes an advantage
    back. Gaps in the mask (a tool's reply between two decisions) are stepped over: t+1 is the next
    decision. Returns (advantages, returns), zero where masked.
    """
    bootstrap = torch.where(terminated, torch.zeros_like(next_values), next_values)
    delta = torch.where(mask, rewards + gamma * bootstrap - values, torch.zeros_like(rewards))
    ended = (terminated | truncated).to(rewards.dtype)
    # a gap hands on what it was handed
    share = torch.where(mask, gamma * gae_lambda * (1 - ended), torch.ones_like(ended))
    carried = torch.zeros_like(rewards[:, 0])
    found = []
    for own, kept in zip(reversed(delta.unbind(1)), reversed(share.unbind(1)), strict=True):
        carried = own + kept * carried
        found.append(carried)
    advantages = torch.where(mask, torch.stack(found[::-1], dim=1), torch.zeros_like(rewards))
    returns = torch.where(mask, advantages + values, torch.zeros_like(values))
    return advantages, returns


def next_decision_values(
    values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """V at each row's next decision; zero after the last one."""
    following = torch.zeros_like(values)
    carried = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        following[:, t] = carried
        carried = torch.where(mask[:, t], values[:, t], carried)
    return following


def group_means(
    scores: Float[Tensor, " B"], group: Int[Tensor, " B"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Each row's group mean, group standard deviation (Bessel) and number of scored rows.

    Scores that are not finite are unscorable: left out of all three. A group with fewer than two
    scored rows has standard deviation zero.
    """
    scored = scores.isfinite()
    num_groups = int(group.max()) + 1 if group.numel() else 0
    zeros = torch.zeros(num_groups, dtype=scores.dtype, device=scores.device)
    filled = torch.where(scored, scores, torch.zeros_like(scores))
    count = zeros.index_add(0, group, scored.to(scores.dtype))
    mean = zeros.index_add(0, group, filled) / count.clamp(min=1)
    deviation = torch.where(scored, scores - mean[group], torch.zeros_like(scores))
    variance = zeros.index_add(0, group, deviation**2) / (count - 1).clamp(min=1)
    return mean[group], variance.sqrt()[group], count[group]


def all_equal(scores: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Rows of groups whose scored rows all have the same score: they carry no signal.

    Compared exactly, because a mean of equal floats need not equal them.
    """
    num_groups = int(group.max()) + 1 if group.numel() else 0
    scored = scores.isfinite()
    low = torch.full((num_groups,), float("inf"), dtype=scores.dtype, device=scores.device)
    high = -low
    low = low.scatter_reduce(0, group[scored], scores[scored], "amin")
    high = high.scatter_reduce(0, group[scored], scores[scored], "amax")
    return (low >= high)[group]


def group_advantages(
    scores: Float[Tensor, " B"], group: Int[Tensor, " B"], *, std_eps: float | None
) -> Float[Tensor, " B"]:
    """Scores less their group's mean, over the group's deviation plus std_eps unless that is None.

    Exactly 0 for groups whose scores are all equal, and for unscorable rows.
    """
    mean, std, _ = group_means(scores, group)
    silent = all_equal(scores, group) | ~scores.isfinite()
    centred = scores - mean
    return torch.where(silent, 0.0, centred if std_eps is None else centred / (std + std_eps))


def leave_one_out(scores: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Scores less the mean of the others of their group (Kool et al. 2019).

    Exactly 0 for groups whose scores are all equal or that have one scored row, and for unscorable
    rows.
    """
    mean, _, count = group_means(scores, group)
    silent = all_equal(scores, group) | ~scores.isfinite()
    return torch.where(silent, 0.0, (scores - mean) * count / (count - 1).clamp(min=1))


def whiten(
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    eps: float = 1e-8,
    keep_mean: bool = False,
) -> Float[Tensor, "B T"]:
    """Mean 0 and standard deviation 1 over unmasked cells; unchanged for fewer than two of them.

    keep_mean: only the deviation becomes 1, which keeps the sign of rewards.

    Equal cells become exactly 0: their mean may differ from them by rounding, which a deviation
    that is rounding itself would blow up to a full-sized advantage.
    """
    chosen = values[mask]
    if chosen.numel() < 2:
        return values
    if bool((chosen == chosen[0]).all()):
        return values if keep_mean else torch.zeros_like(values)
    scaled = (values - chosen.mean()) / (chosen.std() + eps)
    if keep_mean:
        scaled = scaled + chosen.mean()
    return torch.where(mask, scaled, torch.zeros_like(values))
