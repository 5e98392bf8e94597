"""A model of ours as the one who answers a judge's questions."""

from collections.abc import Sequence

from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import hash_path
from burnish.types import Conversation
from burnish.verifiers.chat import Answer, OnAnswer, Question


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
        answers: dict[int, Answer] = {}
        for temperature in dict.fromkeys(q.temperature for q in questions):
            index = [i for i, q in enumerate(questions) if q.temperature == temperature]
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
