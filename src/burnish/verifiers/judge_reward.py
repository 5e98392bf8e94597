"""An AI judge as a reward, and what it must have shown before it may be one."""

from dataclasses import dataclass

from burnish.config import require
from burnish.errors import ConfigError
from burnish.models.load import Precision
from burnish.pipeline.artifact import CalibrationRef, ModelRef
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Pointwise
from burnish.verifiers.likelihood_judge import PointwiseLikelihood


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model of this run, or one that it loads."""

    model: ModelRef
    precision: Precision = "bfloat16"
    max_rows: int = 64
    """Answers in progress at one time."""

    def __post_init__(self) -> None:
        require(self.max_rows >= 1, "max_rows must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What a judge's calibration must show before its labels train anything."""

    min_agreement: float = 0.5
    """The whole interval of its agreement with labels must lie above this; .5 is a coin."""
    min_swap_consistency: float = 0.6
    """Share of pairs with the same verdict in both orders."""
    max_unread: float = 0.2
    """Share of pairs without a readable verdict."""

    def __post_init__(self) -> None:
        for name, value in (
            ("min_agreement", self.min_agreement),
            ("min_swap_consistency", self.min_swap_consistency),
            ("max_unread", self.max_unread),
        ):
            require(0 <= value <= 1, f"{name} must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class JudgeReward:
    """An AI judge's score as a reward: calibrated like a judge that annotates."""

    by: Endpoint | LocalModel
    """Who answers."""
    judge: Pointwise | PointwiseLikelihood = Pointwise()
    calibration: CalibrationRef | None = None
    calibration_file: str = ""
    """What `burnish calibrate-judge` wrote, where no stage calibrates."""
    trust: Trust = Trust()

    def __post_init__(self) -> None:
        require_calibration(self.by, self.calibration, self.calibration_file)


def require_calibration(
    by: Endpoint | LocalModel, calibration: CalibrationRef | None, file: str
) -> None:
    """Raises: ConfigError, where a judge is given neither or both."""
    require(calibration is None or not file, "calibration_file is given beside calibration: one")
    if calibration is None and not file:
        raise ConfigError(
            "calibration is missing: a judge's labels train only after it was measured on labels; "
            f"add a calibrate_judge stage, or run `{command(by)}` and set calibration_file"
        )


def command(by: Endpoint | LocalModel) -> str:
    """What calibrates this judge on the command line."""
    who = "--local MODEL"
    if isinstance(by, Endpoint):
        who = f"--endpoint {by.base_url} --model {by.model}"
        who += "" if by.key_env is None else f" --key-env {by.key_env}"
    return f"burnish calibrate-judge LABELS.jsonl {who}"
