"""`burnish chat`: talk to a model, or watch it continue plain text."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.running import DeviceOption
from burnish.cli.terminal import complain, remark, stream
from burnish.errors import BurnishError, DataError

if TYPE_CHECKING:  # importing it takes longer than `burnish --help` may
    from burnish.cli.dialogue import Dialogue

HELP = """\
/base          continue plain text instead of chatting, or back
/system TEXT   set the system prompt and begin again; without TEXT, take it away
/reset         forget the conversation
/help          this list
/quit          leave (also Ctrl-D); Ctrl-C stops an answer"""

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_MODEL",
        help="A run (its last trained model), RUN:STAGE, a model directory, or a known name.",
    ),
]
StageOption = Annotated[str | None, typer.Option(help="Of a run: the stage that made the model.")]


def chat(
    model: ModelArgument,
    stage: StageOption = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="Answer this and leave; - reads it from standard input.", metavar="TEXT"),
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Continue plain text, without the chat template.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.7,
    top_p: Annotated[
        float, typer.Option(help="Keep the likeliest tokens of this summed probability.")
    ] = 0.95,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Talk to a model; /help lists what else can be typed."""
    from burnish.cli.dialogue import Dialogue
    from burnish.cli.models import find_model
    from burnish.engine.text_model import TextModel
    from burnish.models.device import chosen
    from burnish.stages.sample import Draws

    draws = Draws(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
    found = find_model(model, stage)
    if found.run is not None and stage is None and found.others:
        remark(f"{found.name} of {found.run.dir}; --stage chooses: {', '.join(found.others)}")
    text = TextModel.open(found.path, "bfloat16", chosen(device))
    if not base and not text.tokenizer.chat_template:
        remark(f"{found.name} has no chat template: it continues plain text")
        base = True
    dialogue = Dialogue(
        text=text,
        draws=draws,
        seed=seed,
        show=stream,
        remark=remark,
        base=base,
        system=system,
    )
    if prompt is not None:
        dialogue.say(_input(sys.stdin.read).strip() if prompt == "-" else prompt)
        raise typer.Exit(130 if dialogue.interrupted else 0)
    if sys.stdin.isatty():
        remark(f"{found.name}; /help for help, Ctrl-D to leave")
    converse(dialogue)


def converse(dialogue: "Dialogue") -> None:
    """Answer line after line until the input ends or someone types /quit."""
    while (line := _line(dialogue)) is not None:
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return
        if not line:
            continue
        if line.startswith("/"):
            _command(dialogue, command, rest.strip())
            continue
        try:
            dialogue.say(line)
        except BurnishError as error:
            complain(str(error))


def _line(dialogue: "Dialogue") -> str | None:
    """A line without outer space; "" after Ctrl-C; None at the end of the input."""
    if not sys.stdin.isatty():
        raw = _input(sys.stdin.readline)
        return raw.strip() if raw else None
    import readline  # noqa: F401  gives input() its editing and history

    try:
        return input("text> " if dialogue.base else "you> ").strip()
    except EOFError:
        stream("\n")
        return None
    except KeyboardInterrupt:
        stream("\n")
        return ""


def _input(read: Callable[[], str]) -> str:
    try:
        return read()
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not {error.encoding} ({error.reason})") from error


def _command(dialogue: "Dialogue", command: str, rest: str) -> None:
    if command == "/help":
        remark(HELP)
    elif command == "/reset":
        dialogue.reset()
        remark("(forgotten)")
    elif command == "/system":
        dialogue.system = rest or None
        dialogue.reset()
        remark(f"(system prompt: {rest})" if rest else "(no system prompt)")
    elif command == "/base":
        _toggle(dialogue)
    else:
        remark(f"no command {command}; /help lists them")


def _toggle(dialogue: "Dialogue") -> None:
    if dialogue.base and not dialogue.text.tokenizer.chat_template:
        remark("(the model has no chat template: it can only continue plain text)")
        return
    dialogue.base = not dialogue.base
    remark("(continuing plain text)" if dialogue.base else "(chatting)")
