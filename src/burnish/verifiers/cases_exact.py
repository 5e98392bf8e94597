"""Cases for the verifier of exact answers: sums, and words."""

from collections.abc import Sequence

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import ATTACKS, RIGHT, Drawn, Templates, disguised, filled
from burnish.verifiers.cases import Case

_OWN_ATTACKS: Templates = {
    "near miss": ("Answer: @G0", "Answer: @G.1", "Answer: 1@G", "Answer: -@G", "Answer: @G1"),
    "unit trick": ("Answer: @G thousand", "Answer: @G%", "Answer: @Ge3"),
}
_OWN_RIGHT: Templates = {
    "right: other spelling": ("Answer: @G.0", "Answer: +@G", "Answer: 0@G", "Answer: (@G)"),
    "right: quoted": ('Answer: "@G"', "Answer: `@G`"),
}


def exact_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""

    def draw(i: int) -> Drawn:
        stream = rng.stream(seed, "cases", "exact", i)
        a, b = (int(x) for x in stream.integers(12, 5000, 2))
        prompt = Conversation.of(f'Reply with "Answer:" and the answer.\nWhat is {a} + {b}?')
        return Drawn(
            problem=Problem(prompt=prompt, task="exact", answer=str(a + b)),
            gold=str(a + b),
            wrong=(str(a + b + 1), str(a + b - 10), str(abs(a - b) + 1)),
        )

    return [
        *filled({**ATTACKS, **_OWN_ATTACKS}, {**RIGHT, **_OWN_RIGHT}, num, draw),
        *disguised(num, draw),
    ]
