"""The numbers of Burnish, one thin function each, for tests of other people's making.

Everything here calls the very code that the trainers call: to break a function is to break
training. Tensors may be float64. Masked cells may hold anything, NaN included, and reach neither
value nor gradient. An unknown name or knob raises ConfigError with the valid ones; a knob that
would change nothing in the function asked for counts as unknown.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from burnish.algos.advantages import gae as _gae
from burnish.algos.apo_down import APODown
from burnish.algos.apo_zero import APOZero
from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.bradley_terry import bradley_terry_losses
from burnish.algos.cispo import CISPO
from burnish.algos.dapo import DAPO
from burnish.algos.dpo import DPO
from burnish.algos.dpo_norm import DPONorm
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.hinge import Hinge
from burnish.algos.ipo import IPO
from burnish.algos.kl import Estimator
from burnish.algos.kl import kl as _kl
from burnish.algos.kto import KTO
from burnish.algos.nca_pair import NCAPair
from burnish.algos.orpo import ORPO
from burnish.algos.pairs import PairLogprobs
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from burnish.algos.robust import Robust
from burnish.algos.rpo import RPO
from burnish.algos.simpo import SIMPO
from burnish.algos.sppo_hard import SPPOHard
from burnish.config import build, require, suggest
from burnish.data.schema import check_structure
from burnish.envs.gym import make_env
from burnish.errors import ConfigError, DataError
from burnish.evals.bradley_terry import bradley_terry_fit
from burnish.evals.fits import fit_coverage, fit_overoptimization
from burnish.evals.stats import best_of_n_kl, pass_at_k
from burnish.sandbox.judge import HiddenTests
from burnish.text.chat import TrainOn
from burnish.text.chat import encode as _encode
from burnish.types import Conversation, Json, Problem, Verdict, conversation_from_json
from burnish.verifiers.code import defines, last_function, limits_of, verify_function
from burnish.verifiers.instruction_following import problem_from_reference
from burnish.verifiers.verify import verify_problem

__all__ = [
    "advantages",
    "best_of_n_kl",
    "bradley_terry_fit",
    "bradley_terry_loss",
    "encode",
    "fit_coverage",
    "fit_overoptimization",
    "gae",
    "kl",
    "make_env",
    "pass_at_k",
    "policy_loss",
    "preference_loss",
    "run_code",
    "verify",
]

_Name = TypeVar("_Name", bound=str)
_Table = Mapping[str, tuple[type[Any], tuple[str, ...]]]
"""Name -> class and the knobs of it that matter here."""

_KL = ("kl_coef", "kl")
_POLICY_LOSSES: _Table = {
    "reinforce": (REINFORCE, _KL),
    "rloo": (RLOO, _KL),
    "reinforce_pp": (ReinforcePP, ("clip", *_KL)),
    "ppo": (PPO, ("clip", "dual_clip", *_KL)),
    "grpo": (GRPO, ("clip_low", "clip_high", *_KL)),
    "dr_grpo": (DrGRPO, ("clip_low", "clip_high", "budget", *_KL)),
    "dapo": (DAPO, ("clip_low", "clip_high", *_KL)),
    "gspo": (GSPO, ("clip_low", "clip_high", *_KL)),
    "cispo": (CISPO, ("clip_high", *_KL)),
}
_ADVANTAGES: _Table = {
    "reinforce": (REINFORCE, ("baseline",)),
    "rloo": (RLOO, ()),
    "reinforce_pp": (ReinforcePP, ("group_baseline",)),
    "grpo": (GRPO, ("std_eps",)),
    "dr_grpo": (DrGRPO, ()),
}
_PREFERENCE_LOSSES: _Table = {
    "dpo": (DPO, ("label_smoothing",)),
    "cdpo": (DPO, ("label_smoothing",)),
    "dpo_norm": (DPONorm, ()),
    "ipo": (IPO, ("per_token",)),
    "hinge": (Hinge, ()),
    "robust": (Robust, ("label_smoothing",)),
    "apo_zero": (APOZero, ()),
    "apo_down": (APODown, ()),
    "sppo_hard": (SPPOHard, ()),
    "nca_pair": (NCAPair, ()),
    "simpo": (SIMPO, ("gamma",)),
    "orpo": (ORPO, ()),
    "kto": (KTO, ("desirable", "undesirable")),
    "rpo": (RPO, ("eta",)),
}
_CDPO_SMOOTHING = 0.1
"""What conservative DPO assumes of its labels where nobody says."""
_KL_KINDS: tuple[Estimator, ...] = get_args(Estimator)
_TRAIN_ON: tuple[TrainOn, ...] = get_args(TrainOn)


def policy_loss(
    algo: str,
    *,
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"] | Float[Tensor, " B"],
    response_mask: Bool[Tensor, "B T"],
    ref_logprobs: Float[Tensor, "B T"] | None = None,
    **knobs: float | str,
) -> Float[Tensor, ""]:
    """The policy's loss over one whole optimiser step; advantages may be one a row.

    reinforce, rloo, reinforce_pp and ppo (`clip`; ppo also `dual_clip`, and without its value
    loss), grpo, dapo and gspo (`clip_low`, `clip_high`), dr_grpo (also `budget`; none: T), cispo
    (`clip_high`). `kl_coef` adds a penalty in the loss, `kl` says which: loss_k2, loss_k3,
    loss_weighted_k3. Rows without any decision are left out, as in training.

    Raises:
        ConfigError: an unknown name or knob, `kl_coef` without `ref_logprobs`, or a penalty that
            sits in the reward and so is no part of the loss.
    """
    fixed = {"value_coef": 0.0} if algo == "ppo" else {}
    algorithm = _made("policy loss", algo, _POLICY_LOSSES, knobs, fixed)
    if algorithm.kl_coef and algorithm.kl == "reward_k1":
        raise ConfigError(
            f"{algo}: kl=reward_k1 is part of the advantages, not of the loss; leave kl_coef out, "
            "or use kl=loss_k2, loss_k3 or loss_weighted_k3"
        )
    if "ref_logprobs" in algorithm.needs() and ref_logprobs is None:
        raise ConfigError(f"{algo} with kl_coef above 0 needs ref_logprobs")
    mask = response_mask.bool()
    nothing = torch.zeros_like(logprobs.detach())
    batch = RolloutBatch(
        mask=mask,
        rewards=nothing,
        scores=nothing[:, 0],
        group=torch.zeros(len(mask), dtype=torch.int64, device=mask.device),
        terminated=torch.zeros_like(mask),
        truncated=torch.zeros_like(mask),
        sampler_logprobs=old_logprobs,
        old_logprobs=old_logprobs,
        ref_logprobs=ref_logprobs,
        values=nothing,
        advantages=advantages[:, None].expand(mask.shape) if advantages.dim() == 1 else advantages,
        returns=nothing,
    )
    usable = mask.any(dim=1).nonzero()[:, 0]
    step = algorithm.weights(batch.rows(usable))
    new = PolicyOutputs(logprobs=logprobs[usable], entropy=step.values, values=step.values)
    loss: Tensor = algorithm.loss(step, new).total
    return loss


def advantages(
    kind: str,
    *,
    rewards: Float[Tensor, " N"] | Sequence[float | None],
    group_ids: Int[Tensor, " N"] | Sequence[int],
    **knobs: float | bool,
) -> Float[Tensor, " N"]:
    """Each completion's advantage: reinforce (`baseline`), rloo, reinforce_pp (`group_baseline`),
    grpo (`std_eps`; Bessel's deviation), dr_grpo.

    A reward that is None or not finite is unscorable: advantage 0, left out of the baseline. Groups
    whose scores are all equal get exactly 0.

    Raises:
        ConfigError: an unknown kind or knob, lengths that differ, or, for grpo, a group of one.
    """
    algorithm = _made("advantage", kind, _ADVANTAGES, knobs, {})
    scores = _scores(rewards)
    ids = torch.as_tensor(group_ids, device=scores.device)
    require(
        scores.shape == ids.shape and scores.dim() == 1,
        f"rewards {tuple(scores.shape)} and group_ids {tuple(ids.shape)} must be of one length",
    )
    _, group, sizes = torch.unique(ids, return_inverse=True, return_counts=True)
    require(
        not algorithm.compares_groups or not bool((sizes == 1).any()),
        f"{kind} compares the completions of a group: every group needs at least 2",
    )
    column = torch.zeros_like(scores)[:, None]
    no = torch.zeros_like(column, dtype=torch.bool)
    batch = RolloutBatch(
        mask=scores.isfinite()[:, None],
        rewards=scores[:, None],
        scores=scores,
        group=group,
        terminated=no,
        truncated=no,
        sampler_logprobs=column,
    )
    found: Tensor = algorithm.advantages(batch).advantages
    return found[:, 0]


def gae(
    *,
    rewards: Float[Tensor, "T B"],
    values: Float[Tensor, "T B"],
    terminated: Bool[Tensor, "T B"],
    truncated: Bool[Tensor, "T B"],
    next_values: Float[Tensor, "T B"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "T B"], Float[Tensor, "T B"]]:
    """(advantages, returns), time first. next_values[t]: of the state that decision t led to.

    A terminated step does not bootstrap, any other does from `next_values`; neither a terminated
    nor a truncated one passes an advantage back.
    """
    found, returns = _gae(
        rewards=rewards.T,
        values=values.T,
        next_values=next_values.T,
        terminated=terminated.T.bool(),
        truncated=truncated.T.bool(),
        mask=torch.ones_like(rewards.T, dtype=torch.bool),
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    return found.T, returns.T


def kl(kind: str, *, policy: Float[Tensor, "*S"], ref: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Estimates of KL(policy || ref) from logprobs of tokens sampled from the policy: k1, k2, k3.

    Raises:
        ConfigError: an unknown kind.
    """
    return _kl(_one_of("KL estimator", kind, _KL_KINDS), policy=policy, ref=ref)


def preference_loss(
    kind: str,
    *,
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    ref_chosen: Float[Tensor, " B"] | None,
    ref_rejected: Float[Tensor, " B"] | None,
    len_chosen: Int[Tensor, " B"],
    len_rejected: Int[Tensor, " B"],
    beta: float,
    margin: Float[Tensor, " B"] | None = None,
    **knobs: float,
) -> Float[Tensor, " B"]:
    """Each pair's loss from summed log-probabilities, `beta` above 0.

    dpo and cdpo (`label_smoothing`, 0 and .1), dpo_norm, ipo (`per_token`, as TRL), hinge, robust
    (`label_smoothing`), apo_zero, apo_down, sppo_hard, nca_pair, simpo (`gamma`), orpo, kto
    (`desirable`, `undesirable`; the mean of its two answers' losses), rpo (`eta`; reads `margin`,
    the difference of the pair's rewards, which no other does). Lengths are in tokens; simpo and
    orpo read no reference.

    Raises:
        ConfigError: an unknown kind or knob, one out of range, or rpo without `margin`.
    """
    default = {"label_smoothing": _CDPO_SMOOTHING} if kind == "cdpo" else {}
    algorithm = _made(
        "preference loss", kind, _PREFERENCE_LOSSES, {**default, **knobs}, {"beta": beta}
    )
    if (kind == "rpo") != (margin is not None):
        raise ConfigError("margin is what rpo reads, and needs; no other loss has a use for it")
    pairs = PairLogprobs(
        policy_chosen=policy_chosen,
        policy_rejected=policy_rejected,
        ref_chosen=ref_chosen,
        ref_rejected=ref_rejected,
        len_chosen=len_chosen,
        len_rejected=len_rejected,
        margin=margin,
    )
    losses: Tensor = algorithm.losses(pairs)
    return losses


def bradley_terry_loss(
    chosen: Float[Tensor, " B"],
    rejected: Float[Tensor, " B"],
    *,
    margin: Float[Tensor, " B"] | None = None,
    center_coef: float = 0.0,
) -> Float[Tensor, ""]:
    """The mean loss of pairs of scores, in nats."""
    return bradley_terry_losses(chosen, rejected, margin=margin, center_coef=center_coef).mean()


def verify(task: str, completion: str, reference: object) -> Verdict:
    """The verdict on a completion; what passes stands in docs/verifiers.md.

    exact: the text after `Answer:`. gsm8k: a number; the reference may be GSM8K's whole answer.
    math: an expression in LaTeX, boxed. choice: a letter. instruction_following: IFEval's
    `instruction_id_list` and `kwargs`, with the `prompt` where one repeats it. code: `tests` (text,
    or a mapping that may hold `entry_point` and `prompt_code` too).

    Raises:
        ConfigError: an unknown task, or a reference that the task cannot use.
    """
    known = _PROBLEMS[_one_of("task", task, _PROBLEMS)]
    try:
        return verify_problem(known(task, reference), completion)
    except DataError as error:
        raise ConfigError(f"reference: {error}") from error


def run_code(source: str, *, tests: str, timeout_s: float, memory_mb: int) -> Verdict:
    """Passed when the tests pass on the source, each in a box of its own.

    tests: asserts that call the source's functions by name, or a function `check` of one argument,
    which gets the last function that the source defines.

    Raises:
        ConfigError: a limit is not above 0.
        DataError: the tests are not Python.
        SandboxError: this machine cannot box untrusted code.
    """
    entry_point = last_function(source) if defines(tests, "check") else ""
    found = HiddenTests(source=tests, entry_point=entry_point)
    limits = limits_of(timeout_s=timeout_s, memory_mb=memory_mb)
    return verify_function(source, found, limits=limits)


def encode(
    conversation: list[dict[str, Json]],
    *,
    tokenizer: PreTrainedTokenizerFast,
    train_on: str = "assistant",
) -> tuple[list[int], list[bool]]:
    """Token ids of the chat template, and which of them are labels.

    train_on: "assistant" turns with the token that ends them, only the "last" of them, or "all".

    Raises:
        ConfigError: an unknown `train_on`.
        DataError: the conversation is malformed, or has no turn to train on.
        TemplateError: the tokenizer has no usable chat template.
    """
    labels = _one_of("train_on", train_on, _TRAIN_ON)
    parsed = conversation_from_json({"messages": list(conversation)}, "conversation")
    check_structure(parsed, "conversation")
    found = _encode(parsed, tokenizer, labels)
    return list(found.ids), list(found.mask)


def _with_answer(task: str, reference: object) -> Problem:
    """A problem without a question, whose reference is text or a number."""
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        raise ConfigError(f"reference must be text or a number, not {type(reference).__name__}")
    return Problem(prompt=Conversation.of(""), task=task, answer=str(reference))


def _with_tests(task: str, reference: object) -> Problem:
    fields = {"tests": reference} if isinstance(reference, str) else reference
    if not isinstance(fields, Mapping) or not isinstance(fields.get("tests"), str):
        raise ConfigError("reference must be tests as text, or a mapping with `tests`")
    return Problem(prompt=Conversation.of(""), task=task, meta=json.dumps(dict(fields)))


def _with_instructions(task: str, reference: object) -> Problem:
    if not isinstance(reference, Mapping):
        raise ConfigError(
            "reference must be a mapping with `instruction_id_list` and `kwargs`, not "
            f"{type(reference).__name__}"
        )
    return problem_from_reference(reference)


_PROBLEMS: Mapping[str, Callable[[str, object], Problem]] = {
    "choice": _with_answer,
    "code": _with_tests,
    "exact": _with_answer,
    "gsm8k": _with_answer,
    "instruction_following": _with_instructions,
    "math": _with_answer,
}
"""Task -> the problem that a bare reference stands for."""


def _made(
    what: str,
    name: str,
    table: _Table,
    knobs: Mapping[str, float | str],
    fixed: Mapping[str, float],
) -> Any:
    """The algorithm of that name, built as a recipe builds it."""
    kind, valid = table[_one_of(what, name, tuple(table))]
    for knob in knobs:
        if not valid:
            raise ConfigError(f"{what} {name} has no knob `{knob}`, nor any other")
        _one_of(f"knob of {what} {name}", knob, valid)
    return build(kind, {**knobs, **fixed})


def _one_of(what: str, name: str, valid: Iterable[_Name]) -> _Name:
    names = {str(v): v for v in valid}
    if name in names:
        return names[name]
    near = suggest(name, names)
    listed = f"valid: {', '.join(sorted(names))}"
    raise ConfigError(f"no {what} `{name}`; {near if near == listed else f'{near} {listed}'}")


def _scores(rewards: Tensor | Sequence[float | None]) -> Tensor:
    if isinstance(rewards, Tensor) and rewards.is_floating_point():
        return rewards
    values = rewards.tolist() if isinstance(rewards, Tensor) else rewards
    for i, reward in enumerate(values):
        if reward is not None and not isinstance(reward, int | float):
            raise ConfigError(f"rewards[{i}] must be a number or None, not {reward!r}")
    return torch.tensor([math.nan if r is None else float(r) for r in values], dtype=torch.float64)
