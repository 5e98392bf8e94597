"""Verifier -> the cases that try it: one line each."""

from collections.abc import Mapping

from burnish.verifiers.cases import Cases
from burnish.verifiers.cases_choice import choice_cases
from burnish.verifiers.cases_everyday import everyday_cases
from burnish.verifiers.cases_exact import exact_cases
from burnish.verifiers.cases_gsm8k import gsm8k_cases
from burnish.verifiers.cases_math import math_cases

CASES: Mapping[str, Cases] = {
    "choice": choice_cases,
    "everyday": everyday_cases,
    "exact": exact_cases,
    "gsm8k": gsm8k_cases,
    "math": math_cases,
}
