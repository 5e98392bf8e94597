"""Cases for reasoning-gym's scorers: a task with many right answers, and answers that are code.

`countdown` asks for a formula over given numbers, and its scorer evaluates what it is given; so do
those of integrals and of boards.
"""

import json
from collections.abc import Sequence

import numpy as np

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import Drawn as Filled
from burnish.verifiers.case_texts import Templates, fill
from burnish.verifiers.cases import Case

_ATTACKS: Templates = {
    "empty": ("", " ", "Answer:", "Answer: \n", "Answer: ()", "Answer: ''"),
    "in the working only": ("@G", "It comes to @G.", "<think>Answer: @G</think>", "= @G"),
    "list on a line": ("Answer: @G, @A", "Answer: [@G, @A]", "Answer: (@G) or (@A)"),
    "list over lines": ("Answer: @A\nAnswer: @G", "Answer: @G\nAnswer: @A\nAnswer: @B"),
    "negation": ("Answer: not @G", "The answer is not @G."),
    "taken back": ("Answer: @G\nNo, that is wrong.", "Answer: @G\nWait, no.\nAnswer: @A"),
    "prompt echo": ("@Q", "@Q\n@Q"),
    "the target itself": ("Answer: @C", "Answer: @C = @C", "Answer: @C + 0"),
    "wrong value": ("Answer: @A", "Answer: @B", "Answer: -(@G)"),
    "other numbers": ("Answer: @G + 0", "Answer: (@G) * 1", "Answer: @C + 1 - 1", "Answer: @G - 1"),
    "numbers left out": ("Answer: (@G) * (2 - 1)", "Answer: (@G)**1", "Answer: @C * 1**5"),
    "comment": ("Answer: @C # @G", "Answer: @A # @G", "Answer: '@G'"),
    "code": (
        "Answer: __import__('os').system('echo @G')",
        "Answer: eval('@G')",
        "Answer: (lambda: @G)()",
        "Answer: [@G for _ in (1,)][0]",
        "Answer: sum([@G])",
        "Answer: exec('import os') or @G",
        "Answer: float('@G')",
        "Answer: S('@G')",
        "Answer: Symbol('x').subs('x', @C)",
        "Answer: (@G).__class__(@C)",
    ),
    "hostile": (
        "Answer: 9**9**9**9",
        "Answer: 99999999!",
        "Answer: " + "(" * 500 + "@G" + ")" * 500,
        "Answer: " + "-" * 50_000 + "1",
        "Answer: @G + (9**9)**(9**9)",
        "Answer: 1e400 + @G",
        "Answer: @G\x00",
        "Answer: \ud800@G",
    ),
}
_RIGHT: Templates = {
    "right: plain": ("Answer: @G", "answer: @G", "**Answer:** @G", "Answer:\n@G"),
    "right: brackets": ("Answer: (@G)", "Answer: ((@G))", "Answer: +(@G)"),
    "right: spaces": ("Answer:  @G  ", "So.\n\nAnswer: @G\n"),
    "right: after thinking": ("<think>Is it @A? Answer: @A</think>\nAnswer: @G",),
    "right: said twice": ("Answer: @G\n\nAnswer: @G",),
    "right: corrected": ("Answer: @A\nWait, that is wrong.\nAnswer: @G",),
    "right: otherwise": ("Answer: @O", "Answer: (@O)"),
}
_ASK = 'Reply with "Answer:" and the answer, nothing else.'


def reasoning_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""
    return [
        Case(
            problem=(drawn := _drawn(rng.stream(seed, "cases", "reasoning", i))).problem,
            completion=fill(texts[i % len(texts)].replace("@O", _otherwise(drawn.gold)), drawn),
            passes=passes,
            kind=kind,
        )
        for passes, templates in ((False, _ATTACKS), (True, _RIGHT))
        for kind, texts in templates.items()
        for i in range(num)
    ]


def _drawn(draw: np.random.Generator) -> Filled:
    """Three numbers, of which `a + b - c` or `a * b + c` is asked."""
    a, b, c = (int(n) for n in draw.permutation(np.arange(11, 60))[:3])
    gold, target = (f"{a} + {b} - {c}", a + b - c)
    if draw.integers(2):
        gold, target = f"{a} * {b} + {c}", a * b + c
    question = (
        f"Calculate {target} using only the numbers {a}, {b}, {c}, each once, and + - * / ( )."
    )
    entry = {
        "question": question,
        "answer": gold,
        "metadata": {"numbers": [a, b, c], "target": target, "expression": gold},
    }
    meta = json.dumps({"dataset": "countdown", "options": {}, "entry": entry})
    prompt = Conversation.of(f"{_ASK}\n{question}")
    return Filled(
        problem=Problem(prompt=prompt, task="reasoning", answer=gold, meta=meta),
        gold=gold,
        wrong=(f"{a} + {b} + {c}", f"{a} * {b} - {c}", str(target)),
    )


def _otherwise(gold: str) -> str:
    """The same numbers in another order."""
    a, sign, b, other, c = gold.split()
    return f"{b} {sign} {a} - {c}" if other == "-" else f"{c} + {b} * {a}"
