"""The rubric: every kind of constraint, the shipped demonstrations, and degenerate answers."""

import json

import pytest

from burnish.data.everyday import demonstrations, instructions
from burnish.types import Problem, mean
from burnish.verifiers.everyday import KINDS, Constraint, check, verify_everyday
from burnish.verifiers.verify import verify_problem

CASES: list[tuple[Constraint, list[str], list[str]]] = [
    ({"kind": "max_words", "n": 3}, ["One two three.", "It's well-known, yes.", ""], ["a b c d"]),
    ({"kind": "min_words", "n": 3}, ["One two three.", "a b c d"], ["one two", "- - -", ""]),
    (
        {"kind": "sentences", "n": 2},
        ["One. Two!", 'He said "no." Then he left.', "It costs 3.5 euros. Fine?", "A...  B."],
        ["One.", "One. Two. Three.", ""],
    ),
    (
        {"kind": "include", "word": "sea"},
        ["The Sea.", "sea", "sea-side", "(sea)"],
        ["seaside", "overseas", ""],
    ),
    ({"kind": "avoid", "word": "sea"}, ["seaside", ""], ["The SEA!", "by the sea."]),
    (
        {"kind": "list", "n": 2},
        ["- one\n- two", "\n- one\n\n- two\n"],
        [
            "- one",
            "- one\n- two\n- three",
            "- one\ntwo",
            "-one\n-two",
            "1. one\n2. two",
            "one, two",
        ],
    ),
    ({"kind": "lowercase"}, ["all small, 3 of them.", ""], ["One capital", "anD"]),
    ({"kind": "no_commas"}, ["no comma here;"], ["one, two", "1,000"]),
    ({"kind": "end_with", "text": "Bye."}, ["So. Bye.", "Bye.  \n"], ["Bye. So.", "bye.", "Bye"]),
    ({"kind": "question"}, ["Why?", '"Why?"', "So (why?)"], ["Why? Because.", "Why", ""]),
]


def test_every_kind_has_its_cases() -> None:
    assert {str(constraint["kind"]) for constraint, _, _ in CASES} == KINDS


@pytest.mark.parametrize(
    ("constraint", "met", "missed"), CASES, ids=[str(c["kind"]) for c, _, _ in CASES]
)
def test_a_constraint_is_met_and_missed(
    constraint: Constraint, met: list[str], missed: list[str]
) -> None:
    assert [text for text in met if not check(text, constraint)] == []
    assert [text for text in missed if check(text, constraint)] == []


def test_every_shipped_constraint_is_known_and_can_be_met_together_with_the_others() -> None:
    problems = instructions()
    constraints = [c for p in problems for c in json.loads(p.meta)["constraints"]]
    assert {c["kind"] for c in constraints} == KINDS
    for problem in problems:
        kinds = [c["kind"] for c in json.loads(problem.meta)["constraints"]]
        assert len(kinds) == len(set(kinds)) or set(kinds) <= {"include", "avoid"} | set(kinds)
        limits = {c["kind"]: c.get("n") for c in json.loads(problem.meta)["constraints"]}
        if {"min_words", "max_words"} <= limits.keys():
            assert limits["min_words"] <= limits["max_words"]


def test_shipped_demonstrations_score_high() -> None:
    scores = []
    for chat in demonstrations():
        answer = chat.messages[-1].content
        verdict = verify_everyday(answer, chat.last_user, [])
        # An answer need not use the question's words, nor a list end in a full stop, and a prompt
        # may ask for any length; all else is in order.
        free = {"on_topic", "length"} | ({"complete"} if answer.startswith("- ") else set())
        assert all(v > 0.8 for name, v in verdict.parts.items() if name not in free)
        assert verdict.score is not None
        scores.append(verdict.score)
    assert mean(scores) > 0.8
    assert mean(scores) > max(
        verify_everyday(x, PROMPT, []).score or 0 for x in DEGENERATE.values()
    )


def test_prompts_of_the_demonstrations_are_not_those_to_be_evaluated() -> None:
    asked = {p.prompt.last_user.casefold().strip() for p in instructions()}
    shown = {c.last_user.casefold().strip() for c in demonstrations()}
    assert not asked & shown


PROMPT = "Why do leaves change colour in autumn?"
GOOD = (
    "Leaves change colour in autumn because the trees stop making green pigment when days get "
    "shorter, and the yellow and red that were hidden begin to show."
)
DEGENERATE = {
    "empty": "",
    "punctuation": "... !!!",
    "one word": "Leaves.",
    "repetition": "leaves change colour " * 30,
    "one word over and over": "leaves " * 20,
    "echo": PROMPT,
    "echoed many times": (PROMPT + " ") * 8,
    "filler": "Sure! I'd be happy to help you with that question today, just let me know.",
    "placeholder": "[Your answer about leaves that change colour goes here, in one sentence]",
    "rambling": " ".join(f"word{i}" for i in range(200)),
    "cut": GOOD[:100],
    "off topic": "The train to the coast leaves at nine and takes about two hours.",
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_answers_score_below_a_good_one(name: str) -> None:
    good = verify_everyday(GOOD, PROMPT, []).score
    bad = verify_everyday(DEGENERATE[name], PROMPT, []).score
    assert good is not None and bad is not None
    assert good > 0.95 and 0 <= bad < good - 0.05


def test_missed_constraints_cost_and_are_named() -> None:
    constraints: list[Constraint] = [{"kind": "max_words", "n": 5}, {"kind": "no_commas"}]
    both = verify_everyday("Leaves change colour in autumn.", PROMPT, constraints)
    one = verify_everyday("Leaves change, their colour fades.", PROMPT, constraints)
    none = verify_everyday(GOOD, PROMPT, constraints)
    assert both.passed is None and both.parts["constraints"] == 1.0
    assert one.parts["constraints"] == 0.5 and one.why == "constraints not met: no_commas"
    assert none.parts["constraints"] == 0.0
    assert none.why == "constraints not met: max_words, no_commas"


def test_an_everyday_problem_goes_by_its_own_constraints() -> None:
    problem = instructions()[0]
    meta = json.dumps({"constraints": [{"kind": "include", "word": "zebra"}]})
    changed = Problem(prompt=problem.prompt, task=problem.task, meta=meta)
    assert verify_problem(changed, "A zebra runs.").parts["constraints"] == 1
    assert verify_problem(changed, "A horse runs.").parts["constraints"] == 0
