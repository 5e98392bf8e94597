"""An exponential moving average of weights, kept beside those that are trained.

    average <- decay * average + (1 - decay) * weights,   after every optimiser step

It begins as the weights that training starts from. InstructGPT gives the average of its PPO
training, with decay 0.992 (2203.02155, appendix C.4): it lags about 1 / (1 - decay) steps behind
and leaves out most of what single steps add.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from burnish.engine.split_master import round_into

_PREFIX = "average."


class WeightAverage:
    """In float32, of float32 masters: a bfloat16 average would not move."""

    def __init__(self, masters: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self._decay = decay
        self._average = {name: master.detach().clone() for name, master in masters}

    @torch.no_grad()
    def update(self, masters: Iterable[tuple[str, Tensor]]) -> None:
        """One optimiser step on."""
        for name, master in masters:
            self._average[name].lerp_(master, 1 - self._decay)

    @torch.no_grad()
    def write_into(self, model: nn.Module) -> None:
        """The model's trained parameters become the average."""
        live = dict(model.named_parameters())
        for name, average in self._average.items():
            round_into(live[name], average)

    def tensors(self) -> dict[str, Tensor]:
        """What a resume needs."""
        return {_PREFIX + name: average for name, average in self._average.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved."""
        for name, average in self._average.items():
            average.copy_(tensors[_PREFIX + name])
