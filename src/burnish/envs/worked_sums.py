"""Sums to be done in steps: problems whose working can be judged, not only their answers.

    7 + 5 - 3 = ?        7 + 5 = 12
                         12 - 3 = 9
                         Answer: 9

The smallest task that has right and wrong steps: for process rewards, for the worth of working
(against direct answers to the same sums), and for starting a model off on it.
"""

from burnish import rng
from burnish.config import require
from burnish.errors import ConfigError
from burnish.types import Conversation, Problem

ASK_WORKING = 'Add up in steps, one a line. End with "Answer:" and the answer.'
TASK = "worked_sum"


def worked_sums(
    num: int, *, seed: int, min_terms: int, max_terms: int
) -> tuple[list[Problem], list[Conversation]]:
    """`num` distinct problems of one-digit terms, and a demonstration of each.

    Raises:
        ConfigError: there are not so many distinct ones, or the terms are out of range.
    """
    require(num >= 1, "num must be at least 1")
    require(2 <= min_terms <= max_terms, "min_terms must be from 2 to max_terms")
    draws = rng.stream(seed, "worked sums")
    found: dict[str, tuple[Problem, Conversation]] = {}
    for _ in range(20 * num):
        size = int(draws.integers(min_terms, max_terms + 1))
        terms = [int(t) for t in draws.integers(1, 10, size)]
        plus = [True, *(bool(b) for b in draws.integers(0, 2, size - 1))]
        question = " ".join(_written(terms, plus))
        if question not in found:
            found[question] = _made(question, terms, plus)
        if len(found) == num:
            problems, shown = zip(*found.values(), strict=True)
            return list(problems), list(shown)
    raise ConfigError(
        f"{len(found)} distinct sums of {min_terms} to {max_terms} terms were found, {num} asked "
        "for; raise max_terms"
    )


def _made(question: str, terms: list[int], plus: list[bool]) -> tuple[Problem, Conversation]:
    prompt = Conversation.of(f"{ASK_WORKING}\n{question} = ?")
    lines, total = [], terms[0]
    for term, add in zip(terms[1:], plus[1:], strict=True):
        after = total + term if add else total - term
        lines.append(f"{total} {'+' if add else '-'} {term} = {after}")
        total = after
    lines.append(f"Answer: {total}")
    return Problem(prompt=prompt, task=TASK, answer=str(total)), prompt.then("\n".join(lines))


def _written(terms: list[int], plus: list[bool]) -> list[str]:
    signs = ["", *("+ " if add else "- " for add in plus[1:])]
    return [f"{sign}{term}" for sign, term in zip(signs, terms, strict=True)]
