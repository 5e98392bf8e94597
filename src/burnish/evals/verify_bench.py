"""How often a verifier is wrong, on generated cases whose verdict is known.

A verifier that passes an empty answer or a list of guesses is what a policy finds in training;
one that fails right answers teaches spelling. Both are counted by kind of case, before anything
trains on it. The cases are what someone thought of: no error found is a bound for these kinds only.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from burnish.evals.stats import Interval, accuracy_interval
from burnish.pipeline.environment import usable_cores
from burnish.types import Json, Verdict
from burnish.verifiers.cases import Case, Cases
from burnish.verifiers.verify import SLOW, Verifier

FULL_MARKS = 0.95
"""A verdict that is only a grade passes from this score up."""
_SHOWN_CHARS = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class KindScore:
    """What a verifier made of one kind of case. A case that it did not score is no error.

    A score, any score, of a case that must have none is a false accept: it would train something.
    """

    kind: str
    num: int
    num_wrong: int
    """Of the cases, those that must not pass or not be scored."""
    false_accepts: int
    false_rejects: int
    unscored: int
    """Of the cases that must have a score, those without one."""
    accepted: str = ""
    """The first completion that passed and must not."""
    rejected: str = ""
    """The first that failed and must not, and why."""

    @property
    def num_right(self) -> int:
        return self.num - self.num_wrong

    @property
    def false_accept_rate(self) -> Interval:
        """Of the cases that must not pass; Wilson's 95 % interval."""
        return accuracy_interval(self.false_accepts, self.num_wrong)

    @property
    def false_reject_rate(self) -> Interval:
        """Of the cases that must pass; Wilson's 95 % interval."""
        return accuracy_interval(self.false_rejects, self.num_right)

    def to_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "num": self.num,
            "false_accepts": _rate(self.false_accepts, self.false_accept_rate),
            "false_rejects": _rate(self.false_rejects, self.false_reject_rate),
            "unscored": self.unscored,
            "accepted": self.accepted,
            "rejected": self.rejected,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierScore:
    """One verifier on all kinds of cases."""

    name: str
    kinds: tuple[KindScore, ...]
    seconds: float

    @property
    def total(self) -> KindScore:
        """All kinds together."""
        return KindScore(
            kind="all",
            num=sum(k.num for k in self.kinds),
            num_wrong=sum(k.num_wrong for k in self.kinds),
            false_accepts=sum(k.false_accepts for k in self.kinds),
            false_rejects=sum(k.false_rejects for k in self.kinds),
            unscored=sum(k.unscored for k in self.kinds),
        )

    @property
    def verdicts_per_s(self) -> float:
        return self.total.num / self.seconds if self.seconds else 0.0

    def over(self, max_false_accepts: float, max_false_rejects: float) -> list[str]:
        """The kinds whose rate of either error exceeds its limit, as sentences."""
        found = []
        for kind in self.kinds:
            for what, rate, limit in (
                ("false accepts", kind.false_accept_rate, max_false_accepts),
                ("false rejects", kind.false_reject_rate, max_false_rejects),
            ):
                if rate.estimate > limit:  # not so for NaN: no such cases
                    found.append(
                        f"{self.name}, {kind.kind}: {rate.estimate:.1%} {what}, limit {limit:.1%}"
                    )
        return found

    def to_json(self) -> dict[str, Json]:
        return {
            "verifier": self.name,
            "verdicts_per_s": self.verdicts_per_s,
            "total": self.total.to_json(),
            "kinds": [kind.to_json() for kind in self.kinds],
        }


def bench_verifier(
    name: str,
    verifier: Verifier,
    cases: Cases,
    *,
    num: int,
    seed: int,
) -> VerifierScore:
    """The verifier's verdicts on at least `num` cases of each kind, counted.

    Raises:
        DataError: a case is not such as the verifier reads.
    """
    made = cases(num, seed)
    began = time.perf_counter()
    # Verifiers with processes of their own mostly wait for them; others may share state.
    with ThreadPoolExecutor(usable_cores() if name in SLOW else 1) as pool:
        verdicts = list(pool.map(lambda case: verifier(case.problem, case.completion), made))
    seconds = time.perf_counter() - began
    by_kind: dict[str, list[tuple[Case, Verdict]]] = {}
    for case, verdict in zip(made, verdicts, strict=True):
        by_kind.setdefault(case.kind, []).append((case, verdict))
    kinds = tuple(_score(kind, judged) for kind, judged in by_kind.items())
    return VerifierScore(name=name, kinds=kinds, seconds=seconds)


def accepts(verdict: Verdict) -> bool | None:
    """Whether a verdict lets the completion pass; None where it was not scored."""
    if verdict.score is None:
        return None
    return verdict.score >= FULL_MARKS if verdict.passed is None else verdict.passed


def _score(kind: str, judged: Sequence[tuple[Case, Verdict]]) -> KindScore:
    passed = [(case, verdict) for case, verdict in judged if accepts(verdict) is True]
    failed = [(case, verdict) for case, verdict in judged if accepts(verdict) is False]
    accepted = [case for case, _ in passed if case.passes is False]
    accepted += [case for case, v in judged if case.passes is None and v.score is not None]
    rejected = [(case, verdict) for case, verdict in failed if case.passes]
    return KindScore(
        kind=kind,
        num=len(judged),
        num_wrong=sum(not case.passes for case, _ in judged),
        false_accepts=len(accepted),
        false_rejects=len(rejected),
        unscored=sum(v.score is None and case.passes is not None for case, v in judged),
        accepted=_short(accepted[0].completion) if accepted else "",
        rejected=f"{_short(rejected[0][0].completion)}: {rejected[0][1].why or 'no reason'}"
        if rejected
        else "",
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")


def _rate(errors: int, rate: Interval) -> dict[str, Json]:
    if rate.n == 0:
        return {"errors": errors, "of": 0}
    return {"errors": errors, "of": rate.n, "low": rate.low, "high": rate.high}
