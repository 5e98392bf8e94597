"""What `burnish chat` holds: a model, the turns so far, and the answer that is being sampled."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from burnish import rng
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request
from burnish.engine.text_model import TextModel
from burnish.errors import DataError
from burnish.stages.sample import Draws
from burnish.text.stream import TextStream
from burnish.text.tokenizer import encode_text
from burnish.types import Conversation, Message


@dataclass(kw_only=True)
class Dialogue:
    """A conversation with a model; or, in base mode, texts that it continues one by one."""

    text: TextModel
    draws: Draws
    seed: int
    show: Callable[[str], None]
    """Gets an answer piece by piece."""
    remark: Callable[[str], None]
    base: bool = False
    """Continue plain text, without a chat template and without memory."""
    system: str | None = None
    turns: list[Message] = field(default_factory=list)
    num_asked: int = 0
    interrupted: bool = False
    """Whether the last answer was stopped by Ctrl-C."""

    def reset(self) -> None:
        """Forget the turns so far; the system prompt stays."""
        self.turns.clear()

    def say(self, text: str) -> None:
        """Sample an answer to `text` (in base mode: what follows it), and show it as it comes.

        Ctrl-C ends the answer; what was shown of it is remembered.

        Raises:
            DataError: the text leaves no room in the model's context.
            TemplateError: the model cannot write chats.
        """
        key = rng.key(self.seed, "chat", self.num_asked)
        self.num_asked += 1
        if self.base:
            self._sample(encode_text(text, self.text.tokenizer), key)
            return
        turn = Message(role="user", content=text)
        prompt = self._prompt(turn)
        answer = self._sample(prompt, key)
        if answer.strip():
            self.turns += [turn, Message(role="assistant", content=answer)]
        else:
            self.remark("(an empty answer, which is not remembered)")

    def _prompt(self, turn: Message) -> tuple[int, ...]:
        """Ids of the conversation, without its oldest turns where it would not fit."""
        dropped = 0
        while True:
            ids = self.text.prompt(self._conversation(turn))
            if not self.turns or len(ids) + self.draws.max_new_tokens <= self._context:
                break
            del self.turns[:2]
            dropped += 2
        if dropped:
            self.remark(f"({dropped} oldest turns dropped: the context is {self._context} tokens)")
        return ids

    def _conversation(self, turn: Message) -> Conversation:
        system = [] if self.system is None else [Message(role="system", content=self.system)]
        return Conversation(messages=(*system, *self.turns, turn))

    @property
    def _context(self) -> int:
        return int(self.text.model.config.max_position_embeddings)  # type: ignore[union-attr,arg-type]

    def _sample(self, prompt: tuple[int, ...], key: int) -> str:
        """The answer, shown token by token."""
        room = self._context - len(prompt)
        if room < 1:
            raise DataError(
                f"the text has {len(prompt)} tokens and the model's context {self._context}; "
                "shorten it"
            )
        limit = min(self.draws.max_new_tokens, room)
        sampling = replace(self.draws, max_new_tokens=limit).sampling(self.text.stop_ids)
        stream, shown = TextStream(self.text.tokenizer), ""
        stopped = False

        def on_token(request: int, index: int, token: int) -> None:
            nonlocal shown, stopped
            stopped = token in self.text.stop_ids
            piece = stream.push(token)
            shown += piece
            self.show(piece)

        sampler = LocalSampler(self.text.model, max_rows=1)
        self.interrupted = False
        try:
            sampler.sample([Request(prompt=prompt, key=key)], sampling, on_token=on_token)
        except KeyboardInterrupt:
            self.interrupted = True
        rest = stream.end()
        self.show(rest + "\n")
        if self.interrupted:
            self.remark("(stopped)")
        elif not stopped:
            why = "the context is full" if limit < self.draws.max_new_tokens else "--max-new-tokens"
            self.remark(f"(cut at {limit} tokens: {why})")
        return shown + rest
