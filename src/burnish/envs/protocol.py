"""What an environment is to a language model: it starts an episode, and replies to each turn.

    opening = env.start(problem, key)              what the policy reads first, and a state
    reply = env.reply(opening.state, text)         what the turn brought, and the next state
    reply = env.reply(reply.state, text) ...       until it says that the episode is done

An environment holds nothing but its configuration. All that an episode changes is in its state,
which is immutable plain data: so episodes of one batch do not touch one another, a state can be
written down, and two different turns can be tried from the same one.

Left out: what a turn costs in tokens. Limits on turns and tokens are the engine's
(`engine.episodes.Limits`), and it counts what they cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from burnish.types import Conversation, Message, Problem, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """How an episode begins."""

    conversation: Conversation
    """What the policy reads before its first turn; it ends with a turn that is not its own."""
    state: object
    """Whatever `reply` needs of the episode: frozen data, never changed in place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What one turn of the policy brought."""

    state: object
    verdict: Verdict
    """What the episode is worth if it ends here. That is when it is `done`, or when a limit ends
    it: so every reply has one. A score of None takes the episode out of training."""
    done: bool
    """Nothing follows, by the environment's own rule."""
    messages: tuple[Message, ...] = ()
    """What the policy reads before its next turn; at least one unless `done`."""
    reward: float = 0.0
    """For this turn alone, on top of the verdict's score; it follows the turn's last token."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What happened, by name of a metric (`env/tool_calls`), summed over episodes and shown."""

    def __post_init__(self) -> None:
        assert self.done or self.messages, "a policy cannot go on from nothing"


class Env(Protocol):
    """An environment for a policy that writes text. Implementations are frozen dataclasses."""

    def start(self, problem: Problem, key: int) -> Opening:
        """Begin an episode of a problem. Whatever is random in it is drawn from streams of `key`,
        which all episodes of one group share.

        Raises:
            DataError: the problem is not one for this environment.
        """

    def reply(self, state: object, completion: str) -> Reply:
        """What follows a turn; never raises for what a model wrote."""
