"""Scores by a user's reward function: what fails is counted, and too much of it ends the run."""

from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future

from burnish.errors import RewardError
from burnish.types import Problem, Verdict
from burnish.verifiers.user_function import UserFunction, sample_of
from burnish.verifiers.user_worker import Cause
from burnish.verifiers.worker_pool import Answer, Sample, WorkerPool

LEAST = 20
"""Completions of which a share is taken at least: one failure among the first few is no share."""


class UserScorer:
    """Asks a pool of workers, a completion at a time, or for batched functions a group."""

    def __init__(self, config: UserFunction, pool: WorkerPool, *, group_size: int) -> None:
        self._config, self._pool = config, pool
        self._size = group_size if config.batched else 1
        self._waiting: dict[int, dict[int, Sample]] = {}
        self._started: dict[int, Future[list[Answer]]] = {}
        self._counts: Counter[Cause] = Counter()
        self._recent: deque[Cause | None] = deque(maxlen=config.window)

    def start(self, row: int, problem: Problem, text: str) -> None:
        """Ask about it, once its batch is complete."""
        batch = row // self._size
        waiting = self._waiting.setdefault(batch, {})
        waiting[row] = sample_of(problem, text)
        if len(waiting) == self._size:
            self._ask(batch)

    def score(
        self,
        problems: Sequence[Problem],
        texts: Sequence[str],
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: Sequence[tuple[int, ...]],
    ) -> list[Verdict]:
        """Raises: RewardError, where too many of the last completions failed."""
        for row, (problem, text) in enumerate(zip(problems, texts, strict=True)):
            batch = row // self._size
            if batch not in self._started and row not in self._waiting.get(batch, {}):
                self.start(row, problem, text)
        for batch in sorted(self._waiting):
            self._ask(batch)
        started, self._started = self._started, {}
        answers = [answer for batch in sorted(started) for answer in started[batch].result()]
        assert len(answers) == len(texts)
        self._judge(answers, texts)
        return [self._verdict(answer) for answer in answers]

    def counted(self) -> dict[str, float]:
        """Failures and abstentions since the last call."""
        counts, self._counts = self._counts, Counter()
        failed = sum(n for cause, n in counts.items() if cause is not Cause.ABSTAINED)
        by_cause = {f"rl/failed/{cause}": float(n) for cause, n in sorted(counts.items())}
        return {"rl/failed": float(failed)} | by_cause

    def _ask(self, batch: int) -> None:
        waiting = self._waiting.pop(batch)
        self._started[batch] = self._pool.submit([waiting[row] for row in sorted(waiting)])

    def _verdict(self, answer: Answer) -> Verdict:
        why = f"{answer.cause}: {answer.why}" if answer.cause else ""
        return Verdict(score=answer.score, why=why, judge=self._config.name)

    def _judge(self, answers: Sequence[Answer], texts: Sequence[str]) -> None:
        """Count, and end the run where the function is of no use."""
        self._counts.update(a.cause for a in answers if a.cause)
        self._recent.extend(answer.cause for answer in answers)
        recent = Counter(self._recent)
        failed = len(self._recent) - recent[None] - recent[Cause.ABSTAINED]
        unscored = [(a, text) for a, text in zip(answers, texts, strict=True) if a.cause]
        if failed > self._config.max_failures * max(len(self._recent), LEAST):
            del recent[None], recent[Cause.ABSTAINED]
            share = f"{failed} of the last {len(self._recent)} completions failed"
            fix = "mend the function, or raise `max_failures`"
        elif recent[Cause.ABSTAINED] == self._config.window:
            share = f"none of the last {self._config.window} completions has a score"
            fix = "does the function end in `return`?"
        else:
            return
        # The text that failed lately may be of another cause than the commonest of all.
        ((cause, number),) = recent.most_common(1)
        answer, text = next(((a, t) for a, t in unscored if a.cause is cause), unscored[-1])
        raise RewardError(
            f"{self._config.name}: {share}, {number} of them by `{cause}`; for example "
            f"{text[:60]!r}: {answer.why}; {fix}"
        )
