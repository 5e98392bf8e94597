"""A trained reward model as a verifier: what evaluates with verifiers can evaluate with it too."""

from burnish.engine.reward_model import RewardModel, model_verdict
from burnish.engine.text_model import TextModel
from burnish.types import Problem, Verdict


class RewardModelVerifier:
    """The normalised score of one completion; it passes nothing and fails nothing.

    0 is the mean of the completions on which the model's scores were normalised, and 1 is their
    standard deviation: the score is not a share, and only differences between completions of one
    problem mean anything.
    """

    def __init__(self, model: RewardModel, text: TextModel) -> None:
        """`text` gives the template and tokenizer that the reward model was trained with."""
        self._model = model
        self._text = text

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """None for an empty completion, which no reward model was trained on, and for no text."""
        if not completion.strip():
            return Verdict(score=None, why="the completion is empty", judge="reward_model")
        if any("\ud800" <= char <= "\udfff" for char in completion):
            why = "the completion has half of a surrogate pair, which no tokenizer reads"
            return Verdict(score=None, why=why, judge="reward_model")
        stem, ids = self._text.answer(problem.prompt, completion)
        (score,) = self._model.scores([stem], [ids])
        return model_verdict(score)
