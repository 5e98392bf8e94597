"""Verifier -> itself, and the cases that try it: one line each."""

from collections.abc import Mapping

from burnish.verifiers.cases import Cases
from burnish.verifiers.cases_choice import choice_cases
from burnish.verifiers.cases_code import code_cases
from burnish.verifiers.cases_everyday import everyday_cases
from burnish.verifiers.cases_exact import exact_cases
from burnish.verifiers.cases_gsm8k import gsm8k_cases
from burnish.verifiers.cases_instruction_following import instruction_following_cases
from burnish.verifiers.cases_math import math_cases
from burnish.verifiers.cases_rewards import REWARD_CASES
from burnish.verifiers.verify import VERIFIERS, Verifier

CASES: Mapping[str, tuple[Verifier, Cases]] = {
    "choice": (VERIFIERS["choice"], choice_cases),
    "code": (VERIFIERS["code"], code_cases),
    "everyday": (VERIFIERS["everyday"], everyday_cases),
    "exact": (VERIFIERS["exact"], exact_cases),
    "gsm8k": (VERIFIERS["gsm8k"], gsm8k_cases),
    "instruction_following": (VERIFIERS["instruction_following"], instruction_following_cases),
    "math": (VERIFIERS["math"], math_cases),
    **REWARD_CASES,
}
