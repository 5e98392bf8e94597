"""A model of ours as the one who answers a judge's questions."""

import json
from collections.abc import Sequence

import torch

from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError
from burnish.models.policy import Tree, context_length, micro_batches, summed_logprobs
from burnish.pipeline.artifact import hash_path
from burnish.types import Conversation
from burnish.verifiers.chat import Answer, OnAnswer, Question

_MICRO_TOKENS = 8192
"""Of questions with choices in one forward pass."""


class LocalChat:
    """Answers in batches, each drawn from its question's own stream."""

    def __init__(self, text: TextModel, *, max_rows: int = 64) -> None:
        self._text = text
        self._sampler = LocalSampler(text.model, max_rows=max_rows)
        precision = str(next(text.model.parameters()).dtype).removeprefix("torch.")
        self._name = f"local {hash_path(text.path)[:16]} in {precision}"

    @property
    def name(self) -> str:
        """A hash of the weights, so that the same model is the same judge wherever it lies."""
        return self._name

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        """As `Chat.ask_all`.

        Raises:
            ConfigError: a question and its answer do not fit into the model's context.
        """
        answers = self._likelihoods(questions, on_answer)
        drawn_ones = [q for q in questions if not q.choices]
        for temperature in dict.fromkeys(q.temperature for q in drawn_ones):
            index = [
                i for i, q in enumerate(questions) if q.temperature == temperature and not q.choices
            ]
            prompts = [
                self._text.prompt(Conversation(messages=questions[i].messages)) for i in index
            ]
            limits = [questions[i].max_tokens for i in index]
            requests = [
                Request(prompt=ids, key=questions[i].seed, max_new_tokens=limit)
                for i, ids, limit in zip(index, prompts, limits, strict=True)
            ]
            sampling = Sampling(
                max_new_tokens=max(limits), temperature=temperature, stop_ids=self._text.stop_ids
            )
            drawn = self._sampler.sample(requests, sampling)
            for i, ids, (completion,) in zip(index, prompts, drawn, strict=True):
                answers[i] = Answer(
                    text=self._text.decode(completion.tokens),
                    prompt_tokens=len(ids),
                    completion_tokens=len(completion.tokens),
                )
                if on_answer is not None:
                    on_answer(i, answers[i])
        return [answers[i] for i in range(len(questions))]

    @torch.no_grad()
    def _likelihoods(
        self, questions: Sequence[Question], on_answer: OnAnswer | None
    ) -> dict[int, Answer]:
        """The answers to those questions that have choices."""
        trees = {i: self._tree(q) for i, q in enumerate(questions) if q.choices}
        answers: dict[int, Answer] = {}
        index = list(trees)
        for batch in micro_batches([trees[i].num_tokens for i in index], _MICRO_TOKENS):
            found = summed_logprobs(self._text.model, [trees[index[b]] for b in batch]).tolist()
            for b in batch:
                i = index[b]
                mine, found = found[: len(questions[i].choices)], found[len(questions[i].choices) :]
                answers[i] = Answer(
                    text=json.dumps(mine),
                    prompt_tokens=trees[i].num_tokens,
                    completion_tokens=0,
                )
                if on_answer is not None:
                    on_answer(i, answers[i])
        return answers

    def _tree(self, question: Question) -> Tree:
        """Raises: ConfigError, where it does not fit into the model's context."""
        asked = Conversation(messages=question.messages)
        pairs = [self._text.answer(asked, choice) for choice in question.choices]
        stem = pairs[0][0]
        longest = len(stem) + max(len(ids) for _, ids in pairs)
        if longest > (room := context_length(self._text.model)):
            raise ConfigError(
                f"a judge's question of {longest} tokens exceeds the model's context of {room}"
            )
        return Tree.prompt(stem, [ids for _, ids in pairs])
