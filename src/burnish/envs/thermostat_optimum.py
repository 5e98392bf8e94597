"""The best that can be done in the thermostat's room, by value iteration.

A day is a Markov decision process of 200 steps over (inside T, the day's mean outside m, step t):

    V_200 = 0,     V_t(T, m) = max_a E[r(T') + V_t+1(T', m)],     T' = mu_a(T, m, t) + noise

with the room's own equation for mu_a, and undiscounted, as episodes are scored. T lies on a grid, m
on a coarser one; between their points values are interpolated. The expected reward is exact (a
difference of normal distribution functions); that of V is by Gauss-Hermite quadrature.

Outside and the step tell m, so that a policy which is told the step can follow the plan. A learned
one sees (inside, outside) only: the optimum bounds it from above, and may be out of its reach.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from burnish.config import require
from burnish.envs.thermostat import (
    HEATER_F_PER_HOUR,
    LOSS_PER_HOUR,
    NOISE_F,
    NUM_STEPS,
    STEP_HOURS,
    SWING_F,
    TARGET_F,
    TOLERANCE_F,
)

INSIDE_F = (40.0, 100.0)
"""What the grid spans: far beyond where a day starts (55 to 85 F) or a sensible policy goes."""
MEANS_F = (30.0, 50.0)
"""Of the temperature outside, over a day."""
NODES = 9
"""Of the quadrature: exact for polynomials of degree 17 in the noise."""

_erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True, slots=True)
class Optimum:
    """Values of both actions at every step, mean outside and temperature inside."""

    inside: Float[np.ndarray, " X"]
    means: Float[np.ndarray, " M"]
    action_values: Float[np.ndarray, "T A M X"]

    def value(self, inside: float, mean: float, t: int = 0) -> float:
        """The most that can be expected from here to the end of the day."""
        return float(self._values(np.array([inside]), np.array([mean]), t).max())

    def act(
        self, observations: Float[np.ndarray, "N 2"], episodes: Int[np.ndarray, " N"], t: int
    ) -> Int[np.ndarray, " N"]:
        """The best action: a policy as `burnish.envs.gym.play` wants it."""
        del episodes
        inside, outside = np.asarray(observations, float).T
        actions: np.ndarray = self._values(inside, outside - swing(t), t).argmax(axis=0)
        return actions

    def _values(
        self, inside: Float[np.ndarray, " N"], mean: Float[np.ndarray, " N"], t: int
    ) -> Float[np.ndarray, "A N"]:
        """Linear between the grid's points, in both directions."""
        m, up = _place(mean, self.means)
        x, right = _place(inside, self.inside)
        table = self.action_values[t]
        cold = (1 - right) * table[:, m, x] + right * table[:, m, x + 1]
        warm = (1 - right) * table[:, m + 1, x] + right * table[:, m + 1, x + 1]
        found: np.ndarray = (1 - up) * cold + up * warm
        return found


def _place(
    values: Float[np.ndarray, " N"], grid: Float[np.ndarray, " G"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The even grid's point below each value, and how far it is to the next; held at the ends."""
    place = (np.clip(values, grid[0], grid[-1]) - grid[0]) / (grid[1] - grid[0])
    below = np.minimum(place.astype(int), len(grid) - 2)
    return below, place - below


def swing(t: int) -> float:
    """How far outside is from the day's mean at a step."""
    return SWING_F * math.sin(2 * math.pi * (t * STEP_HOURS - 9) / 24)


def solve(
    *, steps: int = NUM_STEPS, spacing_f: float = 0.05, num_means: int = 21, first: int = 0
) -> Optimum:
    """Value iteration backwards from the end of the day.

    steps, first: how many steps to plan, and from which on. spacing_f: between the grid's
    temperatures.

    Raises:
        ConfigError: there is nothing to plan, or the grid is coarser than the noise.
    """
    require(steps >= 1, "steps must be at least 1")
    require(0 < spacing_f <= NOISE_F, f"spacing_f must be in (0, {NOISE_F}]")
    require(num_means >= 2, "num_means must be at least 2")
    low, high = INSIDE_F
    inside = np.linspace(low, high, round((high - low) / spacing_f) + 1)
    means = np.linspace(*MEANS_F, num_means)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    values = np.zeros((num_means, len(inside)))
    table = np.empty((steps, 2, num_means, len(inside)))
    for t in reversed(range(steps)):
        for m, mean in enumerate(means):
            for action in (0, 1):
                moved = ends(inside, mean + swing(first + t), action)
                later = sum(
                    weight * np.interp(moved + NOISE_F * node, inside, values[m])
                    for node, weight in zip(nodes, weights, strict=True)
                )
                table[t, action, m] = expected_reward(moved) + later
        values = table[t].max(axis=0)
    return Optimum(inside, means, table)


def ends(inside: Float[np.ndarray, " X"], outside: float, action: int) -> Float[np.ndarray, " X"]:
    """Where a step ends, without its noise."""
    heat = HEATER_F_PER_HOUR if action else 0.0
    return inside + STEP_HOURS * (heat - LOSS_PER_HOUR * (inside - outside))


def expected_reward(moved: Float[np.ndarray, " X"]) -> Float[np.ndarray, " X"]:
    """P(within the tolerance of the target) once the noise is added."""
    scale = NOISE_F * math.sqrt(2)
    upper = _erf((TARGET_F + TOLERANCE_F - moved) / scale)
    found: np.ndarray = (upper - _erf((TARGET_F - TOLERANCE_F - moved) / scale)) / 2
    return found
