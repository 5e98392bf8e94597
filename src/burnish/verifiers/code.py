"""Code: a function judged by hidden tests, or a program judged by what it prints.

The problem's `meta` is JSON with `tests`, and where they need it `entry_point` (the function to
write) and `prompt_code` (what the prompt shows of it: imports, other functions, its signature).
`tests` is either Python (asserts, or a function `check` that takes the function) or a list of
`{"input": ..., "output": ...}`: what a program reads, and what it must print, up to spaces at the
ends of lines and empty lines at the end. `timeout_s` and `memory_mb` may be set too. All of it runs
in boxes (`burnish.sandbox`): what the code does there reaches neither the tests nor this machine.

Which part of a completion is the code:
1. what follows the last `</think>`, if there is one;
2. of its fenced blocks tagged python or not at all, the last that defines the entry point; where
   none does, all of them joined if that does, else the last. An unclosed block ends with the text;
3. without a block the whole text: as a definition where it defines the entry point, else as the
   continuation of `prompt_code`, spaces kept, up to where it leaves the function (`STOPS`).
The code runs after `prompt_code`, so that imports and other functions need not be repeated.
"""

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from burnish.errors import DataError
from burnish.pipeline.environment import usable_cores
from burnish.sandbox.box import Limits, available, run
from burnish.sandbox.judge import HiddenTests, Judged, judge
from burnish.types import Json, Problem, Verdict

