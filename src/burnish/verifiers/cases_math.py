"""Cases for the verifier of mathematics: fractions, and expressions that are equal or not."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import ATTACKS, RIGHT, Drawn, Templates, disguised, filled
from burnish.verifiers.cases import Case

_OWN_ATTACKS: Templates = {
    "answers boxed": ("\\boxed{@A} \\boxed{@B} \\boxed{@G}", "\\boxed{@G} and \\boxed{@A}"),
    "list in a box": ("\\boxed{@A, @G}", "\\boxed{@G \\text{ or } @A}", "\\boxed{@A \\quad @G}"),
    "the answer twice": (
        "\\boxed{@G, @G}",
        "\\boxed{\\{@G, @G\\}}",
        "\\boxed{@G \\text{ and } @G}",
    ),
    "work left to do": ("\\boxed{@G + 0}", "\\boxed{@G \\cdot 1}", "\\boxed{x @G / x}"),
    "contradicting equation": ("\\boxed{@A = @G}", "\\boxed{1 = 2 = @G}"),
    "other forms disagree": ("\\boxed{@A}\nAnswer: @G", "Answer: $@A$\n$$\\boxed{@G}$$"),
    "box not closed": ("\\boxed{@G", "\\boxed{\\text{@G}", "boxed{@G}", "\\boxed{}"),
    "near miss": ("\\boxed{-@G}", "\\boxed{1@G}", "\\boxed{@G^2}", "\\boxed{x@G}"),
    "denial around a box": (
        "So \\boxed{@G} is wrong.",
        "$\\boxed{@G}$ cannot be right.",
        "It is not $\\boxed{@G}$.",
        "$x \\neq \\boxed{@G}$",
        "$\\boxed{@G} \\neq x$",
        "$\\cancel{\\boxed{@G}}$",
        "$\\lnot \\boxed{@G}$",
    ),
    "more around a box": (
        "$-\\boxed{@G}$",
        "$\\boxed{@G}^2$",
        "$\\boxed{@G}0$",
        "$1\\boxed{@G}$",
        "$\\sqrt{\\boxed{@G}}$",
        "$\\boxed{@G} \\cdot 2$",
        "$\\boxed{@G} + 1$",
    ),
    "denial in a box": (
        "\\boxed{\\text{not } @G}",
        "\\boxed{\\text{all but } @G}",
        "\\boxed{\\neq @G}",
        "\\boxed{\\neg @G}",
    ),
    "hostile": (
        "\\boxed{" + "(" * 100_000 + "@G" + ")" * 100_000 + "}",
        "\\boxed{" + "\\frac{" * 500 + "@G" + "}{1}" * 500 + "}",
        "\\boxed{" * 50_000 + "@G",
        "\\boxed{@G" + " " * 1_000_000 + "@A}",
        "\\boxed{9^{9^{9^9}}}",
    ),
}
_OWN_RIGHT: Templates = {
    "right: boxed": (
        "So \\boxed{@G}.",
        "$\\boxed{@G}$",
        "$$x = \\boxed{@G}.$$",
        "\\boxed{x = @G}",
        "\\[\\boxed{ @G }\\]",
        "The final answer is $\\boxed{@G}$. I hope it is correct.",
    ),
    "right: LaTeX": ("Answer: $@G$", "Answer: \\(@G\\).", "Answer: $x = @G$", "Answer: \\[@G\\]"),
    "right: phrase": ("The answer is $@G$.", "Thus the final answer is @G."),
    "right: units": ("\\boxed{@G\\text{ cm}}", "\\boxed{@G \\mbox{ units}}", "\\boxed{@G^\\circ}"),
}

SAME = (
    ("@K\\sqrt{2}", "\\sqrt{2} \\cdot @K"),
    ("2\\sqrt{@K}", "2 \\cdot @K^{1/2}"),
    ("x^2 - @K", "-@K + x^2"),
    ("(x+@K)^2", "x^2 + 2 \\cdot @K x + @K^2"),
    ("\\frac{\\pi}{@K}", "\\pi/@K"),
    ("\\left(@K, \\infty\\right)", "(@K,\\infty)"),
    ("(1, @K)", "\\left( 1, @K \\right)"),
    ("[-@K, 1]", "\\left[-@K,1\\right]"),
    ("\\{-1, @K\\}", "\\{@K, -1\\}"),
    ("-1, @K", "@K, -1"),
    ("@K + \\sqrt{3}, @K - \\sqrt{3}", "@K \\pm \\sqrt{3}"),
    ("-@K, @K", "x = @K \\text{ or } x = -@K"),
    ("@K + 4i", "4i + @K"),
    ("y = 2x + @K", "y = @K + 2x"),
    ("x > @K", "@K < x"),
    ("\\frac{\\sqrt{@K}}{@K}", "\\frac{1}{\\sqrt{@K}}"),
    ("\\begin{pmatrix} 1 \\\\ @K \\end{pmatrix}", "\\begin{pmatrix}1\\\\@K\\end{pmatrix}"),
    ("\\text{even}", "even"),
    ("\\text{(B)}", "B"),
    ("\\log_{2} @K + x", "x + \\log_2 @K"),
    ("@K_{11}", "@K_{11}"),
    ("(2, @K]", "2 < x \\le @K"),
    ("[@K, \\infty)", "x \\ge @K"),
    ("(-\\infty, 2) \\cup (@K, \\infty)", "x < 2 \\text{ or } x > @K"),
    ("(1, @K)", "(x, y) = (1, @K)"),
    ("-1, @K", "x_1 = -1, x_2 = @K"),
)
OTHER = (
    ("@K\\sqrt{2}", "@K\\sqrt{3}"),
    ("2\\sqrt{@K}", "\\sqrt{@K}"),
    ("x^2 - @K", "x^2 + @K"),
    ("(x+@K)^2", "x^2 + @K^2"),
    ("\\frac{\\pi}{@K}", "\\frac{3.14}{@K}"),
    ("(@K, \\infty)", "[@K,\\infty)"),
    ("(1, @K)", "(@K, 1)"),
    ("(1, @K)", "1"),
    ("[-@K, 1]", "(-@K, 1)"),
    ("\\{-1, @K\\}", "\\{-1, @K, 1\\}"),
    ("-1, @K", "@K"),
    ("@K + \\sqrt{3}", "@K \\pm \\sqrt{3}"),
    ("@K + 4i", "@K - 4i"),
    ("y = 2x + @K", "y = 2x"),
    ("x > @K", "x \\ge @K"),
    ("\\frac{@K}{\\sqrt{11}}", "0.9"),
    ("\\begin{pmatrix} 1 \\\\ @K \\end{pmatrix}", "\\begin{pmatrix} @K \\\\ 1 \\end{pmatrix}"),
    ("\\text{even}", "neve"),
    ("\\text{even}", "\\text{not even}"),
    ("\\text{(B)}", "A, B, C, D"),
    ("2x", "2y"),
    ("x", "@Kx"),
    ("x^2 + 1", "(x+1)^{99999}"),
    ("x + 1", "9^{9^{9^9}}"),
    ("@K, 1", "@K \\text{ or } 2"),
    ("[2, @K]", "2 < x \\le @K"),
    ("(2, @K]", "2 < x < @K"),
    ("[@K, \\infty)", "x > @K"),
    ("(1, @K)", "\\{1, @K\\}"),
    ("\\sqrt{@K}", "\\sqrt{@K}, \\sqrt{@K}"),
    ("@K_{11}", "@K_{12}"),
    ("1:2:@K", "1:@K:2"),
)
"""Reference and answer, equal or not; @K is a number from 5 to 9."""


def math_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""

    def draw(i: int) -> Drawn:
        stream = rng.stream(seed, "cases", "math", i)
        under = (4, 5, 8, 20)[int(stream.integers(4))]
        value = Fraction(under * int(stream.integers(1, 12)) + 1, under)
        gold, *wrong = (
            f"\\frac{{{v.numerator}}}{{{v.denominator}}}"
            for v in (value, value + 1, 1 / value, value + Fraction(1, 3))
        )
        prompt = Conversation.of(f"What is $x$ if ${value.denominator} x = {value.numerator}$?")
        problem = Problem(prompt=prompt, task="math", answer=gold)
        return Drawn(problem=problem, gold=gold, wrong=(wrong[0], wrong[1], wrong[2]))

    return [
        *filled({**ATTACKS, **_OWN_ATTACKS}, {**RIGHT, **_OWN_RIGHT}, num, draw),
        *disguised(num, draw),
        *(_spelled(draw(i), i) for i in range(num)),
        *(_question_again(i, seed) for i in range(num)),
        *_pairs(SAME, True, num, seed),
        *_pairs(OTHER, False, num, seed),
    ]


def _spelled(drawn: Drawn, i: int) -> Case:
    """The same fraction as a decimal, a percentage, a quotient, or a mixed number."""
    value = Fraction(*(int(part) for part in drawn.gold[6:-1].split("}{")))
    whole, over, under = value // 1, value.numerator % value.denominator, value.denominator
    texts = (
        f"{float(value)}",
        f"{float(value * 100):g}\\%",
        f"{value.numerator}/{value.denominator}",
        f"{whole}\\frac{{{over}}}{{{under}}}",
        drawn.gold.replace("frac", "dfrac"),
        drawn.gold.replace("frac", "tfrac"),
        f"{float(value * 10)} \\times 10^{{-1}}",
    )
    completion = f"\\boxed{{{texts[i % len(texts)]}}}"
    return Case(
        problem=drawn.problem, completion=completion, passes=True, kind="right: other spelling"
    )


def _question_again(i: int, seed: int) -> Case:
    """The question's own expression, which is equal but worked out by nobody."""
    a, b = (int(x) for x in rng.stream(seed, "cases", "again", i).integers(11, 99, 2))
    asked, answer, given = (
        (f"Compute ${a} \\cdot {b}$.", str(a * b), f"{a} \\cdot {b}"),
        (f"Compute ${a} \\cdot {b}$.", str(a * b), f"{b} \\times {a}"),
        (f"Simplify $\\sqrt{{{a * a * 2}}}$.", f"{a}\\sqrt{{2}}", f"\\sqrt{{{a * a * 2}}}"),
        (f"Expand $(x+{a})^2$.", f"x^2+{2 * a}x+{a * a}", f"(x+{a})^2"),
    )[i % 4]
    problem = Problem(prompt=Conversation.of(asked), task="math", answer=answer)
    return Case(
        problem=problem,
        completion=f"\\boxed{{{given}}}",
        passes=False,
        kind="question's expression",
    )


def _pairs(pairs: Sequence[tuple[str, str]], passes: bool, num: int, seed: int) -> Iterator[Case]:
    for i in range(max(num, len(pairs))):
        k = str(rng.stream(seed, "cases", "pairs", i).integers(5, 10))
        reference, answer = (text.replace("@K", k) for text in pairs[i % len(pairs)])
        yield Case(
            problem=Problem(
                prompt=Conversation.of("What is asked for?"), task="math", answer=reference
            ),
            completion=f"Thus $\\boxed{{{answer}}}$.",
            passes=passes,
            kind="right: equivalent" if passes else "not equivalent",
        )
