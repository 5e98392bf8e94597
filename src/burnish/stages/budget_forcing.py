"""Sequential scaling at inference: thinking that is cut short, or made longer.

Budget forcing (Muennighoff et al. 2025, s1, 2501.19393). A completion is thinking,
then a mark (here `Answer:`), then the answer. At a budget of b tokens thinking is cut there and the
mark written for the model, which answers. Where thinking would end, the mark is left out and "Wait"
put in its stead, so that the model thinks on. All points of a problem share one chain: what is cut
is a prefix of what is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import read_problems
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request
from burnish.engine.text_model import TextModel
from burnish.errors import DataError, Interrupted
from burnish.models.load import Precision
from burnish.models.policy import context_length
from burnish.pipeline.artifact import ModelRef, ProblemsRef
from burnish.pipeline.stage import Context, Work
from burnish.stages.sample import PROMPT_TOKENS, USUAL_SHARE, Draws
from burnish.stages.study import write_curves
from burnish.text.control import codec_for
from burnish.types import Problem
from burnish.verifiers.exact import extract_answer
from burnish.verifiers.verify import verify_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """One problem's thinking so far; `tokens` end before the mark."""

    problem: Problem
    sample: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    ended: bool
    """Whether the model itself ended it, rather than a limit."""


@dataclass(frozen=True, kw_only=True)
class BudgetForcing:
    """Models that think before they answer + problems -> accuracy at each length of thinking."""

    outputs: ClassVar[Mapping[str, str]] = {"curves": "curves"}

    models: dict[str, ModelRef]
    problems: ProblemsRef
    draws: Draws
    """Of thinking; each stretch of it, to its own end or from one "Wait" on, may have so many
    tokens."""
    budgets: tuple[int, ...]
    """Tokens after which thinking is cut and the answer forced; 0 answers at once."""
    waits: int = 2
    """How often the end of thinking is taken back."""
    mark: str = "Answer:"
    """What stands between thinking and answer."""
    wait: str = "Wait,"
    """What is written in place of the mark."""
    answer_tokens: int = 8
    """The most tokens of an answer."""
    num_problems: int = 100
    num_samples: int = 1
    """Chains a problem."""
    max_rows: int = 192
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        require_counts(self, "num_problems", "num_samples", "answer_tokens", "max_rows")
        require(bool(self.models), "models must name at least one model")
        require(self.waits >= 0, "waits must be at least 0")
        rising = all(a < b for a, b in pairwise(self.budgets))
        require(rising and all(b >= 0 for b in self.budgets), "budgets must rise, from at least 0")
        require(bool(self.mark.strip()), "mark must not be empty")
        require(bool(self.wait.strip()), "wait must not be empty")
        differ = self.num_samples == 1 or self.draws.temperature > 0
        require(differ, "num_samples must be 1 at temperature 0: all chains would be the same")

    def work(self) -> Work:
        rows = len(self.models) * self.num_problems * self.num_samples
        points = len(self.budgets) + self.waits + 1
        thought = USUAL_SHARE * self.draws.max_new_tokens
        return Work(
            sampled_tokens=rows * (thought * (1 + self.waits) + points * self.answer_tokens),
            scored_tokens=rows * (points + self.waits + 1) * (PROMPT_TOKENS + thought),
            seconds=6,
        )

    def scaled(self, factor: float) -> Self:
        """Held-out measurements are not cut."""
        del factor
        return self

    def run(self, ctx: Context) -> None:
        problems = read_problems(ctx.input(self.problems))[: self.num_problems]
        if not problems:
            raise DataError("there are no problems to think about: give a set that is not empty")
        rows: list[dict[str, Any]] = []
        sampled = unfinished = 0
        for name, ref in self.models.items():
            text = TextModel.open(ctx.input(ref), self.precision, ctx.device)
            forcing = _Forcing(self, text, ctx)
            found, cut = forcing.measure(problems)
            rows += [{"model": name, **row} for row in found]
            sampled += forcing.sampler.sampled_tokens
            unfinished += cut
        total = len(self.models) * len(problems) * self.num_samples
        said = f"chains of thinking cut at {self.draws.max_new_tokens} tokens"
        ctx.count(said, unfinished, total)
        write_curves(ctx.output("curves"), rows)
        ctx.spend(sampled_tokens=sampled)
        ctx.write_samples(rows[:: max(len(rows) // 24, 1)])


class _Forcing:
    """One model's chains, drawn, cut, taken further and answered."""

    def __init__(self, config: BudgetForcing, text: TextModel, ctx: Context) -> None:
        self._config, self._text, self._ctx = config, text, ctx
        self.sampler = LocalSampler(text.model, max_rows=config.max_rows)
        self._context = context_length(text.model)

    def measure(self, problems: Sequence[Problem]) -> tuple[list[dict[str, Any]], int]:
        """Rows of every point, and how many chains a limit ended."""
        begun = [
            Chain(problem=p, sample=i, prompt=prompt, tokens=(), ended=True)
            for p, prompt in ((p, self._text.prompt(p.prompt)) for p in problems)
            for i in range(self._config.num_samples)
        ]
        chains = self._think(begun, 0)
        rows = []
        for budget in self._config.budgets:
            short = [replace(chain, tokens=chain.tokens[:budget]) for chain in chains]
            rows += self._answer(short, "cut", budget)
        rows += self._answer(chains, "own", 0)
        longer = chains
        for number in range(1, self._config.waits + 1):
            longer = self._think([self._taken_back(chain) for chain in longer], number)
            rows += self._answer(longer, "wait", number)
        return rows, sum(not chain.ended for chain in chains)

    def _think(self, chains: Sequence[Chain], number: int) -> list[Chain]:
        """Each chain continued to its next mark, to the model's own end, or to the limit."""
        drawn = self._draw(chains, f"think {number}", self._config.draws.max_new_tokens)
        return [self._until_mark(c, new) for c, new in zip(chains, drawn, strict=True)]

    def _until_mark(self, chain: Chain, new: tuple[int, ...]) -> Chain:
        stopped = bool(new) and new[-1] in self._text.stop_ids
        kept = new[:-1] if stopped else new
        text = self._text.decode(kept)
        place = text.find(self._config.mark)
        if place >= 0:
            # The longest run of whole tokens that ends before the mark.
            size = next(
                n for n in range(len(kept), -1, -1) if len(self._text.decode(kept[:n])) <= place
            )
            kept = kept[:size]
        ended = chain.ended and (stopped or place >= 0)
        return replace(chain, tokens=(*chain.tokens, *kept), ended=ended)

    def _taken_back(self, chain: Chain) -> Chain:
        return replace(chain, tokens=(*chain.tokens, *self._forced(chain, self._config.wait)))

    def _answer(self, chains: Sequence[Chain], way: str, at: int) -> list[dict[str, Any]]:
        """Every chain with the mark written behind it, and the answer that the model then gives."""
        marks = [self._forced(chain, self._config.mark) for chain in chains]
        asked = [
            replace(chain, tokens=(*chain.tokens, *mark))
            for chain, mark in zip(chains, marks, strict=True)
        ]
        answers = self._draw(asked, f"answer {way} {at}", self._config.answer_tokens)
        rows = []
        for chain, whole, answer in zip(chains, asked, answers, strict=True):
            text = self._text.decode((*whole.tokens, *answer))
            rows.append(
                {
                    "problem": chain.problem.id,
                    "sample": chain.sample,
                    "way": way,
                    "at": at,
                    "thinking": len(chain.tokens),
                    "tokens": len(whole.tokens) + len(answer),
                    "right": int(bool(verify_problem(chain.problem, text).passed)),
                    "answer": extract_answer(text),
                    "prompt": chain.problem.prompt.last_user,
                    "completion": text,
                }
            )
        return rows

    def _forced(self, chain: Chain, words: str) -> tuple[int, ...]:
        """Ids of words that are written for the model, on a line of their own."""
        before = self._text.decode(chain.tokens)
        broken = "" if not before or before.endswith("\n") else "\n"
        written = broken + words
        return codec_for(self._text.tokenizer, [written]).encode_plain(written)

    def _draw(self, chains: Sequence[Chain], what: str, limit: int) -> list[tuple[int, ...]]:
        """New tokens of each chain."""
        draws, seed = self._config.draws, self._ctx.seed
        requests = []
        for chain in chains:
            prompt = (*chain.prompt, *chain.tokens)
            room = self._context - len(prompt)
            if room < 1:
                raise DataError(
                    f"problem {chain.problem.id}: prompt and thinking fill the model's context of "
                    f"{self._context} tokens; lower waits or draws.max_new_tokens"
                )
            key = rng.key(seed, what, chain.problem.id, chain.sample)
            requests.append(Request(prompt=prompt, key=key, max_new_tokens=min(limit, room)))
        progress = self._ctx.progress(len(requests), "completion")

        def on_done(done: int, tokens: int) -> None:
            if self._ctx.stopping():
                raise Interrupted
            progress.update(done, f"{what}, {tokens} tokens")

        sampling = draws.sampling(self._text.stop_ids)
        groups = self.sampler.sample(requests, sampling, on_done=on_done)
        return [group[0].tokens for group in groups]
