"""A language model with its tokenizer, as the stages use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerFast

from burnish.models.load import Precision, open_causal_lm, save_causal_lm
from burnish.models.lora import LoRA, add_lora, merge_lora
from burnish.pipeline.peak import hand_back_freed_memory
from burnish.text.chat import Encoded, TrainOn, decode, encode, encode_prompt
from burnish.text.tokenizer import encode_text, load_tokenizer, stop_ids
from burnish.text.turns import encode_between
from burnish.types import Conversation, Message


@dataclass(frozen=True, slots=True)
class TextModel:
    """Weights and tokenizer from one directory."""

    path: Path
    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    stop_ids: frozenset[int]
    lora: bool

    @classmethod
    def open(
        cls,
        path: Path,
        precision: Precision,
        device: str = "cpu",
        *,
        lora: LoRA | None = None,
        seed: int = 0,
    ) -> "TextModel":
        """Open a model directory; with `lora`, only fresh adapters are trainable.

        What models before it left free is handed back first: its files are read into new memory.
        """
        hand_back_freed_memory()
        tokenizer = load_tokenizer(path)
        model = open_causal_lm(path, precision, device)
        if lora is not None:
            model = add_lora(model, lora, seed)
        return cls(path, model, tokenizer, stop_ids(tokenizer), lora is not None)

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids up to where the assistant's answer begins."""
        return encode_prompt(conversation, self.tokenizer)

    def between(self, conversation: Conversation, replies: Sequence[Message]) -> tuple[int, ...]:
        """Ids from behind the stop token of the assistant's last turn to its next one."""
        return encode_between(conversation, replies, self.tokenizer)

    def encode(self, conversation: Conversation, train_on: TrainOn = "assistant") -> Encoded:
        """Ids and train mask of a whole conversation."""
        return encode(conversation, self.tokenizer, train_on)

    def plain(self, text: str) -> tuple[int, ...]:
        """Ids of a text without a chat template, and the tokenizer's EOS."""
        return (*encode_text(text, self.tokenizer), int(self.tokenizer.eos_token_id))

    def answer(self, prompt: Conversation, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the prompt and of an answer to it, its end token included."""
        stem = self.prompt(prompt)
        whole = self.encode(prompt.then(text), "last")
        if whole.ids[: len(stem)] != stem:
            # The template writes a finished turn otherwise than it asks for one.
            start = whole.mask.index(True)
            stem = whole.ids[:start]
        end = len(whole.mask) - whole.mask[::-1].index(True)
        return stem, whole.ids[len(stem) : end]

    def decode(self, ids: Sequence[int]) -> str:
        """Text without control tokens."""
        return decode(list(ids), self.tokenizer)

    def save(self, out: Path, *, head: nn.Linear | None = None) -> None:
        """Write a plain Hugging Face directory; adapters are merged into the weights."""
        model = merge_lora(self.model) if self.lora else self.model
        save_causal_lm(model, out, tokenizer_from=self.path, head=head)
