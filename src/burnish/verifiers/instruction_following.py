"""Instructions that a program can check: IFEval's 25 kinds, strictly and loosely.

Zhou et al. 2023, arXiv 2311.07911; the checks agree with the published evaluation, oddities
included, but for sentences (`instructions.length`) and for language detection, which is seeded. A
problem's `meta` is JSON of

    {"instructions": [{"kind": "punctuation:no_comma"}, {"kind": ..., "num_words": 50, ...}],
     "score": "mean"}

Passed means all of them followed. The score is the share followed, or, with `"score": "all"`, 1
where all are and else 0, as Tulu 3 rewards (Lambert et al. 2024, arXiv 2411.15124). A completion
that is blank follows none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from burnish.data.ifeval import instructions_from_ifeval
from burnish.data.schema import TASK_INSTRUCTIONS
from burnish.errors import DataError
from burnish.types import Conversation, Json, Problem, Verdict
from burnish.verifiers.instructions.args import Check
from burnish.verifiers.instructions.kinds import check_of

TASK = TASK_INSTRUCTIONS
SCORES = ("mean", "all")
_Named: TypeAlias = tuple[str, Check]


def verify_instruction_following(problem: Problem, completion: str) -> Verdict:
    """Strictly: the completion as it is. `parts` has a 0 or 1 for each `index:kind`.

    Raises:
        DataError: the problem's `meta` holds no instructions, or one that is unknown or incomplete.
    """
    return _verdict(problem, lambda check: check(completion), TASK)


def loose_verdict(problem: Problem, completion: str) -> Verdict:
    """Loosely: each instruction followed by any of the eight `variants`.

    Raises:
        DataError: as `verify_instruction_following`.
    """
    texts = variants(completion)
    return _verdict(problem, lambda check: any(map(check, texts)), f"{TASK}, loose")


def variants(completion: str) -> tuple[str, ...]:
    """As it is, and without its first line, its last, or both; each also without asterisks.

    It forgives an opening such as "Sure, here it is:", a closing remark, and bold type.
    """
    lines = completion.split("\n")
    cut = [completion, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return tuple(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))


def instruction_problem(
    prompt: Conversation | str, instructions: Sequence[Mapping[str, Json]], *, score: str = "mean"
) -> Problem:
    """A problem whose instructions are `{"kind", ...arguments}`.

    Raises:
        DataError: an instruction is unknown or incomplete, or `score` is not mean or all.
    """
    given = Conversation.of(prompt) if isinstance(prompt, str) else prompt
    meta: dict[str, Json] = {"instructions": [dict(one) for one in instructions]}
    if score != "mean":
        meta["score"] = score
    text = json.dumps(meta, ensure_ascii=False)
    _read(text)
    return Problem(prompt=given, task=TASK, meta=text)


def problem_from_reference(reference: Mapping[str, Json]) -> Problem:
    """From IFEval's own form: `prompt`, `instruction_id_list` and a list of `kwargs`.

    Raises:
        DataError: a field is missing or wrong, or an instruction is unknown or incomplete.
    """
    prompt = reference.get("prompt", "")
    if not isinstance(prompt, str):
        raise DataError("reference: `prompt` must be text")
    listed = instructions_from_ifeval(reference, "reference")
    return instruction_problem(prompt, listed)


def instructions_of(problem: Problem) -> tuple[str, ...]:
    """The kinds that the problem asks for, in order. Raises: DataError."""
    return tuple(name.partition(":")[2] for name, _ in _checks(problem)[0])


def _verdict(problem: Problem, followed: Callable[[Check], bool], judge: str) -> Verdict:
    checks, score = _checks(problem)
    parts = {name: float(followed(check)) for name, check in checks}
    missed = [name.partition(":")[2] for name, part in parts.items() if not part]
    return Verdict(
        score=float(not missed) if score == "all" else sum(parts.values()) / len(parts),
        passed=not missed,
        parts=parts,
        why=f"not followed: {', '.join(missed)}" if missed else "",
        judge=judge,
    )


def _checks(problem: Problem) -> tuple[tuple[_Named, ...], str]:
    try:
        return _read(problem.meta)
    except DataError as error:
        raise DataError(f"problem {problem.prompt.last_user[:40]!r}: {error}") from error


@lru_cache(maxsize=8192)
def _read(meta: str) -> tuple[tuple[_Named, ...], str]:
    """The named checks of a problem's `meta`, and how they are scored."""
    try:
        given = json.loads(meta)
    except ValueError as error:
        raise DataError(f"`meta` is not valid JSON ({error})") from error
    listed = given.get("instructions") if isinstance(given, dict) else None
    if not isinstance(listed, list) or not listed:
        raise DataError("`meta` must have `instructions`, a list of at least one")
    score = given.get("score", "mean")
    if score not in SCORES:
        raise DataError(f"`score` must be {' or '.join(SCORES)}, not {score!r}")
    checks = []
    for index, one in enumerate(listed):
        kind = one.get("kind") if isinstance(one, dict) else None
        if not isinstance(kind, str):
            raise DataError(f"instructions[{index}] must be an object with a `kind`, not {one!r}")
        values = {name: value for name, value in one.items() if name != "kind"}
        checks.append((f"{index}:{kind}", check_of(kind, values)))
    return tuple(checks), score
