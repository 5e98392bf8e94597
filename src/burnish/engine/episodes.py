"""Episodes of several turns, token-exact: what is trained on are the very ids that were sampled.

All running episodes take their next turn in one call of the sampler. A turn's prompt is the
opening, then every id so far: the policy's as it sampled them, and between its turns those of the
chat template's text. Nothing is tokenised twice. Draws are keyed by problem, episode and turn, so
they do not depend on which other episodes still run.

Left out: keeping keys and values from turn to turn; each turn reads its prompt anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal, Protocol

from burnish import rng
from burnish.config import require
from burnish.engine.protocols import Request, Sampler, Sampling
from burnish.envs.protocol import Env, Opening, Reply
from burnish.errors import ConfigError
from burnish.types import Completion, Conversation, Finish, Message, Problem, Verdict

Cut = Literal["", "tokens", "context", "turns"]
"""What ended an episode that was not done: the limit of a turn, of all of it, or of turns."""


class Chat(Protocol):
    """How conversations become token ids, and ids text: `engine.text_model.TextModel` is one."""

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids up to where the assistant's turn begins."""

    def between(self, conversation: Conversation, replies: Sequence[Message]) -> tuple[int, ...]:
        """Ids from behind the stop token of the assistant's last turn to its next one."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text without control tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an episode may take, besides the tokens of one turn. What is cut is counted."""

    max_turns: int = 8
    """Turns of the policy."""
    max_context: int | None = None
    """Tokens of the whole episode, opening included; none: as many as the model can read."""

    def __post_init__(self) -> None:
        require(self.max_turns >= 1, "max_turns must be at least 1")
        require(self.max_context is None or self.max_context >= 2, "max_context must be at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """`num` episodes of one problem, a group: they share what is random in the environment."""

    problem: Problem
    key: int
    """Of the policy's draws."""
    env_key: int
    num: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One turn of the policy, and what it brought."""

    completion: Completion
    text: str
    reply: Reply
    between: tuple[int, ...] = ()
    """Ids that follow the completion, up to the next turn; none after the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """One episode."""

    problem: Problem
    opening: Conversation
    prompt: tuple[int, ...]
    turns: tuple[Turn, ...]
    cut: Cut = ""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Every id after the prompt."""
        return tuple(i for turn in self.turns for i in (*turn.completion.tokens, *turn.between))

    @property
    def sampled(self) -> tuple[bool, ...]:
        """Which of `tokens` the policy sampled."""
        return tuple(
            flag
            for turn in self.turns
            for flag in (True,) * len(turn.completion.tokens) + (False,) * len(turn.between)
        )

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Of each of `tokens`; 0 where it was not sampled."""
        return tuple(
            value
            for turn in self.turns
            for value in (*turn.completion.logprobs, *(0.0,) * len(turn.between))
        )

    @property
    def turn_ends(self) -> tuple[int, ...]:
        """The place of each turn's last sampled token in `tokens`."""
        sizes = [len(turn.completion.tokens) + len(turn.between) for turn in self.turns]
        starts = [0, *accumulate(sizes)][:-1]
        return tuple(
            start + len(turn.completion.tokens) - 1
            for start, turn in zip(starts, self.turns, strict=True)
        )

    @property
    def verdict(self) -> Verdict:
        """Of the last reply."""
        return self.turns[-1].reply.verdict

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, as text."""
        return (
            *self.opening.messages,
            *(m for turn in self.turns for m in (_said(turn.text), *turn.reply.messages)),
        )

    @property
    def num_sampled(self) -> int:
        """Tokens that the policy sampled."""
        return sum(len(turn.completion.tokens) for turn in self.turns)

    @property
    def transcript(self) -> str:
        """What came after the opening, for people: each message under its role."""
        shown = self.messages[len(self.opening.messages) :]
        return "\n".join(f"[{m.role}] {m.content}" for m in shown)


@dataclass(slots=True)
class _Running:
    """An episode in progress."""

    start: Start
    index: int
    opening: Opening
    prompt: tuple[int, ...]
    state: object
    conversation: Conversation
    ids: list[int]
    turns: list[Turn] = field(default_factory=list)
    cut: Cut = ""
    done: bool = False

    def finished(self) -> Trajectory:
        return Trajectory(
            problem=self.start.problem,
            opening=self.opening.conversation,
            prompt=self.prompt,
            turns=tuple(self.turns),
            cut=self.cut,
        )


def play(
    starts: Sequence[Start],
    *,
    env: Env,
    chat: Chat,
    sampler: Sampler,
    sampling: Sampling,
    limits: Limits,
    context: int,
) -> list[list[Trajectory]]:
    """`num` episodes of each start, in order. `context` is what the model can read, in tokens.

    Raises:
        ConfigError: an opening leaves no room for a turn.
        DataError: a problem is not one for the environment.
        TemplateError: the chat template cannot write what the environment says.
    """
    most = min(context, limits.max_context or context)
    groups = [_open(start, env, chat, most) for start in starts]
    running = [episode for group in groups for episode in group]
    for turn in range(limits.max_turns):
        if not running:
            break
        requests = (
            # Of one prompt still: it is read once for all its episodes.
            [_first(group, sampling, most) for group in groups]
            if turn == 0
            else [_next(episode, turn, sampling, most) for episode in running]
        )
        drawn = [c for found in sampler.sample(requests, sampling) for c in found]
        for episode, completion in zip(running, drawn, strict=True):
            last = turn + 1 == limits.max_turns
            _advance(episode, completion, env, chat, most, sampling, last=last)
        running = [e for e in running if not (e.done or e.cut)]
    return [[episode.finished() for episode in group] for group in groups]


def _open(start: Start, env: Env, chat: Chat, most: int) -> list[_Running]:
    opening = env.start(start.problem, start.env_key)
    prompt = chat.prompt(opening.conversation)
    if len(prompt) >= most:
        raise ConfigError(
            f"an opening of {len(prompt)} tokens leaves no room for a turn within {most}; raise "
            "limits.max_context, or shorten the problems"
        )
    return [
        _Running(start, i, opening, prompt, opening.state, opening.conversation, list(prompt))
        for i in range(start.num)
    ]


def _first(group: Sequence[_Running], sampling: Sampling, most: int) -> Request:
    start = group[0].start
    return Request(
        prompt=group[0].prompt,
        key=start.key,
        num=start.num,
        max_new_tokens=min(sampling.max_new_tokens, most - len(group[0].prompt)),
    )


def _next(episode: _Running, turn: int, sampling: Sampling, most: int) -> Request:
    return Request(
        prompt=tuple(episode.ids),
        key=rng.key(episode.start.key, "turn", turn, episode.index),
        max_new_tokens=min(sampling.max_new_tokens, most - len(episode.ids)),
    )


def _advance(
    episode: _Running,
    completion: Completion,
    env: Env,
    chat: Chat,
    most: int,
    sampling: Sampling,
    *,
    last: bool,
) -> None:
    """Take a turn into an episode: reply, and say whether and why it ends."""
    text = chat.decode(completion.tokens)
    reply = env.reply(episode.state, text)
    turn = Turn(completion=completion, text=text, reply=reply)
    episode.ids += completion.tokens
    episode.state, episode.done = reply.state, reply.done
    if completion.finish is Finish.LENGTH:
        # A turn without an end cannot be followed by another: no policy would write such a text.
        short = len(completion.tokens) < sampling.max_new_tokens
        episode.cut = "context" if short else "tokens"
    elif not reply.done and last:
        episode.cut = "turns"
    elif not reply.done:
        spoken = (*episode.conversation.messages, _said(text))
        so_far = replace(episode.conversation, messages=spoken)
        between = chat.between(so_far, reply.messages)
        if len(episode.ids) + len(between) >= most:
            episode.cut = "context"
        else:
            turn = replace(turn, between=between)
            episode.ids += between
            episode.conversation = replace(so_far, messages=(*spoken, *reply.messages))
    episode.turns.append(turn)


def _said(text: str) -> Message:
    return Message(role="assistant", content=text)
