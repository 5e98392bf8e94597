"""Direct alignment: a policy from comparisons, without a reward model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.algos.dpo import DPO
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes, fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.models.load import Precision
from burnish.models.lora import LoRA
from burnish.models.policy import Forest, Tree, micro_batches, score_trees
from burnish.pipeline.artifact import ModelRef, PreferencesRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.reward import TOKENS_PER_PAIR, encode_pairs


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

    def work(self) -> Work:
        pairs = (self.passes.max_steps or 100) * self.passes.batch_rows
        tokens = pairs * TOKENS_PER_PAIR
        return Work(trained_tokens=tokens, scored_tokens=tokens, seconds=4)

    def scaled(self, factor: float) -> Self:
        return replace(self, passes=self.passes.scaled(factor))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, lora=self.lora, seed=ctx.seed)
        pairs = encode_pairs(ctx, text, ctx.input(self.comparisons), self.max_tokens)
        num_steps = self.passes.num_steps(len(pairs))
        used = sorted(
            {i for s in range(num_steps) for i in self.passes.rows(s, len(pairs), ctx.seed)}
        )
        trees = {i: pairs[i][1] for i in used}
        # Before the first step the policy is the reference, so a resume recomputes it from disk.
        reference = dict(zip(used, self._reference(text, [trees[i] for i in used]), strict=True))
        trainer = Trainer(text.model, self.optim, num_steps=num_steps)
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(pairs),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, rows: self._losses(
                text.model, [trees[i] for i in rows], torch.stack([reference[i] for i in rows])
            ),
            metrics=_metrics,
        )
        ctx.spend(
            trained_tokens=totals["tokens"],
            scored_tokens=sum(t.num_tokens for t in trees.values()),
        )
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "chosen": p.chosen, "rejected": p.rejected}
            for p, _ in pairs[:12]
        )
        text.save(ctx.output("model"))

    @torch.no_grad()
    def _reference(self, text: TextModel, trees: Sequence[Tree]) -> list[Tensor]:
        out: list[Tensor] = [torch.zeros(2)] * len(trees)
        for index in micro_batches([t.num_tokens for t in trees], self.micro_tokens):
            sums = summed_logprobs(text.model, [trees[i] for i in index])
            for i, pair in zip(index, sums, strict=True):
                out[i] = pair
        return out

    def _losses(self, model: nn.Module, trees: Sequence[Tree], reference: Tensor) -> Iterator[Loss]:
        for index in micro_batches([t.num_tokens for t in trees], self.micro_tokens):
            part = [trees[i] for i in index]
            policy, ref = summed_logprobs(model, part), reference[torch.tensor(index)]
            losses = self.algorithm.losses(
                policy_chosen=policy[:, 0],
                policy_rejected=policy[:, 1],
                ref_chosen=ref[:, 0],
                ref_rejected=ref[:, 1],
            )
            with torch.no_grad():
                rewards = self.algorithm.beta * (policy - ref)
                margin = rewards[:, 0] - rewards[:, 1]
                sums = {
                    "chosen": rewards[:, 0].sum(),
                    "rejected": rewards[:, 1].sum(),
                    "margin": margin.sum(),
                    "right": ((margin.sign() + 1) / 2).sum(),
                    "pairs": torch.tensor(float(len(part))),
                    "tokens": torch.tensor(float(sum(t.num_tokens for t in part))),
                }
            yield Loss(losses.sum() / len(trees), sums)


def summed_logprobs(model: nn.Module, trees: Sequence[Tree]) -> Tensor:
    """Summed log-probability of each branch, `[trees, branches]` (as many branches in each)."""
    logprobs, _, _ = score_trees(model, Forest.of(trees, next(model.parameters()).device))
    lengths = torch.tensor([len(b) for t in trees for b in t.branches], device=logprobs.device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=logprobs.device), lengths)
    sums = torch.zeros(len(lengths), device=logprobs.device).index_add(0, owner, logprobs)
    return sums.view(len(trees), -1).cpu()


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "dpo/accuracy": log.sums["right"] / pairs,
        "dpo/margin": log.sums["margin"] / pairs,
        "dpo/chosen_reward": log.sums["chosen"] / pairs,
        "dpo/rejected_reward": log.sums["rejected"] / pairs,
        "train/tokens": log.sums["tokens"],
    }
