"""`burnish calibrate-judge`: how far an AI judge may be believed, measured on labelled pairs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.running import DeviceOption
from burnish.cli.terminal import cache_dir, remark, say
from burnish.errors import ConfigError, RunError

if TYPE_CHECKING:  # importing these takes longer than `burnish --help` may
    from burnish.stages.calibrate_judge import Label
    from burnish.verifiers.chat import Answer, Chat, Prices
    from burnish.verifiers.likelihood_judge import AnyJudge


def calibrate_judge(
    labels: Annotated[
        Path,
        typer.Argument(help="Pairs that people (or a rubric) labelled: docs/data.md, kind pairs."),
    ],
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="A server of OpenAI's form, as .../v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model, as that server calls it.")] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Name of the environment variable that holds the key.")
    ] = None,
    local: Annotated[
        str | None, typer.Option(metavar="RUN_OR_MODEL", help="A model of your own instead.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="pairwise or pointwise; with --local also pairwise_likelihood or "
            "pointwise_likelihood, for models too small to write a verdict."
        ),
    ] = "pairwise",
    rubric: Annotated[Path | None, typer.Option(help="A text file that says what counts.")] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Of an answer.")] = 256,
    samples: Annotated[int, typer.Option(help="Scores to average, with --kind pointwise.")] = 1,
    num: Annotated[int, typer.Option(help="Pairs, drawn at random.")] = 200,
    prompt_price: Annotated[float, typer.Option(help="Of a million prompt tokens.")] = 0.0,
    completion_price: Annotated[float, typer.Option(help="Of a million completion tokens.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.json"),
    device: DeviceOption = "cpu",
) -> None:
    """Measure an AI judge on labelled pairs; only a judge that has this may train anything."""
    from burnish.data.load import load_pairs
    from burnish.stages.calibrate_judge import chosen
    from burnish.verifiers.chat import Prices

    config = _judge(kind, rubric, temperature, max_tokens, samples)
    prices = Prices(prompt=prompt_price, completion=completion_price)
    pairs, counts = load_pairs(labels)
    if len(pairs) < counts["rows"]:
        left_out = {k: n for k, n in counts.items() if k not in ("rows", "used")}
        remark(f"of {counts['rows']} rows left out: {left_out}")
    chat = _chat(endpoint, model, key_env, local, device)
    _measure(config, chat, chosen(pairs, num, seed), prices, seed, out)


def _judge(
    kind: str, rubric: Path | None, temperature: float, max_tokens: int, samples: int
) -> "AnyJudge":
    from burnish.config import suggest
    from burnish.verifiers.judge import Pairwise, Pointwise
    from burnish.verifiers.judge_prompts import HELPFUL
    from burnish.verifiers.likelihood_judge import PairwiseLikelihood, PointwiseLikelihood

    words = HELPFUL
    if rubric is not None:
        try:
            words = rubric.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--rubric {rubric}: cannot be read as text") from error
    if kind == "pairwise":
        if samples != 1:
            raise ConfigError("--samples is for --kind pointwise")
        return Pairwise(rubric=words, temperature=temperature, max_tokens=max_tokens)
    if kind == "pointwise":
        return Pointwise(
            rubric=words, temperature=temperature, max_tokens=max_tokens, num_samples=samples
        )
    if kind in ("pairwise_likelihood", "pointwise_likelihood"):
        if samples != 1:
            raise ConfigError("--samples is for --kind pointwise")
        pairwise = kind == "pairwise_likelihood"
        return PairwiseLikelihood(rubric=words) if pairwise else PointwiseLikelihood(rubric=words)
    kinds = ["pairwise", "pointwise", "pairwise_likelihood", "pointwise_likelihood"]
    raise ConfigError(f"--kind {kind}; {suggest(kind, kinds)}")


def _chat(
    endpoint: str | None, model: str | None, key_env: str | None, local: str | None, device: str
) -> "Chat":
    if (endpoint is None) == (local is None):
        raise ConfigError("who is the judge? give --endpoint URL --model NAME, or --local MODEL")
    if endpoint is not None:
        from burnish.verifiers.endpoint import Endpoint

        if model is None:
            raise ConfigError("--endpoint needs --model NAME, as the server calls it")
        return Endpoint(base_url=endpoint, model=model, key_env=key_env).open(os.environ.get)
    if model is not None or key_env is not None:
        raise ConfigError("--model and --key-env are for --endpoint")
    from burnish.cli.models import find_model
    from burnish.engine.local_chat import LocalChat
    from burnish.engine.text_model import TextModel
    from burnish.models.device import chosen

    found = find_model(local or "")
    return LocalChat(TextModel.open(found.path, "bfloat16", chosen(device)))


def _measure(
    config: "AnyJudge",
    inner: "Chat",
    labels: "Sequence[Label]",
    prices: "Prices",
    seed: int,
    out: Path,
) -> None:
    from burnish.cli.table import table
    from burnish.evals.judge_calibration import judge_figures
    from burnish.stages import calibrate_judge as stage
    from burnish.stages.judging import cache_file, check_trust
    from burnish.verifiers.answer_cache import AnswerCache, CachedChat
    from burnish.verifiers.judge_reward import Trust

    chat = CachedChat(inner, AnswerCache(cache_file(cache_dir(), inner.name)))
    judge = config.by(chat)
    total = len(labels) * stage.num_questions(config)
    came = 0

    def on_answer(_index: int, _answer: "Answer") -> None:
        nonlocal came
        came += 1
        if came % 50 == 0 or came == total:
            remark(f"{came} of {total} answers")

    judged, _ = stage.judged_pairs(judge, labels, seed, on_answer)
    figures = judge_figures(judged)
    try:
        stage.save_calibration(out, judge, judged, figures)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror})") from error
    for line in table([list(row) for row in stage.table_of(figures)]):
        say(line)
    usage = chat.usage
    say(
        f"asked {usage.asked} (from the cache {usage.cached}): {usage.prompt_tokens} prompt and "
        f"{usage.completion_tokens} completion tokens, cost {usage.cost(prices):g}"
    )
    say(f"calibration: {out}")
    try:
        check_trust(out, judge.identity, Trust())
    except ConfigError as error:
        remark(f"it would be refused, with the usual `trust`: {error}")
