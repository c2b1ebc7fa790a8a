"""What cousins are, how many of which are wanted, and what comes of drawing them."""

import dataclasses
from typing import Any

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import DEFAULT_LIMITS, VehicleLimits, VehicleState
from jaxrecon.trajectories.adapted import Adapted
from jaxrecon.trajectories.checks import DEFAULT_CHECKS, CheckLimits
from jaxrecon.trajectories.families import FUNCTIONS
from jaxrecon.trajectories.ranges import FAMILIES, Ranges
from jaxrecon.trajectories.recorded import DEFAULT_RECORDED, RecordedConfig

ONWARD = 45  # metres of its way that are known beyond a cousin's end, for the target of its route
KEPT_REJECTED = 24  # of each family, to look at
NAMES = tuple(FAMILIES)  # a cousin's family is an index into these
_FIELDS = {field.name for ranges in FAMILIES.values() for field in dataclasses.fields(ranges)}
PARAMETERS = tuple(sorted(_FIELDS | {"side", "which"}))  # of all families


class CousinError(ValueError):
    """A drive of which no cousins can be made; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class CousinConfig:
    """How many cousins, and which.

    Attributes:
        seconds: that each lasts; the whole log where that is shorter.
        per_family: how many are wanted of each family.
        candidates: drawn at once.
        rounds: of drawing, at most, until there are enough to choose from.
        choice: times as many as are wanted must have passed before those are kept that together vary the most.
        families: names and their ranges.
        limits: of the checks.
        vehicle: what the car can do.
        recorded: how much is known around the drive.
        adapt: whether others may brake for a cousin that would meet them as they were recorded.
    """

    seconds: float = 6.0
    per_family: int = 8
    candidates: int = 32
    rounds: int = 6
    choice: int = 4
    families: tuple[tuple[str, Ranges], ...] = tuple(FAMILIES.items())
    limits: CheckLimits = DEFAULT_CHECKS
    vehicle: VehicleLimits = DEFAULT_LIMITS
    recorded: RecordedConfig = DEFAULT_RECORDED
    adapt: bool = True

    def __post_init__(self) -> None:
        for name in ("seconds", "per_family", "candidates", "rounds", "choice"):
            if not getattr(self, name) > 0:
                raise ValueError(f"CousinConfig.{name} is {getattr(self, name)}; expected more than zero")
        for name, _ in self.families:
            if name not in FUNCTIONS:
                raise ValueError(f"CousinConfig.families names {name!r}; expected some of {NAMES}")


DEFAULT_CONFIG = CousinConfig()


@flax.struct.dataclass
class Cousins:
    """Drives that were never driven; every array has the axis ``cousin`` in front.

    Attributes:
        family: (cousin,) int32, index into ``NAMES``.
        frame: (cousin, step) int32, log frame of each step: time, for traffic and lights.
        vehicle: (cousin, step, ...) what the bicycle does.
        acceleration: (cousin, action) m/s2, one action fewer than steps.
        steering: (cousin, action) radians.
        onward: (cousin, ONWARD, 2) where its way goes on after the last step, a point a metre, world.
        others: how late the others are.
        checks: (cousin, check) bool, in the order of ``CHECKS``.
        parameters: (cousin,) each, by name; zero where a family has no such parameter.
    """

    family: Int[Array, " cousin"]
    frame: Int[Array, "cousin step"]
    vehicle: VehicleState
    acceleration: Float[Array, "cousin action"]
    steering: Float[Array, "cousin action"]
    onward: Float[Array, "cousin onward 2"]
    others: Adapted
    checks: Bool[Array, "cousin check"]
    parameters: dict[str, Float[Array, " cousin"]]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.family.shape[0]

    @property
    def steps(self) -> int:
        """States of each."""
        return self.frame.shape[1]

    @property
    def adapted(self) -> Bool[np.ndarray, " cousin"]:
        """Whether somebody had to brake for it (host)."""
        return np.any(np.asarray(self.others.lag) > 0, axis=(1, 2))

    def take(self, chosen: Any) -> "Cousins":
        """Some of them."""
        return jax.tree.map(lambda leaf: leaf[chosen], self)


@dataclasses.dataclass(frozen=True)
class Generated:
    """What came of it.

    Attributes:
        cousins: those kept of all that passed, family by family, in the order in which they were drawn.
        rejected: some of those that were not, at most ``KEPT_REJECTED`` of each family.
        drawn: by family.
        passed: how many of those drawn passed all checks, by family.
        failed: how many failed each check, by family and check; a cousin may fail several.
        path: (n, 2) the recorded drive and its continuation, world, metres.
        known: whether a check could tell anything in this world: ``drivable`` needs a map or LiDAR, ``right_way``
            lanes, ``lights`` lights, ``confidence`` a scene's support.
    """

    cousins: Cousins
    rejected: Cousins
    drawn: dict[str, int]
    passed: dict[str, int]
    failed: dict[str, dict[str, int]]
    path: Float[np.ndarray, "n 2"]
    known: dict[str, bool]

    @property
    def acceptance(self) -> dict[str, float]:
        """Share of those drawn that passed, by family."""
        return {name: self.passed[name] / max(self.drawn[name], 1) for name in self.drawn}
