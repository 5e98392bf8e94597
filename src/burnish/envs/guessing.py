"""A guessing game of several turns: which number, from low to high? Each guess is told where to go.

    user       ... a number from 1 to 31 ...
    assistant  Guess: 16
    user       higher
    assistant  Guess: 24
    user       correct

The best play is known: halving what is left needs at most floor(log2(n)) + 1 guesses of n numbers
(`fewest_guesses`), and is in expectation what no other rule of halves beats. A guess's own reward
is what it found out, in bits, as a share of all there is to find out:

    information_coef * log2(left before / left after) / log2(n)

The shares of an episode that finds the number add up to information_coef whatever the guesses, so
the coefficient says when credit comes, not how much of it a found number brings.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from burnish.config import require
from burnish.envs.protocol import Opening, Reply
from burnish.errors import DataError
from burnish.types import Conversation, Message, Problem, Verdict

TASK = "guessing"
_GUESS = re.compile(r"\s*(?:guess:\s*)?(\d{1,9})\s*\.?\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """The state: the secret, and what the answers so far leave of the range."""

    secret: int
    low: int
    high: int
    guesses: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GuessingGame:
    """The rules. Problems of another range than theirs are refused."""

    low: int = 1
    high: int = 31
    max_guesses: int = 8
    """After so many the game is lost; a turn that is no guess counts as one."""
    information_coef: float = 0.0
    """Reward for finding out, spread over the guesses by what each found out; 0: only the end
    counts."""
    role: Literal["user", "tool"] = "user"
    """Under which answers come."""

    def __post_init__(self) -> None:
        require(0 <= self.low < self.high < 10**9, "low and high: 0 <= low < high < 10^9")
        require(self.max_guesses >= 1, "max_guesses must be at least 1")
        require(self.information_coef >= 0, "information_coef must be at least 0")

    @property
    def fewest_guesses(self) -> int:
        """Enough for every number, by halving."""
        return (self.high - self.low + 1).bit_length()

    def problem(self, secret: int) -> Problem:
        """The game with this number."""
        text = (
            f"I think of a number from {self.low} to {self.high}. "
            'Find it: write "Guess:" and a number, and I say "higher", "lower" or "correct".'
        )
        return Problem(prompt=Conversation.of(text), task=TASK, answer=str(secret))

    def start(self, problem: Problem, key: int) -> Opening:
        """The problem's answer is the number."""
        del key
        secret = int(problem.answer) if problem.answer.isdecimal() else -1
        if problem.id != self.problem(secret).id or not self._holds(secret):
            raise DataError(
                f"problem {problem.prompt.last_user[:60]!r} with answer {problem.answer[:20]!r} is "
                f"not a game of {self.low} to {self.high}; use the stage guessing_problems with "
                "the same env"
            )
        game = Game(secret=secret, low=self.low, high=self.high)
        return Opening(conversation=problem.prompt, state=game)

    def reply(self, state: object, completion: str) -> Reply:
        """Higher, lower, or correct."""
        assert isinstance(state, Game)
        game = replace(state, guesses=state.guesses + 1)
        found = _GUESS.fullmatch(completion)
        if found is None:
            return self._answer(game, 'write "Guess:" and a number', counts={"env/malformed": 1})
        guess = int(found[1])
        if guess == game.secret:
            after = replace(game, low=guess, high=guess)
            return Reply(
                state=after,
                verdict=Verdict(score=1.0, passed=True, judge=TASK),
                done=True,
                reward=self._credit(game, after),
            )
        if guess < game.secret:
            after, word = replace(game, low=max(game.low, guess + 1)), "higher"
        else:
            after, word = replace(game, high=min(game.high, guess - 1)), "lower"
        return self._answer(after, word, reward=self._credit(game, after))

    def _holds(self, secret: int) -> bool:
        return self.low <= secret <= self.high

    def _credit(self, before: Game, after: Game) -> float:
        left = (before.high - before.low + 1) / (after.high - after.low + 1)
        return self.information_coef * math.log2(left) / math.log2(self.high - self.low + 1)

    def _answer(
        self, game: Game, text: str, *, reward: float = 0.0, counts: dict[str, int] | None = None
    ) -> Reply:
        over = game.guesses >= self.max_guesses
        return Reply(
            state=game,
            verdict=Verdict(score=0.0, passed=False, why=f"not {game.secret}", judge=TASK),
            done=over,
            messages=() if over else (Message(role=self.role, content=text),),
            reward=reward,
            counts=counts or {},
        )


def halving_guess(low: int, high: int) -> int:
    """The middle of what is left: the best guess."""
    return (low + high) // 2
