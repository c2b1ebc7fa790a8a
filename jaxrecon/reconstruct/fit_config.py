"""How to fit a scene."""

import dataclasses

from jaxrecon.reconstruct.initialise import InitialiseConfig
from jaxrecon.reconstruct.losses import LossWeights
from jaxrecon.reconstruct.parameters import LearningRates
from jaxrecon.render import RenderConfig

DENSITY_CONTROLS = ("none", "relocate")


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How to fit.

    Attributes:
        steps: gradient steps, one training view each; rounded up to whole calls.
        seconds: stop earlier when this much time has passed, compilation and scores on the way not counted; schedules
            adapt. None: no limit.
        width: working width of the images, pixels; None keeps the recorded one.
        initial: how the first scene is built.
        rates: step sizes.
        weights: loss terms.
        density: ``none`` or ``relocate`` (3DGS-MCMC at fixed capacity).
        relocate_every: steps between relocations, rounded up to whole calls.
        growth: share of the slots in use by which a relocation may grow them, within capacity.
        exposure: fit one affine colour change a frame.
        poses: refine the camera poses.
        actors: refine the poses of the actors' boxes.
        coarse: share of the fit that is done at half the working size.
        lidar_points: most LiDAR depths of a view.
        steps_per_call: steps in one compiled call; the host looks in between.
        curve: seconds after which the held-out views are scored on the way.
        render: the renderer.
    """

    steps: int = 1500
    seconds: float | None = None
    width: int | None = None
    initial: InitialiseConfig = dataclasses.field(default_factory=InitialiseConfig)
    rates: LearningRates = dataclasses.field(default_factory=LearningRates)
    weights: LossWeights = dataclasses.field(default_factory=LossWeights)
    density: str = "none"
    relocate_every: int = 100
    growth: float = 0.05
    exposure: bool = False
    poses: bool = False
    actors: bool = False
    coarse: float = 0.0
    lidar_points: int = 4096
    steps_per_call: int = 25
    curve: tuple[float, ...] = ()
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)

    def __post_init__(self) -> None:
        for field in ("steps", "relocate_every", "lidar_points", "steps_per_call"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"FitConfig.{field} is {value!r}; expected a positive integer")
        if self.density not in DENSITY_CONTROLS:
            raise ValueError(f"FitConfig.density is {self.density!r}; expected one of {DENSITY_CONTROLS}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"FitConfig.seconds is {self.seconds!r}; expected a positive number or None")
        if self.width is not None and self.width < 16:
            raise ValueError(f"FitConfig.width is {self.width!r}; expected at least 16 pixels or None")
        if self.growth < 0:
            raise ValueError(f"FitConfig.growth is {self.growth!r}; expected a share of at least 0")
        if not 0 <= self.coarse < 1:
            raise ValueError(f"FitConfig.coarse is {self.coarse!r}; expected a share in [0, 1)")

    @property
    def fixed(self) -> tuple[str, ...]:
        """Parameters that are not fitted, by name."""
        names: tuple[str, ...] = ()
        names += () if self.exposure else ("log_gain", "bias")
        names += () if self.poses else ("rig_rotation", "rig_shift")
        return names + (() if self.actors else ("actor_yaw", "actor_shift"))
