"""What stages that ask a model have in common: who answers, what it cost, and whom to trust.

A judge's labels train something only if this very judge was measured on labels first, and was good
enough: the gate is here.
"""

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from burnish.engine.judge_scorer import JudgeScorer
from burnish.engine.local_chat import LocalChat
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, DataError, Interrupted
from burnish.pipeline.artifact import CalibrationRef
from burnish.pipeline.stage import Context
from burnish.types import content_hash
from burnish.verifiers.answer_cache import AnswerCache, CachedChat
from burnish.verifiers.chat import Answer, OnAnswer
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Identity, Judge
from burnish.verifiers.judge_reward import JudgeReward, LocalModel, Trust
from burnish.verifiers.likelihood_judge import AnyJudge


def open_judge(ctx: Context, reward: JudgeReward, stack: ExitStack) -> JudgeScorer:
    """Ready to score; what asking took is put beside the stage when `stack` ends.

    Raises:
        ConfigError: it is not calibrated, or not well enough.
    """
    chat = open_chat(ctx, reward.by)
    judge = reward.judge.by(chat)
    check_trust(
        calibration_path(ctx, reward.calibration, reward.calibration_file),
        judge.identity,
        reward.trust,
    )
    stack.callback(tally_usage, ctx, chat, reward.by)
    return JudgeScorer(judge, seed=ctx.seed, usage=chat.usage)


def open_chat(ctx: Context, by: Endpoint | LocalModel) -> CachedChat:
    """Who answers, with the answers that are kept between runs."""
    chat = (
        by.open(ctx.secret)
        if isinstance(by, Endpoint)
        else LocalChat(
            TextModel.open(ctx.input(by.model), by.precision, ctx.device), max_rows=by.max_rows
        )
    )
    return CachedChat(chat, AnswerCache(cache_file(ctx.cache, chat.name)))


def cache_file(cache: Path, chat: str) -> Path:
    """Where the answers of one model are kept."""
    return cache / "answers" / f"{content_hash(chat)}.jsonl"


def asking(ctx: Context, total: int) -> OnAnswer:
    """Shows progress, and ends the asking when the process is to stop; answers are kept."""
    progress = ctx.progress(total, "answer")
    done = 0

    def on_answer(_index: int, _answer: Answer) -> None:
        nonlocal done
        done += 1
        progress.update(done, "")
        if ctx.stopping():
            raise Interrupted()

    return on_answer


def tally_usage(ctx: Context, chat: CachedChat, by: Endpoint | LocalModel) -> None:
    """Put what asking took beside the stage."""
    usage = chat.usage
    ctx.tally("questions asked", usage.asked)
    ctx.tally("answers from the cache", usage.cached)
    ctx.tally("prompt tokens of answers", usage.prompt_tokens)
    ctx.tally("completion tokens of answers", usage.completion_tokens)
    if isinstance(by, Endpoint):
        ctx.tally("cost of answers", usage.cost(by.prices))
        ctx.count("answers whose server counts no tokens", usage.unmetered, usage.asked)
    else:
        ctx.spend(sampled_tokens=usage.completion_tokens, scored_tokens=usage.prompt_tokens)
    if chat.num_damaged:
        ctx.count("damaged lines of the answer cache passed over", chat.num_damaged)


def calibration_path(ctx: Context, calibration: CalibrationRef | None, file: str) -> Path:
    """Where the calibration lies."""
    return Path(file) if calibration is None else ctx.input(calibration)


def calibration_text(file: str) -> str:
    """For fingerprints: the content of a file that is no artifact; "" for none.

    Raises:
        ConfigError: it cannot be read.
    """
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"calibration_file={file}: cannot be read; write it with `burnish calibrate-judge`"
        ) from error


def check_trust(path: Path, identity: Identity, trust: Trust) -> None:
    """Pass where the file calibrates exactly this judge, and what it says is good enough.

    Raises:
        ConfigError: it does not; says what is missing.
        DataError: the file is no calibration.
    """
    found = _read(path)
    theirs, ours = found["judge"], identity.to_json()
    differing = [key for key, value in ours.items() if theirs.get(key) != value]
    if differing:
        shown = ", ".join(f"{k} is {ours[k]}, calibrated was {theirs.get(k)}" for k in differing)
        raise ConfigError(
            f"{path}: calibrates another judge ({shown}); run `burnish calibrate-judge` or a "
            "calibrate_judge stage with this judge's settings"
        )
    figures = found["figures"]
    low = _number(figures, "agreement", "low")
    swap = _number(figures, "swap_consistency", "estimate")
    unread = _number(figures, "unread", "estimate")
    # Written so that a figure that is not a number fails.
    if not low > trust.min_agreement:
        agreement = _number(figures, "agreement", "estimate")
        wrong = (
            f"its agreement with labels is {agreement:.3f}, and may be as low as {low:.3f}: not "
            f"above min_agreement={trust.min_agreement}"
        )
    elif not swap >= trust.min_swap_consistency:
        wrong = (
            f"its verdicts are the same in both orders for {swap:.3f} of the pairs: below "
            f"min_swap_consistency={trust.min_swap_consistency}"
        )
    elif not unread <= trust.max_unread:
        wrong = (
            f"{unread:.3f} of its pairs had no readable verdict: over max_unread={trust.max_unread}"
        )
    else:
        return
    raise ConfigError(
        f"{path}: this judge may not train anything: {wrong}; take a better one, or calibrate on "
        "more labels"
    )


def judge_of(judge: AnyJudge, chat: CachedChat) -> Judge:
    """The judge, with who answers."""
    return judge.by(chat)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such calibration; write it with `burnish calibrate-judge`"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a calibration ({error})") from error
    parts = [found.get(key) for key in ("judge", "figures")] if isinstance(found, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise DataError(f"{path}: no calibration; write it with `burnish calibrate-judge`")
    return found  # type: ignore[no-any-return]


def _number(figures: Mapping[str, Any], name: str, part: str) -> float:
    """NaN where there is none."""
    found = figures.get(name)
    value = found.get(part) if isinstance(found, dict) else None
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real and value is not None else math.nan
