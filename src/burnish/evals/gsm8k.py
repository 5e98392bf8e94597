"""GSM8K: grade-school word problems with a number for an answer (Cobbe et al. 2021, 2110.14168).

A wrong answer, none that could be read, and one that the limit cut off are different failures, so
that each is counted.
"""

from collections.abc import Mapping

from burnish.data.schema import TASK_GSM8K
from burnish.evals.suite import Measure, Suite
from burnish.types import Finish, Json, Problem
from burnish.verifiers.verify import verify_problem


def _details(problem: Problem, text: str) -> Mapping[str, Json]:
    return {"answered": answered(problem, text)}


def answered(problem: Problem, text: str) -> bool:
    """Whether an answer could be read: verifiers of answers say `no ...` where there is none."""
    verdict = verify_problem(problem, text)
    return verdict.passed is True or not verdict.why.startswith("no ")


GSM8K = Suite(
    name="gsm8k",
    task=TASK_GSM8K,
    about="grade-school word problems, checked by their number",
    files=("test.jsonl", "test.jsonl.gz", "test.parquet", "gsm8k.jsonl"),
    measures=(
        Measure(name="accuracy", successes=lambda row: float(row["passed"])),
        Measure(name="no answer to read", successes=lambda row: float(not row["answered"])),
        Measure(
            name="cut at the limit",
            successes=lambda row: float(row["finish"] == Finish.LENGTH.value),
        ),
    ),
    max_new_tokens=320,
    details=_details,
)
