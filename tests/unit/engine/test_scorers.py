"""Rewards in the loop: combined, judged while sampling, counted where they fail."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from burnish.engine import scorers as scorers_module
from burnish.engine.protocols import Request, Sampling
from burnish.engine.scorers import Scorer, VerifierScorer, open_scorer
from burnish.engine.text_collector import TextCollector
from burnish.engine.user_scorer import UserScorer
from burnish.errors import ConfigError, RewardError
from burnish.types import Completion, Conversation, Finish, Problem, Verdict
from burnish.verifiers.combine import (
    AllOf,
    ByTask,
    ModelReward,
    Part,
    ProblemVerifier,
    Reward,
    SafetyFirst,
    WeightedSum,
    assemble,
    check,
    leaves,
)
from burnish.verifiers.format import Format
from burnish.verifiers.length import Length
from burnish.verifiers.repetition import Repetition
from burnish.verifiers.user_function import UserFunction
from burnish.verifiers.user_worker import Cause
from burnish.verifiers.worker_pool import Answer

SUM = Problem(prompt=Conversation.of("What is 2 + 3?"), task="exact", answer="5")
OPEN = Problem(prompt=Conversation.of("Say something."), task="exact")
LINE = Format(last_line="Answer:")
BAND = Length(low=2, high=4)
NESTED = WeightedSum(
    parts={
        "right": Part(reward=ProblemVerifier()),
        "shape": Part(weight=0.5, reward=AllOf(parts={"line": LINE, "length": BAND})),
        "loops": Part(weight=-0.25, reward=Repetition()),
        "seen": Part(weight=0.0, reward=Format(pattern=".*")),
    }
)


def no_model(reward: object) -> Any:
    raise AssertionError(reward)


def opened(reward: Reward, stack: ExitStack, gold: Scorer | None = None, size: int = 4) -> Scorer:
    return open_scorer(
        reward,
        gold=gold or VerifierScorer(),
        group_size=size,
        open_model=no_model,
        open_judge=no_model,
        stack=stack,
    )


def scored(scorer: Scorer, problem: Problem, *texts: str) -> list[Verdict]:
    empty: list[tuple[int, ...]] = [()] * len(texts)
    return scorer.score([problem] * len(texts), texts, empty, empty)


def test_a_weighted_sum_shows_its_parts_and_theirs() -> None:
    verdict = check(NESTED, SUM, "It is\nAnswer: 5")
    assert verdict.score == pytest.approx(1 + 0.5 * 1 - 0.25 * 1 + 0)
    assert verdict.parts == {
        "right": 1.0,
        "shape": 1.0,
        "shape.line": 1.0,
        "shape.length": 1.0,
        "loops": 1.0,
        "seen": 1.0,
    }
    long = check(NESTED, SUM, "Well, I think that it is\nAnswer: 6")
    assert long.score == pytest.approx(0 + 0 - 0.25)
    assert long.parts["shape"] == 0.0 and long.parts["shape.line"] == 1.0
    assert "right: answered '6'" in long.why and "shape: length: 8 words" in long.why


def test_what_one_part_cannot_score_is_not_scored_and_says_so() -> None:
    verdict = check(NESTED, OPEN, "It is\nAnswer: 5")
    assert verdict.score is None
    assert verdict.why == "right is unscored: the problem has no reference answer"
    assert verdict.parts["shape"] == 1.0 and "right" not in verdict.parts
    inside = WeightedSum(parts={"all": Part(reward=AllOf(parts={"deep": ProblemVerifier()}))})
    assert check(inside, OPEN, "x").score is None


def test_all_of_takes_grades_by_their_score() -> None:
    both = AllOf(parts={"line": LINE, "model": ModelReward(model=None)}, pass_at=0.7)  # type: ignore[arg-type]
    yes = Verdict(score=1.0, passed=True)
    for grade, passed in ((0.69, False), (0.7, True), (9.0, True), (-1.0, False)):
        verdict = assemble(both, {"line": yes, "model": Verdict(score=grade)}, SUM)
        assert (verdict.passed, verdict.score) == (passed, float(passed))
    no = Verdict(score=0.9, passed=False)
    assert assemble(both, {"line": no, "model": Verdict(score=1.0)}, SUM).passed is False


@pytest.mark.parametrize(
    ("meta", "safety", "decides"),
    [
        ("{}", 0.0, "helpful"),  # sigmoid .5
        ("{}", -1.7, "helpful"),  # sigmoid .1545
        ("{}", -1.8, "safety"),  # sigmoid .1419
        ("{}", -900.0, "safety"),
        ('{"risky": true}', 5.0, "safety"),
        ('{"risky": "no"}', 5.0, "helpful"),
        ('{"safety": true}', 5.0, "helpful"),
    ],
)
def test_safety_decides_where_the_prompt_is_tagged_or_the_answer_is_unsafe(
    meta: str, safety: float, decides: str
) -> None:
    model = ModelReward(model=None)  # type: ignore[arg-type]
    reward = SafetyFirst(safety=model, helpful=model, tag="risky")
    problem = Problem(prompt=Conversation.of("?"), task="none", meta=meta)
    scores = {"safety": safety, "helpful": 3.25}
    verdicts = {name: Verdict(score=score) for name, score in scores.items()}
    verdict = assemble(reward, verdicts, problem)
    assert verdict.score == scores[decides]
    assert verdict.parts == {**scores, "by_safety": float(decides == "safety")}
    assert [name for name, _ in leaves(reward)] == ["safety", "helpful"]
    for name in scores:
        holed = {**verdicts, name: Verdict(score=None, why="no")}
        assert assemble(reward, holed, problem).score is None


def test_by_task_one_reward_counts_and_the_others_are_not_shown() -> None:
    model = ModelReward(model=None)  # type: ignore[arg-type]
    rules = WeightedSum(parts={"right": Part(reward=ProblemVerifier()), "line": Part(reward=LINE)})
    reward = ByTask(tasks={"exact": rules}, otherwise=model)
    assert [name for name, _ in leaves(reward)] == ["exact.right", "exact.line", "otherwise"]
    verdicts = {
        "exact.right": Verdict(score=1.0, passed=True),
        "exact.line": Verdict(score=0.5),
        "otherwise": Verdict(score=-3.0),
    }
    sum_, open_ = (assemble(reward, verdicts, p) for p in (SUM, replace(OPEN, task="everyday")))
    assert (sum_.score, sum_.judge) == (1.5, "by_task: exact")
    assert sum_.parts == {"exact": 1.5, "exact.right": 1.0, "exact.line": 0.5}
    assert (open_.score, open_.passed, open_.parts) == (-3.0, None, {"otherwise": -3.0})
    # What is missing where it does not count takes nothing away.
    holed = {**verdicts, "otherwise": Verdict(score=None, why="no")}
    assert assemble(reward, holed, SUM).score == 1.5
    assert assemble(reward, holed, replace(OPEN, task="everyday")).score is None


def test_a_task_without_a_reward_is_unscored_and_says_so() -> None:
    reward = ByTask(tasks={"exact": LINE})
    verdict = check(reward, replace(SUM, task="everyday"), "Answer: 5")
    assert verdict.score is None
    assert "'everyday'" in verdict.why
    assert check(reward, SUM, "Answer: 6").passed is True
    with pytest.raises(ConfigError, match="otherwise"):
        ByTask(tasks={"otherwise": LINE}, otherwise=BAND)
    with pytest.raises(ConfigError, match="tasks must name"):
        ByTask(tasks={})


def test_leaves_have_dotted_names() -> None:
    assert [name for name, _ in leaves(NESTED)] == [
        "right",
        "shape.line",
        "shape.length",
        "loops",
        "seen",
    ]
    assert [name for name, _ in leaves(LINE)] == [""]


@pytest.mark.parametrize("parts", [{}, {"A": LINE}, {"a.b": LINE}, {"": LINE}])
def test_part_names_are_plain_words(parts: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="parts"):
        AllOf(parts=parts)
    with pytest.raises(Exception, match="parts"):
        WeightedSum(parts={name: Part(reward=reward) for name, reward in parts.items()})


def test_scorers_give_what_the_plain_functions_give() -> None:
    texts = ["It is\nAnswer: 5", "Answer: 6", "", "so so so so so so so so\nAnswer: 5"]
    with ExitStack() as stack:
        found = scored(opened(NESTED, stack), SUM, *texts)
        alone = scored(opened(LINE, stack), SUM, *texts)
    assert found == [check(NESTED, SUM, text) for text in texts]
    assert alone == [LINE(SUM, text) for text in texts]


def test_the_problems_verifier_is_asked_once_as_part_and_as_gold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def counted(problem: Problem, completion: str) -> Verdict:
        calls.append(completion)
        return Verdict(score=float(len(completion)))

    monkeypatch.setattr(scorers_module, "verify_problem", counted)
    gold = VerifierScorer(slow=frozenset({"exact"}))
    for _ in range(2):  # the second round draws the same texts
        with ExitStack() as stack:
            combined = opened(NESTED, stack, gold)
            for row, text in enumerate(("a", "bc")):
                combined.start(row, SUM, text)  # type: ignore[attr-defined]
                gold.start(row, SUM, text)
            first, second = scored(combined, SUM, "a", "bc"), scored(gold, SUM, "a", "bc")
        assert [v.parts["right"] for v in first] == [v.score for v in second] == [1.0, 2.0]
    gold.start(0, SUM, "xyz")
    assert [v.score for v in scored(gold, SUM, "xyz")] == [3.0]
    assert len([c for c in calls if c == "xyz"]) == 1


class Answers:
    """A pool that answers at once, from a list of causes; None scores 1."""

    def __init__(self, causes: Sequence[Cause | None]) -> None:
        self._causes: Iterator[Cause | None] = iter(causes)

    def submit(self, samples: Sequence[object]) -> Future[list[Answer]]:
        future: Future[list[Answer]] = Future()
        drawn = [next(self._causes) for _ in samples]
        future.set_result(
            [Answer(score=None if c else 1.0, cause=c, why="so it was" if c else "") for c in drawn]
        )
        return future


def judged(causes: Sequence[Cause | None], **knobs: Any) -> UserScorer:
    config = UserFunction(path="mine.py", **knobs)
    return UserScorer(config, Answers(causes), group_size=4)  # type: ignore[arg-type]


def test_failures_are_counted_by_cause_and_their_rows_unscored() -> None:
    scorer = judged([None, Cause.TIMEOUT, Cause.ABSTAINED, None] + [None] * 40, max_failures=0.1)
    verdicts = scored(scorer, SUM, "a", "b", "c", "d")
    assert [v.score for v in verdicts] == [1.0, None, None, 1.0]
    assert verdicts[1].why == "timeout: so it was"
    assert scorer.counted() == {
        "rl/failed": 1.0,
        "rl/failed/timeout": 1.0,
        "rl/failed/abstained": 1.0,
    }
    scored(scorer, SUM, *"abcd")
    assert scorer.counted() == {"rl/failed": 0.0}


def test_past_the_share_the_run_ends_naming_the_commonest_cause() -> None:
    two = [Cause.RAISED, None, Cause.RAISED, None]
    scorer = judged([*two, Cause.DIED, None, None, None], max_failures=0.1)
    scored(scorer, SUM, *"abcd")  # 2 of 20 at least: not more than a tenth
    with pytest.raises(RewardError) as found:
        scored(scorer, SUM, *"efgh")
    assert str(found.value) == (
        "mine.py:score: 3 of the last 8 completions failed, 2 of them by `raised`; for example "
        "'e': so it was; mend the function, or raise `max_failures`"
    )


def test_the_share_is_of_the_window() -> None:
    some = ([Cause.TIMEOUT] * 2 + [None] * 18) * 5
    scorer = judged([*some, Cause.TIMEOUT, Cause.TIMEOUT, Cause.TIMEOUT], window=20)
    for _ in range(5):
        scored(scorer, SUM, *"a" * 20)
    with pytest.raises(RewardError, match="3 of the last 20"):
        scored(scorer, SUM, *"abc")
    tolerant = judged([Cause.TIMEOUT] * 400, max_failures=1.0)
    scored(tolerant, SUM, *"a" * 400)


def test_a_function_that_only_abstains_ends_the_run() -> None:
    scorer = judged([Cause.ABSTAINED] * 40, window=20)
    scored(scorer, SUM, *"a" * 19)
    with pytest.raises(RewardError, match="none of the last 20 completions has a score"):
        scored(scorer, SUM, "b")


def test_batches_are_groups_in_row_order_however_they_finish() -> None:
    asked: list[list[str]] = []

    class Pool:
        def submit(self, samples: Sequence[Any]) -> Future[list[Answer]]:
            asked.append([sample.completion for sample in samples])
            future: Future[list[Answer]] = Future()
            future.set_result([Answer(score=float(len(asked))) for _ in samples])
            return future

    scorer = UserScorer(UserFunction(path="x.py", batched=True), Pool(), group_size=2)  # type: ignore[arg-type]
    for row in (3, 0, 2, 1):
        scorer.start(row, SUM, "abcde"[row])
    assert asked == [["c", "d"], ["a", "b"]]
    assert [v.score for v in scored(scorer, SUM, *"abcde")] == [2, 2, 1, 1, 3]
    assert asked[2] == ["e"]


@dataclass
class Scripted:
    """A sampler that takes a given time for each completion and finishes the last first."""

    seconds: float
    sampled_tokens: int = 0

    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_completion: Callable[[int, int, Completion], None] | None = None,
    ) -> list[list[Completion]]:
        groups = [
            [
                Completion(
                    tokens=(request.key % 97, i),
                    logprobs=(-1.0, -1.0),
                    finish=Finish.STOP,
                    policy_version=0,
                    seed=0,
                )
                for i in range(request.num)
            ]
            for request in requests
        ]
        for r in reversed(range(len(groups))):
            for i in reversed(range(len(groups[r]))):
                time.sleep(self.seconds)
                if on_completion is not None:
                    on_completion(r, i, groups[r][i])
        return groups


class Late:
    """A scorer that is not told early."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, *given: Any) -> list[Verdict]:
        return self._scorer.score(*given)


