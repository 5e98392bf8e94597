"""Cases for GSM8K's verifier: word problems about money, with whole numbers."""

from collections.abc import Sequence

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import ATTACKS, RIGHT, Drawn, Templates, disguised, filled
from burnish.verifiers.cases import Case

_OWN_ATTACKS: Templates = {
    "near miss": (
        "Answer: @G0",
        "Answer: @G.5",
        "Answer: 1@G",
        "Answer: -@G",
        "#### @G1",
        "\\boxed{@G.01}",
    ),
    "unit trick": (
        "Answer: @G cents",
        "Answer: @G thousand dollars",
        "Answer: @G million",
        "Answer: @Ge2",
        "Answer: @Gk",
        "Answer: @G dozen",
    ),
    "answers boxed": ("\\boxed{@A} \\boxed{@B} \\boxed{@G}", "\\boxed{@G} and \\boxed{@A}"),
    "other forms disagree": (
        "Answer: @A\n#### @G",
        "The answer is @A.\n\\boxed{@G}",
        "#### @G\nThe answer is @A.",
        "\\boxed{@A}\nAnswer: @G",
    ),
    "headings as answers": ("#### Step @G", "#### @G. Add the rest", "### @G"),
    "range": (
        "Answer: @G-@A",
        "Answer: between @G and @A",
        "Answer: at least @G",
        "Answer: <@G",
        "Answer: @G+",
    ),
    "unfinished sum": ("Answer: @G + 0 - @A", "Answer: @A + @B", "Answer: @G * 1"),
}
_OWN_RIGHT: Templates = {
    "right: hashes": ("It is so.\n#### @G", "####@G", "#### $@G", "9 * 2 = <<9*2=18>>18\n#### @G"),
    "right: boxed": ("So \\boxed{@G}.", "$$\\boxed{@G}$$", "\\[\\boxed{\\$@G}\\]"),
    "right: phrase": (
        "So the answer is @G.",
        "The final answer is: **@G**.",
        "The answer is $@G$.",
    ),
    "right: LaTeX": ("Answer: $@G$", "Answer: \\(@G\\)", "Answer: $\\boxed{@G}$", "Answer: \\$@G"),
    "right: currency": ("Answer: $@G", "Answer: $@G.00", "Answer: @G USD", "The answer is $@G."),
    "right: units": ("Answer: @G dollars", "Answer: @G dollars a week", "#### @G dollars"),
    "right: words after": (
        "Answer: @G, which is what she earns.",
        "Answer: @G dollars are left over.",
        "Answer: She earns @G dollars.",
    ),
    "right: equation": ("Answer: @A + @B = @G", "Answer: x = @G", "Answer: total = $@G"),
    "right: decimals": ("Answer: @G.0", "Answer: @G.00", "#### +@G"),
    "right: forms agree": ("The answer is @G.\n#### @G", "Answer: @G\n\n\\boxed{@G}"),
    "right: headings": ("#### Step 1\nAdd up.\n#### 2. Multiply\nSo.\nAnswer: @G",),
}


def gsm8k_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""

    def draw(i: int) -> Drawn:
        stream = rng.stream(seed, "cases", "gsm8k", i)
        price, sold = (int(x) for x in stream.integers(11, 99, 2))
        total = price * sold
        prompt = Conversation.of(
            'Work it out step by step. End with "Answer:" and the number.\n'
            f"Ada sells {sold} lamps a week for ${price} each. How many dollars does she earn?"
        )
        return Drawn(
            problem=Problem(prompt=prompt, task="gsm8k", answer=str(total)),
            gold=f"{total:,}" if i % 3 == 2 else str(total),
            wrong=(str(total + 2), str(price + sold), str(total - 7)),
        )

    return [
        *filled({**ATTACKS, **_OWN_ATTACKS}, {**RIGHT, **_OWN_RIGHT}, num, draw),
        *disguised(num, draw),
    ]
