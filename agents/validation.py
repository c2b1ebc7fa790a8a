"""How a policy drives, as one number to select policies by."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.agents.drivers import camera_driver
from jaxrecon.agents.driving import Clips
from jaxrecon.agents.evaluate import ClosedLoopReport, evaluate
from jaxrecon.agents.optimise import NonFiniteError, owned
from jaxrecon.simulator import Simulator, SimulatorParams


@dataclasses.dataclass(frozen=True)
class DrivingCost:
    """The share of clips that an event ends, plus the share of the expert's way that is not driven.

    A car that stands costs 1, one that crashes at once costs 2, the expert nothing. The clips must be none of those
    that policies are scored on in the end.

    Attributes:
        simulator: where to drive.
        clips: fixed beforehand, see ``evaluate.draw_clips``.
        params: thresholds.
        batch: clips driven side by side.
        blind: whether the policy is shown black frames.
    """

    simulator: Simulator
    clips: Clips
    params: SimulatorParams
    batch: int = 64
    blind: bool = False

    def __call__(self, policy: Any) -> float:
        """Drive every clip with the most probable actions."""
        told = self.report(policy).summary
        return told["CR"] + told["DR"] + 1 - told["progress"]

    def report(self, policy: Any) -> ClosedLoopReport:
        """All that is told of those clips."""
        driver, key = camera_driver(policy, draws=not self.blind), jax.random.key(0)
        return evaluate(self.simulator, driver, self.clips, self.params, key, batch=self.batch, progress=False)


@flax.struct.dataclass
class Chosen:
    """The policy that drove best so far.

    Attributes:
        policy: in buffers of its own.
        cost: of driving, a float32; infinite while none has driven.
    """

    policy: Any
    cost: Any

    @classmethod
    def start(cls, policy: Any) -> "Chosen":
        """Before any has driven; ``policy`` tells the shape."""
        return cls(owned(policy), jnp.array(jnp.inf, jnp.float32))

    def or_better(self, policy: Any, validate: Callable[[Any], float]) -> tuple["Chosen", float]:
        """Let a policy drive, and choose it where it does so better; its cost too.

        Raises:
            NonFiniteError: if the cost is NaN or infinite.
        """
        cost = float(validate(policy))
        if not np.isfinite(cost):
            raise NonFiniteError(
                f"the cost of driving is {cost}, and no policy can be selected by it: give clips in which the expert "
                "moves"
            )
        better = cost < float(self.cost)
        return (Chosen(owned(policy), jnp.array(cost, jnp.float32)) if better else self), cost