def collector(
    scorer: Scorer,
    *,
    seconds: float,
    size: int = 4,
    refills: int = 0,
    decode: Callable[[Sequence[int]], str] = str,
) -> TextCollector:
    problems = [
        Problem(prompt=Conversation.of(f"Problem {i}"), task="exact", answer="1") for i in range(16)
    ]
    return TextCollector(
        sampler=Scripted(seconds),  # type: ignore[arg-type]
        problems=problems,
        prompt_ids=[(1, i + 2) for i in range(16)],
        decode=decode,
        scorer=scorer,
        gold=VerifierScorer(),
        sampling=Sampling(max_new_tokens=2),
        problems_per_step=4,
        group_size=size,
        seed=0,
        refills=refills,
    )


SLOW = """
import hashlib, time
def score(prompt, completion, answer, meta):
    time.sleep({pause})
    digest = hashlib.sha256((prompt + completion).encode()).digest()
    if digest[0] % 7 == 0:
        raise ValueError("seven")
    return digest[1] / 256
"""


def test_verdicts_while_sampling_are_those_after_it_and_come_sooner(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(SLOW.format(pause=0.1))
    took, found = [], []
    for late in (True, False):
        with ExitStack() as stack:
            config = UserFunction(path=str(path), workers=2, max_failures=1.0)
            scorer = opened(config, stack)
            scored(scorer, SUM, "warm", "up")  # both processes are there
            made = collector(Late(scorer) if late else scorer, seconds=0.05)
            started = time.perf_counter()
            rollout = made.collect(0)
            took.append(time.perf_counter() - started)
            found.append([(e.problem.id, e.text, e.verdict) for e in made.episodes])
            if not late:
                counted = rollout.metrics
    assert found[0] == found[1]
    unscored = [verdict for _, _, verdict in found[1] if verdict.score is None]
    assert 0 < len(unscored) < 16
    assert counted["rl/unscored"] == counted["rl/failed/raised"] == len(unscored)
    # 16 x 0.05 s of sampling, and then 8 x 0.1 s of judging in two processes, or beside it
    assert took[1] < took[0] - 0.3


def test_each_completion_is_decoded_once() -> None:
    decoded = []

    def decode(ids: Sequence[int]) -> str:
        decoded.append(ids)
        return str(ids)

    made = collector(VerifierScorer(), seconds=0.0, decode=decode)
    made.collect(0)
    assert len(decoded) == len(made.episodes) == 16


def test_refilled_steps_judge_early_what_each_round_draws(tmp_path: Path) -> None:
    path = tmp_path / "few.py"
    path.write_text("def score(p, c, a, m): return float(int(p.split()[1]) % 2 and '(0' in c or 0)")
    episodes = []
    for late in (True, False):
        with ExitStack() as stack:
            scorer = opened(UserFunction(path=str(path), workers=2), stack)
            made = collector(Late(scorer) if late else scorer, seconds=0.0, refills=2)
            made.collect(0)
            episodes.append([(e.problem.id, e.text, e.score) for e in made.episodes])
    assert episodes[0] == episodes[1]


def test_unscored_rows_have_no_part_in_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def score(p, c, a, m): return float('nan') if ', 0)' in c else len(p) / 10")
    with ExitStack() as stack:
        scorer = opened(UserFunction(path=str(path), max_failures=1.0), stack)
        made = collector(scorer, seconds=0.0)
        rollout = made.collect(0)
    scores = rollout.batch.scores.reshape(4, 4)
    assert [math.isnan(float(row[0])) for row in scores] == [True] * 4
    assert bool(scores[:, 1:].isfinite().all())
    assert rollout.metrics["rl/failed/not_finite"] == 4.0


def test_parts_are_metrics_of_the_step() -> None:
    reward = WeightedSum(
        parts={"right": Part(reward=ProblemVerifier()), "any": Part(reward=Format(pattern=".*"))}
    )
    with ExitStack() as stack:
        rollout = collector(opened(reward, stack), seconds=0.0).collect(0)
    assert rollout.metrics["rl/reward/right"] == 0.0
    assert rollout.metrics["rl/reward/any"] == rollout.metrics["rl/score"] == 1.0
    assert "rl/failed" not in rollout.metrics
