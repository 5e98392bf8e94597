"""Outcome reward models: the chance that a completion is right, learnt from verified ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.algos.outcome_reward import outcome_losses
from burnish.config import require
from burnish.data.store import Sampled, read_completions
from burnish.engine.readings import Outcome, last_only
from burnish.engine.reward_model import RewardConfig, save_config
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import CompletionsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.labelled import Answer, at_the_end, divided, fit_head, usual_work, write_quality
from burnish.stages.reward import fresh_head
from burnish.stages.tuning import Tuning
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class TrainOutcome(Tuning):
    """Model + completions that their problems' verifiers can judge -> reward model."""

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model", "quality": "scores"}

    completions: CompletionsRef
    every_token: bool = True
    """Label every token with the outcome (Cobbe et al.), which makes a value function of it; off:
    the last one only."""
    heldout: float = 0.2
    """Share of the prompts kept for measuring."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")

    def work(self) -> Work:
        return usual_work(self)

    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        items = read_completions(ctx.input(self.completions))
        answers = [a for item in items if (a := self._answer(text, item)) is not None]
        ctx.count("completions without a verdict", len(items) - len(answers), len(items))
        train, held = divided(ctx, text, self, answers, self.heldout)
        head = fresh_head(text.model, ctx.seed)
        tokens = fit_head(ctx, text, head, self, train, outcome_losses)
        out = ctx.output("reward_model")
        ends = at_the_end(held)
        write_quality(ctx, text, head, ends, ["right"], self.micro_tokens, probability=True)
        ctx.spend(trained_tokens=tokens, scored_tokens=sum(g.tree.num_tokens for g in held))
        text.save(out, head=head)
        save_config(out, RewardConfig(reading=Outcome()))

    def _answer(self, text: TextModel, item: Sampled) -> Answer | None:
        score = verify_problem(item.problem, item.text).score
        if score is None or not item.text.strip():
            return None
        stem, ids = text.answer(item.problem.prompt, item.text)
        flags = [True] * len(ids) if self.every_token else last_only(ids)
        labels = ((float(score),),) * sum(flags)
        return Answer(
            prompt=item.problem.prompt,
            text=item.text,
            stem=stem,
            ids=ids,
            flags=tuple(flags),
            labels=labels,
            weight=1 / len(labels),
        )
