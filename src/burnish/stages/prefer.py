"""Direct alignment: a policy from comparisons, without a reward model."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from burnish.algos.apo_down import APODown
from burnish.algos.apo_zero import APOZero
from burnish.algos.batch import Loss
from burnish.algos.dpo import DPO
from burnish.algos.dpo_norm import DPONorm
from burnish.algos.hinge import Hinge
from burnish.algos.ipo import IPO
from burnish.algos.kto import KTO
from burnish.algos.nca_pair import NCAPair
from burnish.algos.orpo import ORPO
from burnish.algos.pairs import PairLogprobs, PreferenceAlgorithm
from burnish.algos.robust import Robust
from burnish.algos.rpo import RPO
from burnish.algos.simpo import SIMPO
from burnish.algos.sppo_hard import SPPOHard
from burnish.config import require
from burnish.engine.memory import Held
from burnish.engine.supervised import fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.errors import DataError
from burnish.models.policy import Tree, micro_batches, summed_logprobs
from burnish.pipeline.artifact import PreferencesRef, hash_path
from burnish.pipeline.forecast import Known, Texts
from burnish.pipeline.stage import Context, Work
from burnish.stages.preferences import (
    Preferences,
    crossed,
    num_pairs,
    preference_texts,
    read_groups,
    sides,
)
from burnish.stages.recording import recording_models
from burnish.stages.tuning import Tuning

Key = tuple[int, int]
"""The group a prompt is from, and the group its answers are from."""
Sums = Mapping[Key, Tensor]


@dataclass(frozen=True, kw_only=True)
class Prefer(Tuning):
    """Model + comparisons -> model. The model it starts from is the reference."""

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    comparisons: PreferencesRef
    """Or preference pairs."""
    algorithm: (
        DPO
        | DPONorm
        | IPO
        | Hinge
        | Robust
        | APOZero
        | APODown
        | SPPOHard
        | NCAPair
        | SIMPO
        | ORPO
        | KTO
        | RPO
    ) = DPO()
    nll_coef: float = 0.0
    """Weight of the chosen answers' negative log-likelihood per token (Llama 3.1, 2407.21783: 0.2);
    raising it keeps their likelihood from falling."""
    mask_format_tokens: bool = False
    """Leave the end-of-turn token out of the pair's loss, as Llama 3.1 does: both answers end with
    it, and pushing it down in one makes the model ramble."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        require(self.nll_coef >= 0, "nll_coef must be at least 0")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        texts = preference_texts(known, self.comparisons, self.passes)
        steps = self.passes.num_steps(max(round(texts.num_rows), 1))
        work = self.training_work(texts, steps)
        rows = min(texts.num_rows, steps * self.passes.batch_rows)
        scored = rows * texts.tree_tokens if self.algorithm.needs_reference else 0
        writes = {"model": known[self.model]} if self.model in known else {}
        work = replace(work, scored_tokens=scored)
        return work.within(self.passes.max_forwards), writes

    def held(self, known: Known) -> list[Held]:
        return self.tuning_held(preference_texts(known, self.comparisons, self.passes))

    @recording_models
    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        groups = read_groups(
            ctx,
            text,
            ctx.input(self.comparisons),
            self.max_tokens,
            mask_format_tokens=self.mask_format_tokens,
        )
        self._check_margins(groups)
        steps = [
            self.passes.rows(step, len(groups), ctx.seed)
            for step in range(self.passes.num_steps(len(groups)))
        ]
        trees = {(i, i): groups[i].tree for rows in steps for i in rows}
        portions = [[(i, i) for i in rows] for rows in steps]
        if isinstance(self.algorithm, KTO):
            trees |= {(i, j): crossed(groups[i], groups[j]) for r in steps for i, j in _next(r)}
            portions += [list(_next(rows)) for rows in steps]
        # Before the first step the policy is the reference, so a resume recomputes it from disk.
        needed = self.algorithm.needs_reference
        reference = self._reference(ctx, text, trees, portions) if needed else {}
        scored_tokens = sum(trees[key].num_tokens for key in reference)
        trainer = Trainer(text.model, self.optim, num_steps=len(steps))
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(groups),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, rows: self._losses(text.model, groups, rows, reference),
            metrics=_metrics,
            scored_tokens=scored_tokens,
        )
        ctx.spend(trained_tokens=totals["tokens"], scored_tokens=scored_tokens)
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "chosen": p.chosen, "rejected": p.rejected}
            for p in (group.pairs[0] for group in groups[:12])
        )
        text.save(ctx.output("model"))

    def _check_margins(self, groups: Sequence[Preferences]) -> None:
        """Raises: DataError, where the loss reads margins and a pair has none."""
        missing = sum(pair.margin is None for group in groups for pair in group.pairs)
        if isinstance(self.algorithm, RPO) and missing:
            raise DataError(
                f"rpo: {missing} of {num_pairs(groups)} pairs have no `margin`, the difference of "
                "their rewards; annotate with a model_annotator, or give it in the data"
            )

    def _reference(
        self,
        ctx: Context,
        text: TextModel,
        trees: Mapping[Key, Tree],
        portions: Sequence[Sequence[Key]],
    ) -> Sums:
        """Summed log-probabilities of each tree's answers under the start, kept for a resume.

        What was kept is used only for the same weights, tokenizer and token ids.
        """
        digest = hashlib.sha256(hash_path(text.path).encode())
        digest.update(repr(sorted((key, trees[key]) for key in trees)).encode())
        file = ctx.checkpoints / f"reference-{digest.hexdigest()[:24]}.safetensors"
        if file.is_file():
            found = load_file(file)
        else:
            found = self._scored(text.model, trees, portions)
            temporary = file.with_suffix(".tmp")
            save_file(found, temporary)
            os.replace(temporary, file)
        return {key: found[_name(key)] for key in trees}

    @torch.no_grad()
    def _scored(
        self, model: nn.Module, trees: Mapping[Key, Tree], portions: Sequence[Sequence[Key]]
    ) -> dict[str, Tensor]:
        """Sums of each tree, in the slices in which the training steps see it first.

        What else is in a slice decides how bfloat16 rounds (see `models.attention.Ragged`). In the
        same slices policy and reference agree to the bit at the first step, and every margin is 0;
        in others SmolLM2's were off by .45 nats on average and by up to 1.3, before beta.
        """
        out: dict[str, Tensor] = {}
        for keys in portions:
            for index in micro_batches([trees[k].num_tokens for k in keys], self.micro_tokens):
                names = [_name(keys[i]) for i in index]
                if all(name in out for name in names):
                    continue
                part = [trees[keys[i]] for i in index]
                sums = torch.split(summed_logprobs(model, part), [len(t.branches) for t in part])
                for name, row in zip(names, sums, strict=True):
                    out.setdefault(name, row.clone())
        return out

    def _losses(
        self, model: nn.Module, all_groups: Sequence[Preferences], rows: list[int], ref: Sums
    ) -> Iterator[Loss]:
        groups = [all_groups[i] for i in rows]
        point = self._reference_point(model, all_groups, rows, ref)
        for index in micro_batches([g.tree.num_tokens for g in groups], self.micro_tokens):
            part = [groups[i] for i in index]
            policy = summed_logprobs(model, [g.tree for g in part])
            start = torch.zeros_like(policy)
            if ref:
                start = torch.cat([ref[rows[i], rows[i]] for i in index])
            chosen, rejected = sides(part)
            lengths = torch.tensor([sum(b) for g in part for b in g.tree.trained])
            pairs = PairLogprobs(
                policy_chosen=policy[chosen],
                policy_rejected=policy[rejected],
                len_chosen=lengths[chosen],
                len_rejected=lengths[rejected],
                ref_chosen=start[chosen],
                ref_rejected=start[rejected],
                kl=point,
                margin=policy.new_tensor([p.margin or 0.0 for g in part for p in g.pairs]),
            )
            losses = self.algorithm.losses(pairs) - self.nll_coef * pairs.chosen_mean
            sums = {
                **_rewards(pairs, self.algorithm),
                "tokens": torch.tensor(float(sum(g.tree.num_tokens for g in part))),
            }
            yield Loss(losses.sum() / num_pairs(groups), sums)

    @torch.no_grad()
    def _reference_point(
        self, model: nn.Module, groups: Sequence[Preferences], rows: list[int], ref: Sums
    ) -> Tensor | None:
        """KTO's z, from answers to other prompts of the step; None where there is no other."""
        keys = list(_next(rows))
        if not isinstance(self.algorithm, KTO) or not keys:
            return None
        trees = {(i, j): crossed(groups[i], groups[j]) for i, j in keys}
        now = self._scored(model, trees, [keys])
        return torch.stack([(now[_name(k)] - ref[k]).mean() for k in keys]).mean()


