"""Process reward models: is each step of a worked answer right?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.algos.process_reward import Aggregate, process_losses
from burnish.config import require
from burnish.data.store import read_steps
from burnish.engine.readings import Steps
from burnish.engine.reward_model import RewardConfig, save_config
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import StepsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.labelled import Answer, divided, fit_head, usual_work, write_quality
from burnish.stages.reward import fresh_head
from burnish.stages.tuning import Tuning
from burnish.types import WorkedAnswer


@dataclass(frozen=True, kw_only=True)
class TrainProcess(Tuning):
    """Model + answers in labelled steps -> reward model."""

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model", "quality": "scores"}

    steps: StepsRef
    separator: str = "\n"
    """What stands between steps, in training and in what is scored."""
    aggregate: Aggregate = "min"
    """How a completion's score follows from its steps: min, product or last."""
    heldout: float = 0.2
    """Share of the prompts kept for measuring."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        require(0 < self.heldout < 1, "heldout must be in (0, 1)")
        require(bool(self.separator), "separator must not be empty")

    def work(self) -> Work:
        return usual_work(self)

    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        items = read_steps(ctx.input(self.steps))
        reading = Steps(separator=self.separator, aggregate=self.aggregate)
        answers = [a for item in items if (a := _answer(text, item, reading)) is not None]
        lost = len(items) - len(answers)
        ctx.count("answers whose steps are not found again in their text", lost, len(items))
        train, held = divided(ctx, text, self, answers, self.heldout)
        head = fresh_head(text.model, ctx.seed)
        tokens = fit_head(ctx, text, head, self, train, process_losses)
        out = ctx.output("reward_model")
        write_quality(ctx, text, head, held, ["step"], self.micro_tokens, probability=True)
        ctx.spend(trained_tokens=tokens, scored_tokens=sum(g.tree.num_tokens for g in held))
        text.save(out, head=head)
        save_config(out, RewardConfig(reading=reading))


def _answer(text: TextModel, item: WorkedAnswer, reading: Steps) -> Answer | None:
    """None where the steps, written out, are not found again."""
    if any(reading.separator in step for step in item.steps):
        return None
    whole = reading.separator.join(item.steps)
    stem, ids = text.answer(item.prompt, whole)
    flags = reading.flags(ids, text.tokenizer)
    if sum(flags) != len(item.steps):
        return None
    labels = tuple((float("nan") if label is None else label,) for label in item.labels)
    return Answer(
        prompt=item.prompt, text=whole, stem=stem, ids=ids, flags=tuple(flags), labels=labels
    )
