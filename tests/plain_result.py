"""Result of a step of small environments whose answers are known."""

from typing import Any

import flax.struct


@flax.struct.dataclass
class PlainResult:
    """What the learner asks of a step, and nothing else."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    valid: Any
