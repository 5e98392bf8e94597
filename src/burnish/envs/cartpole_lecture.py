"""CartPole as lectures write it: the pole is a point mass on a massless rod.

    temp     = (F + m l theta_dot^2 sin theta) / (M + m)
    theta_dd = (g sin theta - cos theta temp) / (l (1 - m cos^2 theta / (M + m)))
    x_dd     = temp - m l theta_dd cos theta / (M + m)

Gymnasium's CartPole-v1 (Barto, Sutton & Anderson 1983) has 4/3 where this has 1, for a uniform rod
of half-length l. Everything else is the same: M = 1 kg, m = 0.1 kg, l = 0.5 m, |F| = 10 N, Euler
steps of 0.02 s, the limits of 12 degrees and 2.4 m, 500 steps.
"""

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from jaxtyping import Float32


class CartPoleLecture(CartPoleEnv):  # type: ignore[misc]  # gymnasium has no types here
    """Observations, actions, limits and rewards of CartPole-v1 with a point mass."""

    def step(
        self, action: int
    ) -> tuple[Float32[np.ndarray, "4"], float, bool, bool, dict[str, Any]]:
        """Push left (0) or right (1) for one time step; +1 until the pole or the cart is lost."""
        assert self.action_space.contains(action), f"{action!r} is no action"
        before: Any = self.state
        assert before is not None, "call reset before step"
        x, x_dot, theta, theta_dot = (float(v) for v in before)
        force = self.force_mag if action == 1 else -self.force_mag
        sine, cosine = np.sin(theta), np.cos(theta)
        push = (force + self.polemass_length * theta_dot**2 * sine) / self.total_mass
        turning = (self.gravity * sine - cosine * push) / (
            self.length * (1 - self.masspole * cosine**2 / self.total_mass)
        )
        speeding = push - self.polemass_length * turning * cosine / self.total_mass
        state = (
            x + self.tau * x_dot,
            x_dot + self.tau * speeding,
            theta + self.tau * theta_dot,
            theta_dot + self.tau * turning,
        )
        self.state: Any = np.array(state, dtype=np.float64)
        lost = abs(state[0]) > self.x_threshold or abs(state[2]) > self.theta_threshold_radians
        return np.array(state, dtype=np.float32), 1.0, bool(lost), False, {}
