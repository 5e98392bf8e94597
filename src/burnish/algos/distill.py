"""Distillation: a student learns a teacher's whole next-token distributions.

GKD, generalised knowledge distillation (Agarwal et al. 2023, 2306.13649, eq. 1 and algorithm 1).
After each prefix T is the teacher's distribution, S the student's, m = beta T + (1 - beta) S:

    beta = 0        D = KL(T || S)    forward: S covers whatever T does
    0 < beta < 1    D = beta KL(T || m) + (1 - beta) KL(S || m)
    beta = 1        D = KL(S || T)    reverse: S keeps to what T finds likely

    L = 1/(tokens of the step) sum_i sum_t D_it,    S = softmax(logits / temperature), T as well

The ends are not the middle's limits, which are 0: D / beta tends to the forward KL as beta falls to
0, and D / (1 - beta) to the reverse KL as beta rises to 1. At 0.5 D is the symmetric Jensen-Shannon
divergence, at most log 2. A temperature of tau scales gradients by about 1 / tau^2, uncorrected.

Sampled from: the student as it is in a share `on_policy` of the steps (the paper's lambda), else
the teacher, or given data. Reverse KL on the student's own completions is on-policy distillation,
and what MiniLLM minimises (Gu et al. 2023, 2306.08543).

The gradient goes through S and not through how the prefixes were sampled. On the student's own
completions the whole gradient of KL(S || T) of sequences is

    grad E[sum_t KL_t] = E[sum_t grad KL_t] + E[sum_t grad log S(y_t) (KL_t+1 + KL_t+2 + ...)]

and this is its first term, as in GKD; MiniLLM keeps the second too, by policy gradient. So nothing
teaches the student to avoid prefixes after which it will disagree with the teacher. A student that
can equal its teacher still ends there, for D is 0 at S = T and nowhere else; a smaller one settles
elsewhere than at the least sequence-level KL, and in exchange the gradient has little noise.

Differs from the paper: a mean over the step's tokens, where the paper takes each completion's mean
first; the teacher, rather than a fixed data set, writes what the student does not, if no data is
given.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from burnish.algos.kl import exact_kl
from burnish.algos.reduce import token_mean
from burnish.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """Generalised knowledge distillation; by default reverse KL on the student's completions."""

    beta: float = 1.0
    """From 0, forward KL, to 1, reverse KL; raising it makes the student seek the teacher's modes
    rather than cover its tails."""
    on_policy: float = 1.0
    """Share of the steps whose completions the student writes itself."""
    temperature: float = 1.0
    """Of both distributions in the divergence; raising it weighs unlikely tokens more. How
    completions are drawn is `draws.temperature`."""

    def __post_init__(self) -> None:
        for name, value in (("beta", self.beta), ("on_policy", self.on_policy)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must be in [0, 1]")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError("temperature must be above 0 and finite")

    def weights(self, mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Weights for one whole optimiser step: every token counts the same."""
        return token_mean(mask)

    def losses(
        self, student: Float[Tensor, "*S V"], teacher: Float[Tensor, "*S V"]
    ) -> Float[Tensor, "*S"]:
        """The divergence after each prefix, in nats, from logits (log-probabilities are logits)."""
        student, teacher = student / self.temperature, teacher / self.temperature
        if self.beta == 0:
            return exact_kl(teacher, student)
        if self.beta == 1:
            return exact_kl(student, teacher)
        student, teacher = student.log_softmax(-1), teacher.log_softmax(-1)
        beta = student.new_tensor(self.beta)
        mixture = torch.logaddexp(teacher + beta.log(), student + torch.log1p(-beta))
        from_teacher = (teacher.exp() * (teacher - mixture)).sum(-1)
        from_student = (student.exp() * (student - mixture)).sum(-1)
        return beta * from_teacher + (1 - beta) * from_student

    def observed(
        self, student: Float[Tensor, "*S V"], teacher: Float[Tensor, "*S V"]
    ) -> Float[Tensor, "*S 2"]:
        """For the log: KL(student || teacher), whatever beta is, and the student's entropy."""
        student, teacher = student / self.temperature, teacher / self.temperature
        logprobs = student.log_softmax(-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return torch.stack([exact_kl(student, teacher), entropy], dim=-1)
