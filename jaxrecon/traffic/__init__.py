"""What the other road users do."""

from jaxrecon.traffic.replay import Actors, Replay, check_rate, join_replays, replay

__all__ = ["Actors", "Replay", "check_rate", "join_replays", "replay"]