def _next(rows: Sequence[int]) -> Iterator[Key]:
    """Each row of a step with the one after it, where that is another."""
    return (pair for pair in zip(rows, [*rows[1:], rows[0]], strict=True) if pair[0] != pair[1])


def _name(key: Key) -> str:
    return f"{key[0]}.{key[1]}"


@torch.no_grad()
def _rewards(pairs: PairLogprobs, algorithm: PreferenceAlgorithm) -> dict[str, Tensor]:
    """Implicit rewards for the log: of log ratios, or without a reference of means per token."""
    if algorithm.needs_reference:
        chosen, rejected = pairs.chosen_ratio, pairs.rejected_ratio
    else:
        chosen, rejected = pairs.chosen_mean, pairs.rejected_mean
    chosen, rejected = algorithm.beta * chosen, algorithm.beta * rejected
    margin = chosen - rejected
    return {
        "chosen": chosen.sum(),
        "rejected": rejected.sum(),
        "margin": margin.sum(),
        "right": ((margin.sign() + 1) / 2).sum(),
        "nll": -pairs.chosen_mean.sum(),
        "pairs": torch.tensor(float(len(margin))),
    }


def _metrics(log: StepLog) -> dict[str, float]:
    pairs = log.sums["pairs"]
    return {
        "dpo/accuracy": log.sums["right"] / pairs,
        "dpo/margin": log.sums["margin"] / pairs,
        "dpo/chosen_reward": log.sums["chosen"] / pairs,
        "dpo/rejected_reward": log.sums["rejected"] / pairs,
        "dpo/chosen_nll": log.sums["nll"] / pairs,
        "train/tokens": log.sums["tokens"],
    }
