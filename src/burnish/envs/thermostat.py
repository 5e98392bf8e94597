"""A room with a heater: the smallest control problem with a physical meaning.

Newton's law of cooling, in degrees Fahrenheit and hours:

    dT/dt = -LOSS (T - outside) + HEATER on + noise,     outside = today's mean + a daily swing

An episode is one day of 200 steps. Each step that ends within 2 degrees of 70 F earns 1.
"""

import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
from jaxtyping import Float32

TARGET_F = 70.0
TOLERANCE_F = 2.0
NUM_STEPS = 200
STEP_HOURS = 24 / NUM_STEPS
LOSS_PER_HOUR = 0.25
"""Share of the difference to outside that is lost in an hour."""
HEATER_F_PER_HOUR = 25.0
NOISE_F = 0.2
"""Standard deviation of what doors and people do in one step."""
SWING_F = 10.0
"""Outside, warmest at 15:00 and coldest at 03:00, about a mean of 30 to 50 F."""
GAUGE_F = (-40.0, 180.0)
"""Range of the indoor gauge. The physics stays inside 20 to 160 F, so it does not bind."""


class Thermostat(gymnasium.Env):  # type: ignore[misc]
    """Observation: (inside, outside) in degrees Fahrenheit. Action: 0 heater off, 1 heater on.

    The time limit is a truncation, set where the environment is registered.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        low, high = GAUGE_F
        self.observation_space = gymnasium.spaces.Box(
            np.array([low, 0.0], np.float32), np.array([high, 100.0], np.float32)
        )
        self.action_space = gymnasium.spaces.Discrete(2)
        self._inside = TARGET_F
        self._mean_outside = 40.0
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "2"], dict[str, Any]]:
        """Midnight: a cold or stuffy room (55 to 85 F) on a colder day."""
        super().reset(seed=seed)
        self._inside = float(self.np_random.uniform(55.0, 85.0))
        self._mean_outside = float(self.np_random.uniform(30.0, 50.0))
        self._step = 0
        return self._observe(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Float32[np.ndarray, "2"], float, bool, bool, dict[str, Any]]:
        """Heat or not for 7.2 minutes."""
        heat = HEATER_F_PER_HOUR if action == 1 else 0.0
        change = heat - LOSS_PER_HOUR * (self._inside - self._outside())
        moved = self._inside + STEP_HOURS * change + NOISE_F * self.np_random.standard_normal()
        self._inside = float(min(max(moved, GAUGE_F[0]), GAUGE_F[1]))
        self._step += 1
        reward = 1.0 if abs(self._inside - TARGET_F) <= TOLERANCE_F else 0.0
        return self._observe(), reward, False, False, {}

    def _outside(self) -> float:
        hour = self._step * STEP_HOURS
        return self._mean_outside + SWING_F * math.sin(2 * math.pi * (hour - 9) / 24)

    def _observe(self) -> Float32[np.ndarray, "2"]:
        return np.array((self._inside, self._outside()), dtype=np.float32)
