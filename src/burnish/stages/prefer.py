"""Direct alignment: a policy from comparisons, without a reward model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.algos.dpo import DPO
from burnish.config import require_counts
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes, fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.models.policy import micro_batches, summed_logprobs
from burnish.pipeline.artifact import ModelRef, PreferencesRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.preferences import (
    TOKENS_PER_PROMPT,
    Preferences,
    num_pairs,
    read_groups,
    sides,
)


@dataclass(frozen=True, kw_only=True)
class Prefer:
    """Model + comparisons -> model. The model it starts from is the reference."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    model: ModelRef
    comparisons: PreferencesRef
    """Or preference pairs."""
    passes: Passes
    optim: Optim
    algorithm: DPO = DPO()
    max_tokens: int = 1024
    """Longer pairs, prompt and both answers together, are dropped and counted."""
    micro_tokens: int = 2048
    lora: LoRA | None = None
    precision: Precision = "bfloat16"
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        require_counts(self, "max_tokens", "micro_tokens")

    def work(self) -> Work:
        tokens = (self.passes.max_steps or 50) * self.passes.batch_rows * TOKENS_PER_PROMPT
        return Work(trained_tokens=tokens, scored_tokens=tokens, seconds=4)

    def scaled(self, factor: float) -> Self:
        return replace(self, passes=self.passes.scaled(factor))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, lora=self.lora, seed=ctx.seed)
        groups = read_groups(ctx, text, ctx.input(self.comparisons), self.max_tokens)
        num_steps = self.passes.num_steps(len(groups))
        used = sorted(
            {i for s in range(num_steps) for i in self.passes.rows(s, len(groups), ctx.seed)}
        )
        # Before the first step the policy is the reference, so a resume recomputes it from disk.
        reference = dict(zip(used, self._reference(text, [groups[i] for i in used]), strict=True))
        trainer = Trainer(text.model, self.optim, num_steps=num_steps)
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(groups),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, rows: self._losses(
                text.model, [groups[i] for i in rows], [reference[i] for i in rows]
            ),
            metrics=_metrics,
        )
        ctx.spend(
            trained_tokens=totals["tokens"],
            scored_tokens=sum(groups[i].tree.num_tokens for i in used),
        )
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "chosen": p.chosen, "rejected": p.rejected}
            for p in (group.pairs[0] for group in groups[:12])
        )
        text.save(ctx.output("model"))

    @torch.no_grad()
    def _reference(self, text: TextModel, groups: Sequence[Preferences]) -> list[Tensor]:
        """Summed log-probabilities of each group's answers under the start."""
        out: list[Tensor] = [torch.zeros(0)] * len(groups)
        for index in micro_batches([g.tree.num_tokens for g in groups], self.micro_tokens):
            trees = [groups[i].tree for i in index]
            sums = torch.split(summed_logprobs(text.model, trees), [len(t.branches) for t in trees])
            for i, row in zip(index, sums, strict=True):
                out[i] = row
        return out

    def _losses(
        self, model: nn.Module, groups: Sequence[Preferences], reference: Sequence[Tensor]
    ) -> Iterator[Loss]:
        for index in micro_batches([g.tree.num_tokens for g in groups], self.micro_tokens):
            part = [groups[i] for i in index]
            policy = summed_logprobs(model, [g.tree for g in part])
            ref = torch.cat([reference[i] for i in index])
            chosen, rejected = sides(part)
            losses = self.algorithm.losses(
                policy_chosen=policy[chosen],
                policy_rejected=policy[rejected],
                ref_chosen=ref[chosen],
                ref_rejected=ref[rejected],
            )
            with torch.no_grad():
                rewards = self.algorithm.beta * (policy - ref)
                margin = rewards[chosen] - rewards[rejected]
                sums = {
                    "chosen": rewards[chosen].sum(),
                    "rejected": rewards[rejected].sum(),
                    "margin": margin.sum(),
                    "right": ((margin.sign() + 1) / 2).sum(),
                    "pairs": torch.tensor(float(num_pairs(part))),
                    "tokens": torch.tensor(float(sum(g.tree.num_tokens for g in part))),
                }
            yield Loss(losses.sum() / num_pairs(groups), sums)


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "dpo/accuracy": log.sums["right"] / pairs,
        "dpo/margin": log.sums["margin"] / pairs,
        "dpo/chosen_reward": log.sums["chosen"] / pairs,
        "dpo/rejected_reward": log.sums["rejected"] / pairs,
        "train/tokens": log.sums["tokens"],
    }
