"""What the neighbours' metrics need of a moment beyond the ride itself: other road users, the road and the log."""

import flax.struct
from jaxtyping import Array, Bool, Float

WRONG_WAY = 3.5  # metres from the nearest lane that leads the car's way from which on it drives the wrong way
STANDING = 5e-3  # m/s at or below which nuPlan's time to collision takes a car to stand


@flax.struct.dataclass
class Surroundings:
    """The ego among others at a driven step; every field has the batch dimensions of the rollout.

    Attributes:
        overlap: (*b,) bool, the ego's box overlaps that of another road user, parked ones included.
        at_fault: (*b,) bool, in a way that is the ego's fault.
        time_to_collision: (*b,) seconds, at most the horizon over which it is looked for.
        off_road_distance: (*b,) the largest of the ego's corners to the edge of the drivable surface, positive off the
            road, metres.
        own_lane_distance: (*b,) from the ego's centre to the nearest lane centre that leads its way, metres.
        red_light: (*b,) bool, the front bumper crossed a stop line in this step while its light said stop.
        log_divergence: (*b,) from the rear axle to where the recorded one was at that time, metres.
        clip_route: (*b,) metres that the recorded driver covers from the clip's start to its end if nothing ends it
            earlier; the same in all steps of a clip.
        surface_known: (*b,) bool, the log says where the drivable surface is.
        lanes_known: (*b,) bool, the log has lanes.
        lights_known: (*b,) bool, the log has stop lines with lights.
    """

    overlap: Bool[Array, " *b"]
    at_fault: Bool[Array, " *b"]
    time_to_collision: Float[Array, " *b"]
    off_road_distance: Float[Array, " *b"]
    own_lane_distance: Float[Array, " *b"]
    red_light: Bool[Array, " *b"]
    log_divergence: Float[Array, " *b"]
    clip_route: Float[Array, " *b"]
    surface_known: Bool[Array, " *b"]
    lanes_known: Bool[Array, " *b"]
    lights_known: Bool[Array, " *b"]

    @property
    def off_road(self) -> Bool[Array, "*b"]:
        """Whether any corner of the ego is off the road."""
        return self.surface_known & (self.off_road_distance > 0)

    @property
    def wrong_way(self) -> Bool[Array, "*b"]:
        """Whether the ego drives against the traffic, or where none goes its way."""
        return self.lanes_known & (self.own_lane_distance >= WRONG_WAY)
