"""Supervised fine-tuning on conversations, on a model's completions, or on plain texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import ClassVar

from burnish.algos.sft import SFTLoss
from burnish.config import require
from burnish.data.mixture import weighted
from burnish.engine.likelihood import likelihood_losses
from burnish.engine.memory import Held
from burnish.engine.supervised import fit
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog, Trainer
from burnish.models.policy import Tree
from burnish.pipeline.artifact import DocumentsRef
from burnish.pipeline.forecast import Known, Text, Texts, joined
from burnish.pipeline.stage import Context, Work
from burnish.stages.demonstrations import read_documents
from burnish.stages.recording import recording_models
from burnish.stages.tuning import Tuning
from burnish.text.chat import Encoded, TrainOn, render_mask

TOKENS_PER_ROW = 75
"""A guess for the estimate of a stage's cost, prompt included."""
USUAL_STEPS = 100
"""The same of its steps."""


@dataclass(frozen=True, kw_only=True)
class SFT(Tuning):
    """Model + conversations -> model, by the likelihood of the assistant's turns.

    Of plain texts every token is trained, as in pretraining.
    """

    outputs: ClassVar[Mapping[str, str]] = {"model": "model"}

    data: tuple[DocumentsRef, ...]
    """Conversations; a model's completions, cut ones left out (those of a teacher: distillation by
    its samples); or plain texts, long ones in pieces of at most max_tokens. Mixed together, each
    row equally likely unless there are weights."""
    loss: SFTLoss = SFTLoss()
    train_on: TrainOn = "assistant"
    weights: tuple[float, ...] | None = None
    """How much of each step comes from each of `data`, whatever their sizes: [3, 1] is 3 to 1."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        if self.weights is not None:
            require(
                len(self.weights) == len(self.data),
                f"weights: {len(self.weights)} given for {len(self.data)} of data",
            )
            require(all(w > 0 for w in self.weights), "weights must be above 0")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        texts = self._texts(known)
        steps = self.passes.num_steps(round(texts.num_rows))
        work = self.training_work(texts, steps)
        return work.within(self.passes.max_forwards), {"model": texts}

    def held(self, known: Known) -> list[Held]:
        return self.tuning_held(self._texts(known))

    def _texts(self, known: Known) -> Texts:
        parts = [known[ref] for ref in self.data if ref in known]
        if len(parts) == len(self.data):
            return joined(parts)
        half = TOKENS_PER_ROW // 2
        usual = Text(words=frozenset(), prompt_tokens=half, completion_tokens=TOKENS_PER_ROW - half)
        return Texts(num_rows=self.passes.usual_rows(USUAL_STEPS), sample=(usual,))

    @recording_models
    def run(self, ctx: Context) -> None:
        text = TextModel.open(
            ctx.input(self.model), self.precision, ctx.device, lora=self.lora, seed=ctx.seed
        )
        sources = read_documents(
            ctx, text, self.data, train_on=self.train_on, max_tokens=self.max_tokens
        )
        rows = [row for source in sources for row in source]
        num_steps = self.passes.num_steps(len(rows))
        trainer = Trainer(text.model, self.optim, num_steps=num_steps)
        trees = [Tree.document(row.ids, row.mask) for row in rows]
        order = partial(self._step_rows, [len(source) for source in sources], ctx.seed)
        ctx.write_samples(_first_batch(text, [rows[i] for i in order(0)]))
        totals = fit(
            ctx,
            trainer,
            self.passes,
            num_rows=len(rows),
            checkpoint_s=self.checkpoint_s,
            losses=lambda step, index: likelihood_losses(
                text.model, [trees[i] for i in index], self.loss, self.micro_tokens
            ),
            metrics=_metrics,
            order=order,
        )
        ctx.spend(trained_tokens=totals["tokens"])
        text.save(ctx.output("model"))

    def _step_rows(self, sizes: Sequence[int], seed: int, step: int) -> list[int]:
        """Rows of a step, counted through all sources end to end."""
        if self.weights is None:
            return self.passes.rows(step, sum(sizes), seed)
        starts = [0, *accumulate(sizes)]
        count = self.passes.batch_rows
        draws = weighted(sizes, self.weights, seed=seed, first=step * count, count=count)
        return [starts[draw.source] + draw.row for draw in draws]


def _metrics(log: StepLog) -> dict[str, float]:
    return {
        "sft/nll": log.sums["nll"] / log.sums["trained"],
        "train/tokens": log.sums["tokens"],
        "train/trained_tokens": log.sums["trained"],
    }


def _first_batch(text: TextModel, rows: list[Encoded]) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {"kind": "first_batch", "text": render_mask(row.ids, row.mask, text.tokenizer)}
