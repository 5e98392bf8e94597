"""What the policy-gradient algorithms have in common: a KL penalty and an entropy bonus.

    L = surrogate + kl_coef * (penalty in the loss) - entropy_coef * sum_t w_t H_t

The weights w_t are the algorithm's own normaliser, so the three terms keep their proportion
whatever the batch.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from burnish.algos.advantages import group_advantages
from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch, clean, require_tensor
from burnish.algos.kl import Placement, penalised, penalty_loss, penalty_needs
from burnish.algos.surrogate import Surrogate
from burnish.errors import ConfigError

_Own = TypeVar("_Own", bound="PolicyGradient")


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyGradient:
    """Base of the algorithms; not one itself."""

    kl_coef: float = 0.0
    """Price of a nat of KL to the reference; raising it keeps the policy nearer. 0 needs no
    reference model."""
    kl: Placement = "reward_k1"
    """Where the penalty sits, and its estimator: this decides what is learnt (burnish.algos.kl)."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus; raising it keeps the policy exploring."""

    def __post_init__(self) -> None:
        for name, value in (("kl_coef", self.kl_coef), ("entropy_coef", self.entropy_coef)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be at least 0 and finite")

    def needs(self) -> frozenset[Need]:
        """What the learner must compute before `advantages`."""
        return penalty_needs(self.kl, self.kl_coef)

    def inert(self, batch: RolloutBatch) -> Bool[Tensor, " B"]:
        """Rows without advantage, unless the loss has other terms."""
        if self.entropy_coef or (self.kl_coef and self.kl != "reward_k1"):
            return ~batch.mask.any(dim=1)
        return (require_tensor(batch.advantages, "advantages") == 0).all(dim=1)

    def after(self: _Own, batch: RolloutBatch) -> _Own:
        """The algorithm for the rollouts that follow `batch`."""
        del batch
        return self

    def with_kl_coef(self: _Own, kl_coef: float) -> _Own:
        """The same at another price, as a resume finds it."""
        return replace(self, kl_coef=kl_coef)

    @property
    def compares_groups(self) -> bool:
        """Whether a completion is compared with others of its problem: groups need at least 2."""
        return True

    @property
    def reuses_rollouts(self) -> bool:
        """Whether several updates may follow from one rollout: ratios then correct for it."""
        return True

    def _against_group(self, batch: RolloutBatch, std_eps: float | None) -> RolloutBatch:
        """Advantages from each group's mean and, unless std_eps is None, deviation."""
        batch = penalised(batch, self.kl, self.kl_coef)
        advantage = group_advantages(batch.scores, batch.group, std_eps=std_eps)
        return replace(batch, advantages=spread(advantage, batch))

    def _regularised(self, surrogate: Surrogate, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        total = surrogate.total
        if self.kl_coef:
            total = total + penalty_loss(part, new.logprobs, self.kl, self.kl_coef)
        if self.entropy_coef:
            entropy = clean(require_tensor(new.entropy, "entropy"), part.mask)
            weights = clean(require_tensor(part.weights, "weights"), part.mask)
            total = total - self.entropy_coef * (weights * entropy).sum()
        return Loss(total, surrogate.sums)


def spread(advantage: Float[Tensor, " B"], batch: RolloutBatch) -> Float[Tensor, "B T"]:
    """One advantage a row, given to each of its decisions."""
    return clean(advantage[:, None].expand(batch.mask.shape), batch.mask)
