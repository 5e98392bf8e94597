"""The stage that gives prompts constraints which a program checks."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.config import require, require_counts
from burnish.data.everyday import everyday_digest, instructions
from burnish.data.store import read_conversations, read_problems, write_problems
from burnish.envs.constrained import Constraints, constrained_problems
from burnish.envs.constraints import constraints_digest
from burnish.pipeline.artifact import ConversationsRef, ProblemsRef
from burnish.pipeline.stage import Context
from burnish.types import Conversation
from burnish.verifiers.instruction_following import instructions_of


@dataclass(frozen=True, kw_only=True)
class ConstrainedPrompts:
    """Prompts -> problems with randomly drawn constraints that go together, for RLVR.

    Split so that no base prompt is in both parts; a base is used again, with other constraints,
    where there are fewer than asked for. Their verifier is `instruction_following`.
    """

    outputs: ClassVar[Mapping[str, str]] = {"train": "problems", "heldout": "problems"}

    num_train: int
    num_heldout: int
    constraints: Constraints = Constraints()
    problems: ProblemsRef | None = None
    """Whose prompts are given constraints; none: the packaged everyday instructions without any."""
    conversations: ConversationsRef | None = None
    """Instead of `problems`: conversations up to their first answer."""

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_heldout")
        require(
            self.problems is None or self.conversations is None,
            "problems and conversations exclude each other: constraints are given to one of them",
        )

    def fingerprint(self) -> str:
        """Of the wordings, and of the packaged prompts where they are what is used."""
        packaged = self.problems is None and self.conversations is None
        return f"{constraints_digest()} {everyday_digest() if packaged else ''}"

    def run(self, ctx: Context) -> None:
        train, heldout = constrained_problems(
            self._bases(ctx),
            self.constraints,
            num_train=self.num_train,
            num_heldout=self.num_heldout,
            seed=ctx.seed,
        )
        write_problems(ctx.output("heldout"), heldout)
        write_problems(ctx.output("train"), train)
        kinds = Counter(kind for problem in train for kind in instructions_of(problem))
        for kind, number in sorted(kinds.items()):
            ctx.tally(f"problems to train on with {kind}", number)
        ctx.write_samples(
            {"prompt": p.prompt.last_user, "meta": p.meta} for p in [*heldout, *train][:8]
        )

    def _bases(self, ctx: Context) -> list[Conversation]:
        if self.problems is not None:
            return [problem.prompt for problem in read_problems(ctx.input(self.problems))]
        if self.conversations is not None:
            return [_opening(c) for c in read_conversations(ctx.input(self.conversations))]
        return [p.prompt for p in instructions() if not json.loads(p.meta)["constraints"]]


def _opening(conversation: Conversation) -> Conversation:
    """All before the first assistant turn."""
    roles = [message.role for message in conversation.messages]
    end = roles.index("assistant") if "assistant" in roles else len(roles)
    return Conversation(messages=conversation.messages[:end], tools=conversation.tools)
