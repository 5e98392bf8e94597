"""A chat that answers as a test says, and remembers what it was asked."""

from collections.abc import Callable, Sequence

from burnish.verifiers.chat import Answer, OnAnswer, Question


class Scripted:
    """`answer(text of the question)` is what it says."""

    def __init__(self, answer: Callable[[str], str], name: str = "scripted") -> None:
        self._answer = answer
        self.name = name
        self.asked: list[Question] = []

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        answers = []
        for i, question in enumerate(questions):
            self.asked.append(question)
            text = self._answer(question.messages[0].content)
            answers.append(Answer(text=text, prompt_tokens=5, completion_tokens=2))
            if on_answer is not None:
                on_answer(i, answers[-1])
        return answers
