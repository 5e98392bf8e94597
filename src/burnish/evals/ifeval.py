"""IFEval: 541 prompts with instructions that a program checks (Zhou et al. 2023, arXiv 2311.07911).

Its four numbers: the share of prompts whose instructions are all followed, and of instructions that
are followed; each strictly, and loosely (`verifiers.instruction_following.variants`). An
instruction's interval takes in that those of one prompt are not independent.
"""

from collections.abc import Callable, Mapping

from burnish.evals.suite import Measure, Row, Suite
from burnish.types import Json, Problem
from burnish.verifiers.instruction_following import (
    TASK,
    instructions_of,
    loose_verdict,
    verify_instruction_following,
)


def _details(problem: Problem, text: str) -> Mapping[str, Json]:
    strict, loose = verify_instruction_following(problem, text), loose_verdict(problem, text)
    return {
        "instructions": list(instructions_of(problem)),
        "strict": list(strict.parts.values()),
        "loose": list(loose.parts.values()),
    }


def _all(key: str) -> Callable[[Row], float]:
    return lambda row: float(all(row[key]))


def _sum(key: str) -> Callable[[Row], float]:
    return lambda row: float(sum(row[key]))


def _number(row: Row) -> int:
    return len(row["instructions"])


IFEVAL = Suite(
    name="ifeval",
    task=TASK,
    about="541 prompts with instructions that a program checks",
    files=("prompts.jsonl", "input_data.jsonl", "ifeval.jsonl", "ifeval_input_data.jsonl"),
    measures=(
        Measure(name="prompt-level strict", successes=_all("strict")),
        Measure(name="instruction-level strict", successes=_sum("strict"), parts=_number),
        Measure(name="prompt-level loose", successes=_all("loose")),
        Measure(name="instruction-level loose", successes=_sum("loose"), parts=_number),
    ),
    max_new_tokens=1280,
    details=_details,
    hub="hub:google/IFEval",
)
