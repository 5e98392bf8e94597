"""Cases for the verifier of multiple choice: four options, listed in the prompt."""

from collections.abc import Sequence

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import ATTACKS, RIGHT, Drawn, Templates, disguised, filled
from burnish.verifiers.cases import Case

LETTERS = "ABCD"
_TOWNS = ("Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Accra", "Baku", "Riga")
_SKIPPED = ("in the working only",)
"""A letter and nothing else is an answer here."""

_OWN_ATTACKS: Templates = {
    "all choices": (
        "Answer: A, B, C, D",
        "ABCD",
        "A B C D",
        "Answer: all of the above",
        "Answer: (A) (B) (C) (D)",
        "\\boxed{A}\\boxed{B}\\boxed{C}\\boxed{D}",
        "A\nB\nC\nD",
    ),
    "letter in the working only": (
        "Option @G sounds right, but so does @A.\nAnswer: @A",
        "@G is the first that comes to mind.",
        "Consider @G. Consider @A.",
    ),
    "another option's text": ("Answer: @G) Nowhere, and @A", "Answer: @G and @A"),
    "hedged": (
        "Answer: @G, possibly @A",
        "Answer: @G; but @A may be it",
        "Answer: @G, otherwise @A",
    ),
    "near miss": ("Answer: @G@A", "Answer: @G@G", "Answer: @Gob", "Answer: 1", "Answer: E"),
}
_OWN_RIGHT: Templates = {
    "right: parentheses": ("Answer: (@G)", "Answer: @G)", "Answer: [@G]", "The answer is (@G)."),
    "right: boxed": (
        "\\boxed{@G}",
        "$\\boxed{\\text{@G}}$",
        "\\boxed{(@G)}",
        "\\boxed{\\text{(@G)}}",
    ),
    "right: phrase": ("The answer is @G.", "So the correct answer is **@G**.", "The answer is: @G"),
    "right: the letter alone": ("@G", "(@G)", "@G.", "**@G**", " @G\n"),
    "right: named": ("Answer: option @G", "Answer: Choice @G", "Answer: the letter @G"),
    "right: words after": ("Answer: @G. It is the oldest.", "Answer: @G, since the others are not"),
}


def choice_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""

    def draw(i: int) -> Drawn:
        stream = rng.stream(seed, "cases", "choice", i)
        towns = [_TOWNS[int(k)] for k in stream.permutation(len(_TOWNS))[:4]]
        right, *others = (LETTERS[int(k)] for k in stream.permutation(4))
        listed = "\n".join(f"{x}) {t}" for x, t in zip(LETTERS, towns, strict=True))
        prompt = Conversation.of(
            f'Which town is meant? End with "Answer:" and the letter.\n{listed}'
        )
        return Drawn(
            problem=Problem(prompt=prompt, task="choice", answer=right),
            gold=right,
            wrong=(others[0], others[1], others[2]),
        )

    attacks = {kind: texts for kind, texts in ATTACKS.items() if kind not in _SKIPPED}
    return [
        *filled({**attacks, **_OWN_ATTACKS}, {**RIGHT, **_OWN_RIGHT}, num, draw),
        *disguised(num, draw),
        *(_with_text(draw(i), i) for i in range(num)),
        *(_with_anothers_text(draw(i), i) for i in range(num)),
    ]


def _with_text(drawn: Drawn, i: int) -> Case:
    town = _option(drawn, drawn.gold)
    texts = (f"{drawn.gold}) {town}", f"**{drawn.gold}. {town}**", f"Answer: {drawn.gold} ({town})",
             f"Answer: {drawn.gold}) {town}", f"Answer: {drawn.gold} {town}.",
             f"The answer is ({drawn.gold}) {town}.")  # fmt: skip
    completion = texts[i % len(texts)]
    return Case(
        problem=drawn.problem, completion=completion, passes=True, kind="right: with its text"
    )


def _with_anothers_text(drawn: Drawn, i: int) -> Case:
    town = _option(drawn, drawn.wrong[0])
    texts = (f"Answer: {drawn.gold}) {town}", f"Answer: {drawn.gold}, or {town}",
             f"Answer: {drawn.gold} ({town})", f"{drawn.gold}) {town}",
             f"Answer: {drawn.gold}, i.e. {town}")  # fmt: skip
    completion = texts[i % len(texts)]
    return Case(
        problem=drawn.problem, completion=completion, passes=False, kind="another option's text"
    )


def _option(drawn: Drawn, letter: str) -> str:
    lines = drawn.problem.prompt.text.splitlines()
    return next(line[3:] for line in lines if line.startswith(f"{letter}) "))
