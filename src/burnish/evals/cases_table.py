"""Verifier -> itself, and the cases that try it: one line each."""

from collections.abc import Mapping

from burnish.evals.cases_reward_model import reward_model_cases, reward_model_verifier
from burnish.verifiers.cases import Cases
from burnish.verifiers.cases_choice import choice_cases
from burnish.verifiers.cases_code import code_cases
from burnish.verifiers.cases_combined import COMBINED_CASES
from burnish.verifiers.cases_everyday import everyday_cases
from burnish.verifiers.cases_exact import exact_cases
from burnish.verifiers.cases_gsm8k import gsm8k_cases
from burnish.verifiers.cases_instruction_following import instruction_following_cases
from burnish.verifiers.cases_judge import (
    pairwise_cases,
    pairwise_judge,
    pointwise_cases,
    pointwise_judge,
)
from burnish.verifiers.cases_math import math_cases
from burnish.verifiers.cases_reasoning import reasoning_cases
from burnish.verifiers.cases_rewards import REWARD_CASES
from burnish.verifiers.combine import (
    AllOf,
    ByTask,
    ModelReward,
    ProblemVerifier,
    SafetyFirst,
    WeightedSum,
)
from burnish.verifiers.format import Format
from burnish.verifiers.judge import Pairwise, Pointwise
from burnish.verifiers.judge_reward import JudgeReward
from burnish.verifiers.language import Language
from burnish.verifiers.length import CosineLength, Length
from burnish.verifiers.repetition import Repetition
from burnish.verifiers.verify import VERIFIERS, Verifier

CASES: Mapping[str, tuple[Verifier, Cases]] = {
    "choice": (VERIFIERS["choice"], choice_cases),
    "code": (VERIFIERS["code"], code_cases),
    "everyday": (VERIFIERS["everyday"], everyday_cases),
    "exact": (VERIFIERS["exact"], exact_cases),
    "gsm8k": (VERIFIERS["gsm8k"], gsm8k_cases),
    "instruction_following": (VERIFIERS["instruction_following"], instruction_following_cases),
    "judge_pairwise": (pairwise_judge, pairwise_cases),
    "judge_pointwise": (pointwise_judge, pointwise_cases),
    "math": (VERIFIERS["math"], math_cases),
    "reasoning": (VERIFIERS["reasoning"], reasoning_cases),
    "reward_model": (reward_model_verifier, reward_model_cases),
    **COMBINED_CASES,
    **REWARD_CASES,
}

TRIED_BY: Mapping[type, tuple[str, ...]] = {
    ProblemVerifier: tuple(VERIFIERS),
    AllOf: ("all_of",),
    WeightedSum: ("weighted_sum",),
    SafetyFirst: ("safety_first",),
    ByTask: ("by_task",),
    Format: ("format",),
    Length: ("length",),
    CosineLength: ("cosine_length",),
    Repetition: ("repetition",),
    Language: ("language",),
    ModelReward: ("reward_model",),
    JudgeReward: ("judge_pointwise",),
    Pairwise: ("judge_pairwise",),
    Pointwise: ("judge_pointwise",),
}
"""Which cases try each reward and judge that a recipe can name. A user's function has none but the
user's own, and a judge by likelihood reads no text of a model's: there is nothing to misread."""
