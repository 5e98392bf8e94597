"""Games of guessing a number, and how they are played by halving."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish import rng
from burnish.config import require, require_counts
from burnish.data.store import write_conversations, write_problems
from burnish.envs.guessing import Game, GuessingGame, halving_guess
from burnish.pipeline.stage import Context
from burnish.types import Conversation, Message


@dataclass(frozen=True, kw_only=True)
class GuessingProblems:
    """Secret numbers of a game, and episodes that find others: none is in two of the parts."""

    outputs: ClassVar[Mapping[str, str]] = {
        "train": "problems",
        "heldout": "problems",
        "demonstrations": "conversations",
    }

    num_heldout: int
    num_demonstrations: int
    """Numbers whose games are shown; what is left is trained on."""
    env: GuessingGame = GuessingGame()
    """The same as that of the stages that play."""

    def __post_init__(self) -> None:
        require_counts(self, "num_heldout", "num_demonstrations")
        require(
            self.env.max_guesses >= self.env.fewest_guesses,
            f"env.max_guesses={self.env.max_guesses}: halving needs {self.env.fewest_guesses}",
        )
        left = self.env.high - self.env.low + 1 - self.num_heldout - self.num_demonstrations
        require(
            left >= 1,
            "num_heldout and num_demonstrations leave no number of the game to train on",
        )

    def run(self, ctx: Context) -> None:
        low, high = self.env.low, self.env.high
        order = rng.stream(ctx.seed, "secrets").permutation(high - low + 1)
        secrets = [low + int(i) for i in order]
        shown, rest = secrets[: self.num_demonstrations], secrets[self.num_demonstrations :]
        problems = [self.env.problem(secret) for secret in rest]
        write_problems(ctx.output("heldout"), problems[: self.num_heldout])
        write_problems(ctx.output("train"), problems[self.num_heldout :])
        games = [halved(self.env, secret) for secret in shown]
        write_conversations(ctx.output("demonstrations"), games)
        ctx.write_samples({"prompt": g.messages[0].content, "completion": _text(g)} for g in games)


def halved(env: GuessingGame, secret: int) -> Conversation:
    """The game of a number, played by halving: every assistant's turn is the best one."""
    opening = env.start(env.problem(secret), 0)
    messages, state = list(opening.conversation.messages), opening.state
    while True:
        assert isinstance(state, Game)
        guess = f"Guess: {halving_guess(state.low, state.high)}"
        messages.append(Message(role="assistant", content=guess))
        reply = env.reply(state, guess)
        if reply.done:
            return Conversation(messages=tuple(messages))
        messages += reply.messages
        state = reply.state


def _text(game: Conversation) -> str:
    return "\n".join(f"[{m.role}] {m.content}" for m in game.messages[1:])
