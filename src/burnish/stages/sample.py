"""Sampling completions of problems."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import Sampled, read_problems, write_completions
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.memory import Held
from burnish.engine.protocols import Request, Sampling
from burnish.engine.text_model import TextModel
from burnish.errors import DataError, Interrupted
from burnish.models.load import Precision
from burnish.models.support import Support
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref
from burnish.pipeline.forecast import Known, Text, Texts
from burnish.pipeline.stage import Context, Work
from burnish.types import Finish, Problem

USUAL_SHARE = 0.5
"""Of the limit that a completion takes, as a guess for estimates of cost."""
PROMPT_TOKENS = 50
"""Of a usual prompt, for the same guess."""
USUAL_PROBLEMS = 200
"""In a set, for the same guess."""
LONGEST = 3.0
"""Of many completions the longest, in lengths of a usual one, for the same guess."""
ENDLESS = 0.2
"""Of completions at temperature 1, those that find no end before the limit, for the same guess:
19 to 23 % of the quickstart's models' at 64 tokens."""
LEAST_TEMPERATURE = 1e-3
"""Below it float32 cannot tell log-probabilities: logits of 20 become 20,000 and more."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How completions are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    """Keep the fewest likeliest tokens of at least this probability together; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this many times as likely as the likeliest; 0 keeps all."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens must be at least 1")
        require(
            self.temperature == 0 or LEAST_TEMPERATURE <= self.temperature < math.inf,
            f"temperature must be 0 (the likeliest token) or at least {LEAST_TEMPERATURE}",
        )
        require(self.top_k >= 0, "top_k must be at least 0")
        require(0 < self.top_p <= 1, "top_p must be in (0, 1]")
        require(0 <= self.min_p < 1, "min_p must be in [0, 1)")

    @property
    def support(self) -> Support:
        """What may be drawn."""
        return Support(top_k=self.top_k, top_p=self.top_p, min_p=self.min_p)

    def sampling(self, stop_ids: frozenset[int]) -> Sampling:
        """For the sampler, with a model's stop tokens."""
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            stop_ids=stop_ids,
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Model + problems -> completions."""

    outputs: ClassVar[Mapping[str, str]] = {"completions": "completions"}

    model: ModelRef
    problems: ProblemsRef
    num_problems: int
    """The first so many problems."""
    num_samples: int
    """Completions a problem."""
    draws: Draws
    max_rows: int = 192
    """Completions in progress at one time."""
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "num_samples", "max_rows")

    def work(self) -> Work:
        return self.forecast({})[0]

    def forecast(self, known: Known) -> tuple[Work, Mapping[str, Texts]]:
        texts = self._texts(known)
        return sampling_work(texts, self.draws, self.max_rows), {"completions": texts}

    def held(self, known: Known) -> list[Held]:
        texts = self._texts(known)
        return [sampling_held(self.model, texts, self.draws, self.max_rows, self.precision)]

    def _texts(self, known: Known) -> Texts:
        texts = answers(known, self.model, self.problems, self.num_problems, self.draws)
        return replace(texts, per_row=self.num_samples)

    def scaled(self, factor: float) -> Self:
        return replace(self, num_problems=max(round(self.num_problems * factor), 8))

    def run(self, ctx: Context) -> None:
        text = TextModel.open(ctx.input(self.model), self.precision, ctx.device)
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        sampled, tokens = sample_problems(
            ctx, text, problems, self.draws, num=self.num_samples, max_rows=self.max_rows
        )
        write_completions(ctx.output("completions"), sampled)
        cut = sum(s.finish is Finish.LENGTH for s in sampled)
        ctx.count(f"completions cut at {self.draws.max_new_tokens} tokens", cut, len(sampled))
        ctx.spend(sampled_tokens=tokens)
        ctx.write_samples(
            {"prompt": s.problem.prompt.last_user, "completion": s.text, "score": None}
            for s in sampled[: 8 * self.num_samples]
        )


def answers(
    known: Known, model: Ref, problems: Ref, num_problems: int | None, draws: Draws
) -> Texts:
    """The problems, and how long the model's completions of them should be; guesses where nothing
    is known."""
    limit = draws.max_new_tokens
    usual = Text(
        words=frozenset(), prompt_tokens=PROMPT_TOKENS, completion_tokens=USUAL_SHARE * limit
    )
    asked = known.get(problems, Texts(num_rows=num_problems or USUAL_PROBLEMS, sample=(usual,)))
    asked = asked.first(num_problems)
    if model in known:
        found = known[model].answering(asked, limit)
        endless = ENDLESS * min(draws.temperature, 1.0)
        drawn = tuple(
            replace(t, completion_tokens=(1 - endless) * t.completion_tokens + endless * limit)
            for t in found.sample
        )
        return replace(found, sample=drawn)
    guessed = tuple(replace(t, completion_tokens=USUAL_SHARE * limit) for t in asked.sample)
    return replace(asked, sample=guessed)


def sampling_work(texts: Texts, draws: Draws, max_rows: int) -> Work:
    """Of sampling the completions, once, with a model that is opened for it."""
    rows = texts.num_rows * texts.per_row
    tokens = rows * texts.completion_tokens
    return Work(
        sampled_tokens=tokens,
        scored_tokens=texts.num_rows * texts.prompt_tokens,
        decode_steps=decode_steps(texts, rows, draws, max_rows),
        opened=1,
    )


def decode_steps(texts: Texts, rows: float, draws: Draws, max_rows: int) -> float:
    """Steps until the last of the rows ends: full ones, then those of the longest completion."""
    longest = min(draws.max_new_tokens, LONGEST * texts.completion_tokens)
    waiting = max(rows - max_rows, 0) * texts.completion_tokens / max_rows
    return waiting + longest


def sampling_held(
    model: Ref,
    texts: Texts,
    draws: Draws,
    max_rows: int,
    precision: Precision,
    *,
    after_another: bool = False,
) -> Held:
    """What is open while the completions are sampled."""
    return Held(
        models=(model,),
        sampled=model,
        rows=min(max_rows, texts.num_rows * texts.per_row),
        row_tokens=texts.longest + draws.max_new_tokens,
        micro_tokens=round(min(texts.num_rows, max_rows) * texts.prompt_tokens),
        after_another=after_another,
        full_precision=precision == "float32",
    )


def sampling_in_turn(
    models: Iterable[Ref],
    texts: Callable[[Ref], Texts],
    draws: Draws,
    max_rows: int,
    precision: Precision,
    *,
    after_another: bool = False,
) -> list[Held]:
    """The same for models that are opened one after the other; `after_another`: the first too."""
    return [
        sampling_held(
            model, texts(model), draws, max_rows, precision, after_another=after_another or n > 0
        )
        for n, model in enumerate(models)
    ]


def sample_problems(
    ctx: Context,
    text: TextModel,
    problems: Sequence[Problem],
    draws: Draws,
    *,
    num: int,
    max_rows: int,
) -> tuple[list[Sampled], int]:
    """`num` completions of each problem, in order, and the number of tokens sampled.

    Raises:
        DataError: there are no problems.
        Interrupted: the process was asked to stop; the stage begins anew when it is resumed.
    """
    progress = ctx.progress(len(problems) * num, "completion")

    def on_done(done: int, tokens: int) -> None:
        if ctx.stopping():
            raise Interrupted()
        progress.update(done, f"{tokens} tokens")

    return draw_samples(
        text, problems, draws, num=num, max_rows=max_rows, seed=ctx.seed, on_done=on_done
    )


def draw_samples(
    text: TextModel,
    problems: Sequence[Problem],
    draws: Draws,
    *,
    num: int,
    max_rows: int,
    seed: int,
    on_done: Callable[[int, int], None],
) -> tuple[list[Sampled], int]:
    """As `sample_problems`, outside of a run; `on_done(completions, tokens)` as they finish."""
    if not problems:
        raise DataError("there are no problems to sample: give a set that is not empty")
    sampler = LocalSampler(text.model, max_rows=max_rows)
    prompts = [text.prompt(p.prompt) for p in problems]
    requests = [
        Request(prompt=ids, key=rng.key(seed, "sample", problem.id), num=num)
        for ids, problem in zip(prompts, problems, strict=True)
    ]
    groups = sampler.sample(requests, draws.sampling(text.stop_ids), on_done=on_done)
    rows = [
        Sampled(
            problem=problem,
            index=i,
            text=text.decode(completion.tokens),
            prompt_ids=ids,
            tokens=completion.tokens,
            logprob=sum(completion.logprobs),
            finish=completion.finish,
        )
        for problem, ids, group in zip(problems, prompts, groups, strict=True)
        for i, completion in enumerate(group)
    ]
    return rows, sampler.sampled_tokens