TASK = "code"
LIMITS = Limits(wall_s=5.0, cpu_s=10, memory_mb=512)
LONGEST = 1 << 20
"""Characters of a completion that is still looked at."""
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a continuation ends (Chen et al. 2021, section 2.3): models without an end run on."""

_FENCE = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+)[ \t]*(?P<tag>[^\s`]*)[^\n]*\n(?P<code>.*?)"
    r"(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON_TAGS = frozenset({"", "python", "python3", "py", "py3"})
_DEFINED = re.compile(
    r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.M
)

_FUNCTION = re.compile(r"^(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


def verify_code_problem(problem: Problem, completion: str) -> Verdict:
    """Passed when all tests pass; None where the tests themselves cannot judge.

    Raises:
        DataError: `meta` is not as described above.
        SandboxError: this machine cannot box untrusted code.
    """
    meta = _meta(problem)
    tests, entry_point = meta.get("tests"), str(meta.get("entry_point", ""))
    prompt_code = str(meta.get("prompt_code", ""))
    limits = _limits(meta, problem)
    if not completion.strip():
        return _failed("no code in the completion")
    code = extract_code(completion, entry_point=entry_point, prompt_code=prompt_code)
    if isinstance(tests, list):
        return verify_program(code, _examples(tests, problem), limits=limits)
    if not isinstance(tests, str) or not tests.strip():
        raise _wrong(problem, "`tests` must be Python text or a list of inputs and outputs")
    found = HiddenTests(source=tests, prompt_code=prompt_code, entry_point=entry_point)
    return verify_function(code, found, limits=limits)


def verify_all(
    pairs: Sequence[tuple[Problem, str]], *, workers: int | None = None
) -> list[Verdict]:
    """The verdicts on many completions, `workers` at a time (default: one a core), in order.

    Raises:
        DataError, SandboxError: as `verify_code_problem`.
    """
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return list(pool.map(lambda pair: verify_code_problem(*pair), pairs))


def verify_function(code: str, tests: HiddenTests, *, limits: Limits = LIMITS) -> Verdict:
    """Python code, as it stands, judged by tests in another box.

    Raises:
        DataError: the tests are not Python, or call nothing.
        SandboxError: this machine cannot box untrusted code.
    """
    available()
    if len(code) > LONGEST:
        return _failed(f"code of more than {LONGEST} characters")
    return _verdict(judge(code, tests, limits))


def verify_program(
    code: str, examples: Sequence[tuple[str, str]], *, limits: Limits = LIMITS
) -> Verdict:
    """A program judged by what it prints for each input; stops at the first that is wrong.

    Raises:
        SandboxError: this machine cannot box untrusted code.
    """
    available()
    if len(code) > LONGEST:
        return _failed(f"code of more than {LONGEST} characters")
    for number, (given, wanted) in enumerate(examples, 1):
        ran = run(code, stdin=given.encode(), limits=limits)
        if ran.timed_out:
            return _failed(f"example {number}: ran past {limits.wall_s:g} s")
        if not ran.ok:
            said = ran.stderr.decode(errors="replace").strip().splitlines()
            return _failed(f"example {number}: {said[-1][:200] if said else 'the program failed'}")
        if _printed(ran.stdout.decode(errors="replace")) != _printed(wanted):
            return _failed(f"example {number}: printed something else than expected")
    return Verdict(score=1.0, passed=True, judge=TASK)


def extract_code(completion: str, *, entry_point: str = "", prompt_code: str = "") -> str:
    """The code in a completion, by the rule above, ready to run."""
    text = completion.rpartition("</think>")[2]
    if len(text) > LONGEST:
        return text
    fenced = [m["code"] for m in _FENCE.finditer(text) if m["tag"].lower() in _PYTHON_TAGS]
    if fenced:
        defining = [code for code in fenced if defines(code, entry_point)]
        joined = "\n".join(fenced)
        chosen = (
            defining[-1] if defining else joined if defines(joined, entry_point) else fenced[-1]
        )
        return f"{prompt_code}\n\n{chosen}" if prompt_code else chosen
    if not prompt_code or defines(text, entry_point):
        return f"{prompt_code}\n\n{text}" if prompt_code else text
    return prompt_code + text[: min((at for s in STOPS if (at := text.find(s)) >= 0), default=None)]


def defines(code: str, name: str) -> bool:
    """Whether the code gives a value to the name at its top level; True without a name."""
    return not name or any(name in found.groups() for found in _DEFINED.finditer(code))


def last_function(code: str) -> str:
    """The last function that the code defines at its top level, "" without one."""
    return next((name for name in reversed(_FUNCTION.findall(code))), "")


def _printed(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _verdict(judged: Judged) -> Verdict:
    score = None if judged.passed is None else float(judged.passed)
    return Verdict(score=score, passed=judged.passed, why=judged.why, judge=TASK)


def _failed(why: str) -> Verdict:
    return Verdict(score=0.0, passed=False, why=why, judge=TASK)


def _meta(problem: Problem) -> Mapping[str, Json]:
    try:
        meta = json.loads(problem.meta)
    except ValueError as error:
        raise _wrong(problem, f"it is not JSON ({error})") from error
    if not isinstance(meta, dict):
        raise _wrong(problem, "it must be an object")
    return meta


def _limits(meta: Mapping[str, Json], problem: Problem) -> Limits:
    wall_s, memory_mb = (
        meta.get("timeout_s", LIMITS.wall_s),
        meta.get("memory_mb", LIMITS.memory_mb),
    )
    if not isinstance(wall_s, int | float) or not isinstance(memory_mb, int):
        raise _wrong(problem, "`timeout_s` and `memory_mb` must be numbers")
    return limits_of(timeout_s=wall_s, memory_mb=memory_mb)


def limits_of(*, timeout_s: float, memory_mb: int) -> Limits:
    """The verifier's limits with another time and memory. Raises: ConfigError unless above 0."""
    return Limits(wall_s=timeout_s, cpu_s=max(1, round(2 * timeout_s)), memory_mb=memory_mb)


def _examples(tests: Sequence[Json], problem: Problem) -> list[tuple[str, str]]:
    found = []
    for test in tests:
        match test:
            case {"input": str(given), "output": str(wanted)}:
                found.append((given, wanted))
            case _:
                raise _wrong(problem, "each of `tests` must have an `input` and an `output` text")
    if not found:
        raise _wrong(problem, "`tests` is empty")
    return found


def _wrong(problem: Problem, what: str) -> DataError:
    return DataError(f"problem {problem.prompt.last_user[:40]!r}: `meta` of a code problem: {what}")
