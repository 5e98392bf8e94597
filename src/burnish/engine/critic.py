"""A value function with weights of its own, beside the policy's.

InstructGPT, Llama 2 and Tulu 3 begin it as a copy of their reward model (2203.02155, appendix C.4;
2411.15124, section 6): its trunk already reads what an answer is worth. It has its own optimiser,
so its learning rate and the clip of its gradient are not the policy's.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from burnish.engine.optim import MasterAdamW, Optim
from burnish.models.policy import Forest, predicting

_PREFIX = "critic."


class Critic:
    """A language model's trunk and a head of one output, under training."""

    def __init__(self, model: nn.Module, head: nn.Linear, optim: Optim, *, num_steps: int) -> None:
        self._model, self._head = model, head
        self._config, self._num_steps = optim, num_steps
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        named += [(f"head.{n}", p) for n, p in head.named_parameters()]
        self._optim = MasterAdamW(named, optim)

    def values(self, forest: Forest) -> Float[Tensor, " N"]:
        """The value of the state before each scored token, in order."""
        hidden = predicting(self._model, forest)
        weight = self._head.weight
        return self._head(hidden.to(weight.dtype))[:, 0]  # type: ignore[no-any-return]

    def step(self) -> float:
        """One optimiser step with the gradients that are there; returns their norm.

        Raises:
            TrainingError: the gradient is not finite.
        """
        return self._optim.step(self._config.lr_at(self._optim.num_steps, self._num_steps))

    def tensors(self) -> dict[str, Tensor]:
        """Master weights and optimiser state."""
        return {_PREFIX + name: tensor for name, tensor in self._optim.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved."""
        own = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
        self._optim.load(own)
