"""How many models are in memory: those opened from disk that have not been let go of."""

import gc
import weakref

from torch import nn


class Census:
    """The most models that were in memory at one time since it was begun anew."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._before: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.most = 0

    def begin(self) -> None:
        """Forget the models that are still there: somebody else's, or not yet collected."""
        gc.collect()
        self._before = weakref.WeakSet(self._open)
        self.most = 0

    def add(self, model: nn.Module) -> None:
        """A model was opened."""
        self._open.add(model)
        self.most = max(self.most, sum(m not in self._before for m in self._open))


CENSUS = Census()
"""Of the process."""
