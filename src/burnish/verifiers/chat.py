"""Who answers a judge's questions: the seam between judges and the models behind them.

A server that speaks OpenAI's form (`endpoint`), a model of ours (`engine.local_chat`), and, in
tests, a script. Judges know nothing of where answers come from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish.config import require
from burnish.types import Message

OnAnswer = Callable[[int, "Answer"], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Messages to be answered, and how to draw the answer.

    An equal question has an equal answer, as far as the server keeps to `seed`: caches go by that.
    """

    messages: tuple[Message, ...]
    seed: int
    temperature: float
    """0 takes the likeliest token."""
    max_tokens: int
    choices: tuple[str, ...] = ()
    """Nothing is drawn then: the answer's text is a JSON list of each one's log-probability as the
    whole answer, its end included. Only models of ours can tell."""

    @classmethod
    def of(cls, text: str, *, seed: int, temperature: float, max_tokens: int) -> "Question":
        """One user turn. Greedy answers do not depend on the seed, so theirs is always 0."""
        return cls(
            messages=(Message(role="user", content=text),),
            seed=seed & 0x7FFFFFFF if temperature > 0 else 0,
            temperature=temperature,
            max_tokens=max_tokens,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back; tokens are None where the server does not say."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chat(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """Which model this is: equal names promise equal answers in distribution."""

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        """Answers in order; `on_answer(index, answer)` as they come, in the calling thread.

        What `on_answer` raises ends the asking.

        Raises:
            EndpointError: the server cannot be reached or answers wrongly, after all retries.
            ConfigError: it refuses the key, the model or the question.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What tokens cost, in any currency, a million; 0 for a model of one's own."""

    prompt: float = 0.0
    completion: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.prompt < float("inf"), "prompt must be at least 0")
        require(0 <= self.completion < float("inf"), "completion must be at least 0")


@dataclass(slots=True)
class Usage:
    """What asking has cost so far. Cached answers were paid for before."""

    asked: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    """Answers whose server gave no count of tokens: they are missing in the cost."""

    def add(self, answer: Answer) -> None:
        """Count a fresh answer."""
        self.asked += 1
        self.prompt_tokens += answer.prompt_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0
        self.unmetered += answer.prompt_tokens is None or answer.completion_tokens is None

    def cost(self, prices: Prices) -> float:
        """In the prices' currency."""
        paid = self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion
        return paid / 1e6
