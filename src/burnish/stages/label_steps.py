"""Labels of steps without people: how often does the model still get there from here?
(Math-Shepherd, Wang et al. 2023, 2312.08935)

For each step of a completion, the completer goes on from the end of that step several times; the
verifier judges where that leads.

    soft: y_k = share of the continuations after step k that are right
    hard: y_k = 1 if any of them is right

The last step's label is the completion's own verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_completions, write_steps
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request
from burnish.engine.text_model import TextModel
from burnish.errors import DataError, Interrupted
from burnish.models.load import Precision
from burnish.pipeline.artifact import CompletionsRef, ModelRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import USUAL_SHARE, Draws
from burnish.text.steps import step_ends
from burnish.types import Finish, WorkedAnswer, mean
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True)
class LabelSteps:
    """Model + completions -> steps, each labelled by where continuations from it lead."""

    outputs: ClassVar[Mapping[str, str]] = {"steps": "steps"}

    model: ModelRef
    """The completer."""
    completions: CompletionsRef
    num_continuations: int
    """From the end of each step but the last."""
    draws: Draws
    """`max_new_tokens` is for the whole answer, the steps before included."""
    estimate: Literal["soft", "hard"] = "soft"
    separator: str = "\n"
    """What stands between steps."""
    max_rows: int = 192
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_continuations", "max_rows")
        require(self.draws.temperature > 0, "draws.temperature must be above 0 to explore")
        require(bool(self.separator), "separator must not be empty")

    def work(self) -> Work:
        rows = 100 * self.num_continuations  # how many steps there are is not known yet
        return Work(sampled_tokens=USUAL_SHARE * rows * self.draws.max_new_tokens, seconds=3)

    def scaled(self, factor: float) -> "LabelSteps":
        """Labels are not cut: they would only get noisier."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, ctx.device)
        items = read_completions(ctx.input(self.completions))
        used = [item for item in items if self._usable(text, item)]
        ctx.count("completions that were cut or have no verdict", len(items) - len(used))
        if not used:
            raise DataError(f"none of {len(items)} completions ends by itself and has a verdict")
        ends = [step_ends(item.tokens, text.tokenizer, self.separator) for item in used]
        scores, tokens = self._continued(ctx, text, used, ends)
        answers, upsets = [], 0
        for item, places, row in zip(used, ends, scores, strict=True):
            own = _right(item, item.text)
            labels = [*map(self._label, row), own]
            upsets += any(label == 0 for label in labels[:-1]) and own == 1
            pieces = self._pieces(text, item.tokens, places)
            answers.append(
                WorkedAnswer(prompt=item.problem.prompt, steps=tuple(pieces), labels=tuple(labels))
            )
        write_steps(ctx.output("steps"), answers)
        ctx.tally("steps labelled", sum(len(a.steps) for a in answers))
        ctx.tally("mean label", mean([y for a in answers for y in a.labels if y is not None]))
        ctx.count("right answers with a step that never led there again", upsets, len(answers))
        ctx.spend(sampled_tokens=tokens)
        ctx.write_samples(
            {"prompt": a.prompt.last_user, "steps": a.steps, "labels": a.labels}
            for a in answers[:12]
        )

    def _usable(self, text: TextModel, item: Sampled) -> bool:
        """Whether its ending is known, and its steps can be told from its text."""
        if item.finish is not Finish.STOP or not item.text.strip():
            return False
        return verify_problem(item.problem, item.text).score is not None

    def _continued(
        self,
        ctx: Context,
        text: TextModel,
        items: Sequence[Sampled],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[list[list[float]]], int]:
        """Scores of the continuations from the end of each item's steps but the last."""
        places = [(i, end) for i, row in enumerate(ends) for end in row[:-1]]
        requests = [
            Request(
                prompt=(*items[i].prompt_ids, *items[i].tokens[: end + 1]),
                key=rng.key(ctx.seed, "step", items[i].problem.id, items[i].index, end),
                num=self.num_continuations,
                max_new_tokens=max(self.draws.max_new_tokens - end - 1, 1),
            )
            for i, end in places
        ]
        progress = ctx.progress(len(requests) * self.num_continuations, "continuation")

        def on_done(done: int, tokens: int) -> None:
            if ctx.stopping():
                raise Interrupted()
            progress.update(done, f"{tokens} tokens")

        sampler = LocalSampler(text.model, max_rows=self.max_rows)
        sampling = self.draws.sampling(text.stop_ids)
        groups = sampler.sample(requests, sampling, on_done=on_done) if requests else []
        scores: list[list[list[float]]] = [[] for _ in items]
        for (i, end), group in zip(places, groups, strict=True):
            begun = items[i].tokens[: end + 1]
            texts = [text.decode((*begun, *c.tokens)) for c in group]
            scores[i].append([_right(items[i], whole) for whole in texts])
        return scores, sampler.sampled_tokens

    def _label(self, scores: Sequence[float]) -> float:
        return mean(scores) if self.estimate == "soft" else float(max(scores) > 0)

    def _pieces(self, text: TextModel, tokens: Sequence[int], ends: Sequence[int]) -> list[str]:
        starts = [0, *(end + 1 for end in ends[:-1])]
        pieces = [text.decode(tokens[a : b + 1]) for a, b in zip(starts, ends, strict=True)]
        return [piece.strip(self.separator) for piece in pieces]


def _right(item: Sampled, text: str) -> float:
    """The verdict as 0 to 1; what cannot be scored is not right."""
    score = verify_problem(item.problem, text).score
    return 0.0 if score is None else min(max(float(score), 0.0), 1.0)
