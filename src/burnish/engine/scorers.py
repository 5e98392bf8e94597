"""What completions are worth: verifiers, reward models and users' functions behind one protocol."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from os import cpu_count
from typing import Protocol, assert_never, runtime_checkable

from burnish.engine.reward_model import RewardModel, model_verdict
from burnish.engine.user_scorer import UserScorer
from burnish.types import Problem, Verdict
from burnish.verifiers.combine import Leaf, ModelReward, ProblemVerifier, Reward, assemble, leaves
from burnish.verifiers.format import Format
from burnish.verifiers.judge_reward import JudgeReward
from burnish.verifiers.language import Language
from burnish.verifiers.length import CosineLength, Length
from burnish.verifiers.repetition import Repetition
from burnish.verifiers.user_function import UserFunction
from burnish.verifiers.verify import SLOW, Verifier, verify_problem

_THREADS = 8
"""At most so many slow verifiers at a time, each with a process of its own."""


class Scorer(Protocol):
    """Judges completions; rows are parallel."""

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        """One verdict for each completion."""


@runtime_checkable
class Early(Protocol):
    """A scorer that may begin on a completion while others are still being sampled."""

    def start(self, row: int, problem: Problem, text: str) -> None:
        """`row` is the completion's place in the next call of `score`."""


@runtime_checkable
class Counting(Protocol):
    """A scorer that counts what it could not do."""

    def counted(self) -> dict[str, float]:
        """Metrics since the last call, by name."""


class VerifierScorer:
    """Each problem's own verifier; slow ones in threads, in which they wait for processes."""

    def __init__(self, slow: frozenset[str] = SLOW) -> None:
        self._slow = slow
        self._threads: ThreadPoolExecutor | None = None
        self._started: dict[int, Future[Verdict]] = {}
        self._last: tuple[list[Problem], list[str], list[Verdict]] = ([], [], [])

    def start(self, row: int, problem: Problem, text: str) -> None:
        if problem.task in self._slow and row not in self._started:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(min(cpu_count() or 1, _THREADS))
            self._started[row] = self._threads.submit(verify_problem, problem, text)

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        # As the reward and as gold, the same completions are asked for twice.
        if self._last[:2] == (list(problems), list(texts)):
            self._started = {}
            return list(self._last[2])
        pairs = list(zip(problems, texts, strict=True))
        for row, (problem, text) in enumerate(pairs):
            self.start(row, problem, text)
        started, self._started = self._started, {}
        verdicts = [
            started[row].result() if row in started else verify_problem(problem, text)
            for row, (problem, text) in enumerate(pairs)
        ]
        self._last = (list(problems), list(texts), verdicts)
        return list(verdicts)


class TextScorer:
    """One verifier for all problems."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        return [self._verifier(p, t) for p, t in zip(problems, texts, strict=True)]


class RewardModelScorer:
    """A trained reward model's normalised score."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        scores = self._model.scores(prompt_ids, tokens)
        return [model_verdict(score) for score in scores]


class CombinedScorer:
    """A reward made of others: each part by its own scorer."""

    def __init__(self, reward: Reward, scorers: Mapping[str, Scorer]) -> None:
        self._reward, self._scorers = reward, scorers
        self._early = [s for s in scorers.values() if isinstance(s, Early)]

    def start(self, row: int, problem: Problem, text: str) -> None:
        for scorer in self._early:
            scorer.start(row, problem, text)

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        by_part = {
            name: scorer.score(problems, texts, prompt_ids, tokens)
            for name, scorer in self._scorers.items()
        }
        return [
            assemble(self._reward, {name: verdicts[row] for name, verdicts in by_part.items()})
            for row in range(len(texts))
        ]

    def counted(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for scorer in self._scorers.values():
            if isinstance(scorer, Counting):
                for name, number in scorer.counted().items():
                    total[name] = total.get(name, 0.0) + number
        return total


def open_scorer(
    reward: Reward,
    *,
    gold: Scorer,
    group_size: int,
    open_model: Callable[[ModelReward], RewardModel],
    open_judge: Callable[[JudgeReward], Scorer],
    stack: ExitStack,
) -> Scorer:
    """What judges by a reward. Processes that it needs are ended with `stack`."""

    def scorer(leaf: Leaf) -> Scorer:
        match leaf:
            case ProblemVerifier():
                return gold
            case UserFunction():
                return UserScorer(leaf, stack.enter_context(leaf.pool()), group_size=group_size)
            case ModelReward():
                return RewardModelScorer(open_model(leaf))
            case JudgeReward():
                return open_judge(leaf)
            case Format() | Length() | CosineLength() | Repetition() | Language():
                return TextScorer(leaf)
            case _:
                assert_never(leaf)

    found = {name: scorer(leaf) for name, leaf in leaves(reward)}
    return found[""] if "" in found else CombinedScorer(reward, found)
