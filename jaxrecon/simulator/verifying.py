"""Sound cases driven once more from their numbers alone: is each still avoided by the way out that it names?"""

from jaxtyping import Array, Bool

from jaxrecon.simulator.casting import Casting
from jaxrecon.simulator.escapes import REACTION
from jaxrecon.simulator.judging import Judged, ride
from jaxrecon.simulator.state import SimulatorParams


def avoided(casting: Casting, cases: Judged, params: SimulatorParams) -> Bool[Array, " case"]:
    """Whether the way out of each case ends in no event and begins late enough after the threat is seen.

    Args:
        casting: that made the cases.
        cases: with their ways out.
        params: thresholds.
    """
    driven = ride(casting, cases.start, cases.plan, cases.detour, cases.escaping, params)
    waits = round(REACTION / casting.simulator.world.dt)
    return ~driven.ends & (cases.reaction >= driven.sight + waits)
