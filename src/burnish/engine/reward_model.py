"""Trained reward models at work: they score token ids, normalised on reference completions.

Heads are read at the end-of-turn token too, which is appended to a completion that was cut: in
training every completion ended with it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from burnish.config import build, plain, require
from burnish.engine.readings import Attributes, Ending, Outcome, Steps
from burnish.errors import ConfigError, ModelError
from burnish.models.load import Precision, open_causal_lm, open_head
from burnish.models.policy import Forest, Tree, micro_batches, read_tokens, share_prompts
from burnish.pipeline.files import write_json
from burnish.text.chat import turn_end
from burnish.text.tokenizer import load_tokenizer
from burnish.text.vocabulary import require_same_vocabulary
from burnish.types import Verdict

REWARD_FILE = "reward.json"
ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Mean and standard deviation of raw scores on reference completions."""

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """The members' mean score."""

    def combined(self, scores: Float[Tensor, "members N"]) -> Float[Tensor, " N"]:
        return scores.mean(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """The lowest of the members' scores (worst-case optimisation, Coste et al. 2310.02743)."""

    def combined(self, scores: Float[Tensor, "members N"]) -> Float[Tensor, " N"]:
        return scores.amin(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanMinusVariance:
    """mean - coef * variance over the members (uncertainty-weighted, Coste et al. 2310.02743)."""

    coef: float = 0.5
    """Raising it distrusts what the members disagree on."""

    def __post_init__(self) -> None:
        require(0 <= self.coef < float("inf"), "coef must be at least 0 and finite")

    def combined(self, scores: Float[Tensor, "members N"]) -> Float[Tensor, " N"]:
        return scores.mean(0) - self.coef * scores.var(0, correction=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """What lies beside a reward model's weights."""

    reading: Ending | Outcome | Steps | Attributes = Ending()
    scale: Scale = Scale()


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleConfig:
    """What lies beside the directories of an ensemble's members."""

    members: tuple[str, ...]
    combine: Average | Worst | MeanMinusVariance = Average()


_Config = TypeVar("_Config", RewardConfig, EnsembleConfig)


class RewardModel(Protocol):
    """One trained model, or several that judge together."""

    scored_tokens: int
    """Tokens multiplied so far."""

    def scores(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> list[float]:
        """One normalised score for each completion."""


def model_verdict(score: float) -> Verdict:
    """A reward model's score as a verdict; what is no number is no score, and says so."""
    if not math.isfinite(score):
        return Verdict(score=None, why=f"the reward model's score is {score}", judge="reward_model")
    return Verdict(score=score, judge="reward_model")


def head_outputs(model: nn.Module, head: nn.Module, trees: Sequence[Tree]) -> Float[Tensor, "N K"]:
    """The head's values at each flagged token of the trees, in the head's own precision."""
    weight = next(head.parameters())
    forest = Forest.of(trees, weight.device)
    return head(read_tokens(model, forest).to(weight.dtype))  # type: ignore[no-any-return]


class SingleRewardModel:
    """Weights, a head, and how to read it."""

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision,
        device: str,
        micro_tokens: int,
        policy: Path | None,
    ) -> None:
        self.config = _read(path / REWARD_FILE, RewardConfig)
        if policy is not None:
            require_same_vocabulary(policy, path)
        self._model = open_causal_lm(path, precision, device)
        self._head = open_head(path).to(device)
        self._micro_tokens = micro_tokens
        self._tokenizer = load_tokenizer(path)
        self._turn_end = turn_end(self._tokenizer)
        self.scored_tokens = 0

    @torch.no_grad()
    def scores(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> list[float]:
        """One normalised score for each completion."""
        reading, scale = self.config.reading, self.config.scale
        ended = [
            tuple(c) if c and c[-1] == self._turn_end else (*c, self._turn_end) for c in completions
        ]
        shared = share_prompts([tuple(p) for p in prompts], ended, self._micro_tokens)
        out = torch.zeros(len(ended))
        for index in micro_batches([t.num_tokens for t, _ in shared], self._micro_tokens):
            trees = [
                shared[i][0].flagged(lambda ids: reading.flags(ids, self._tokenizer)) for i in index
            ]
            rows = torch.tensor([row for i in index for row in shared[i][1]])
            counts = [sum(flags) for tree in trees for flags in tree.trained]
            parts = torch.split(head_outputs(self._model, self._head, trees), counts)
            out[rows] = torch.stack([reading.score(part) for part in parts]).cpu()
            self.scored_tokens += sum(tree.num_tokens for tree in trees)
        return ((out - scale.mean) / scale.std).tolist()


class RewardEnsemble:
    """Several reward models on one scale, and how their scores are combined."""

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision,
        device: str,
        micro_tokens: int,
        policy: Path | None,
    ) -> None:
        config = _read(path / ENSEMBLE_FILE, EnsembleConfig)
        self._combine = config.combine
        self._members = [
            SingleRewardModel(
                path / name,
                precision=precision,
                device=device,
                micro_tokens=micro_tokens,
                policy=policy,
            )
            for name in config.members
        ]
        self.scored_tokens = 0

    def scores(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> list[float]:
        """One combined score for each completion."""
        before = sum(member.scored_tokens for member in self._members)
        each = [member.scores(prompts, completions) for member in self._members]
        self.scored_tokens += sum(member.scored_tokens for member in self._members) - before
        return self._combine.combined(torch.tensor(each)).tolist()


def open_reward_model(
    path: Path,
    *,
    precision: Precision,
    micro_tokens: int,
    device: str = "cpu",
    policy: Path | None = None,
) -> RewardModel:
    """The reward model, or ensemble of them, in a directory that a stage wrote.

    `policy` is the model whose token ids it is going to read, where that is known.

    Raises:
        ModelError: there is none, it is damaged, or its tokenizer is not the policy's.
    """
    made = RewardEnsemble if (path / ENSEMBLE_FILE).is_file() else SingleRewardModel
    return made(path, precision=precision, device=device, micro_tokens=micro_tokens, policy=policy)


def save_config(path: Path, config: RewardConfig | EnsembleConfig) -> None:
    """Write how a reward model is read beside its weights."""
    name = REWARD_FILE if isinstance(config, RewardConfig) else ENSEMBLE_FILE
    write_json(path / name, plain(config))


def _read(file: Path, kind: type[_Config]) -> _Config:
    try:
        return build(kind, json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.parent}: no {file.name} there; a reward model was expected"
        ) from error
    except (ConfigError, ValueError, AttributeError) as error:
        raise ModelError(f"{file}: damaged ({error}); run its stage again") from error
