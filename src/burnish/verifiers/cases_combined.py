"""Cases for rewards that are made of other rewards: no part may be lost, and none may outvote all.

The parts are an exact answer and the format of `cases_rewards`.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from burnish import rng
from burnish.types import Conversation, Problem, Verdict
from burnish.verifiers.case_texts import FILLER
from burnish.verifiers.cases import Case, Cases
from burnish.verifiers.cases_rewards import THINKING
from burnish.verifiers.combine import (
    AllOf,
    ByTask,
    Part,
    ProblemVerifier,
    Reward,
    SafetyFirst,
    WeightedSum,
    check,
)
from burnish.verifiers.length import CosineLength
from burnish.verifiers.verify import Verifier

COSINE = CosineLength(max_length=60)
ALL_OF = AllOf(parts={"right": ProblemVerifier(), "form": THINKING})
SUM = WeightedSum(
    parts={
        "right": Part(reward=ProblemVerifier(), weight=0.6),
        "form": Part(reward=THINKING, weight=0.4),
    }
)
FIRST = SafetyFirst(safety=THINKING, helpful=ProblemVerifier(), threshold=0.6)
"""The format decides where it is missing: its score of 0 is a probability of a half."""
BY_TASK = ByTask(tasks={"exact": ALL_OF}, otherwise=THINKING)
"""What the cases' task asks for is both; the format alone must not do."""

_ANSWER = "\n<answer>\nAnswer: {0}\n</answer>"
_WHOLE = "<think>It is {0}.</think>" + _ANSWER
_COMBINED: Mapping[bool | None, Mapping[str, str]] = MappingProxyType(
    {
        True: {
            "right: both": _WHOLE,
            "right: long thoughts": f"<think>{FILLER * 50}</think>{_ANSWER}",
        },
        False: {
            "empty": "",
            "answer without form": "Answer: {0}",
            "form without answer": "<think>Hm.</think><answer>{0}</answer>",
            "form with a wrong answer": "<think>Hm.</think>" + _ANSWER.replace("0", "1"),
            "answer in thoughts only": "<think>Answer: {0}</think><answer>none</answer>",
            "answer outside of the form": "<think>Hm.</think><answer>x</answer> Answer: {0}",
            "two answers": "<think>Hm.</think><answer>\nAnswer: {0}\nAnswer: {1}\n</answer>",
            "form twice": _WHOLE + _WHOLE,
            "neither": "It is {1}.",
        },
    }
)
_LENGTHS: Mapping[bool | None, Mapping[str, str]] = MappingProxyType(
    {
        True: {
            "right: short": "Answer: {0}",
            "right: some words": "We add them up, one by one.\nAnswer: {0}",
        },
        False: {
            "empty": "",
            "wrong": "Answer: {1}",
            "wrong at length": "Well. " * 50 + "Answer: {1}",
            "no answer, at length": "Well. " * 59,
            "right beyond the limit": "Well. " * 60 + "Answer: {0}",
            "list of answers": "Answer: {0}\nAnswer: {1}",
        },
    }
)


def _cases(
    name: str, kinds: Mapping[bool | None, Mapping[str, str]], num: int, seed: int
) -> Sequence[Case]:
    found = []
    for passes, texts in kinds.items():
        for kind, text in texts.items():
            for i in range(num):
                a, b = (int(n) for n in rng.stream(seed, "cases", name, kind, i).integers(2, 99, 2))
                found.append(
                    Case(
                        problem=Problem(
                            prompt=Conversation.of(f"What is {a} + {b}?"),
                            task="exact",
                            answer=str(a + b),
                        ),
                        completion=text.replace("{0}", str(a + b)).replace("{1}", str(a + b + 1)),
                        passes=passes,
                        kind=kind,
                    )
                )
    return found


def _checks(reward: Reward) -> Verifier:
    def verify(problem: Problem, completion: str) -> Verdict:
        return check(reward, problem, completion)

    return verify


COMBINED_CASES: Mapping[str, tuple[Verifier, Cases]] = {
    "all_of": (_checks(ALL_OF), functools.partial(_cases, "all_of", _COMBINED)),
    "by_task": (_checks(BY_TASK), functools.partial(_cases, "by_task", _COMBINED)),
    "safety_first": (_checks(FIRST), functools.partial(_cases, "safety_first", _COMBINED)),
    "weighted_sum": (_checks(SUM), functools.partial(_cases, "weighted_sum", _COMBINED)),
    "cosine_length": (COSINE, functools.partial(_cases, "cosine_length", _LENGTHS)),
}
"""Each with the settings that its cases are for."""
