"""What the other road users do."""

from jaxrecon.traffic.replay import Replay, check_rate, replay

__all__ = ["Replay", "check_rate", "replay"]
