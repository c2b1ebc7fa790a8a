"""What an assembled world is made of, and how finely."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class AssembleConfig:
    """How a motion-only log becomes a world.

    Attributes:
        capacity: slots of the scene; where the world would need more, everything is made coarser until it fits.
        spacing: of the finest ground splats, metres; it doubles with each doubling of the distance from the path.
        body_spacing: of the splats of an actor that comes near the ego, metres.
        reach: how far from the ego's path the world goes, metres.
        ahead: how far the path is prolonged beyond its end for all of this, metres.
        sh_degree: of the scene; all colours are the same from every direction.
        buildings: share of the places for buildings that are taken.
        trees: metres along the road edge for each tree.
        lamps: metres along the road edge for each street lamp.
        obstacle_cell: side of a cell of the obstacle map, metres.
        obstacle_reach: how far from the path obstacles are mapped, metres.
    """

    capacity: int = 300_000
    spacing: float = 0.2
    body_spacing: float = 0.11
    reach: float = 90.0
    ahead: float = 50.0
    sh_degree: int = 0
    buildings: float = 0.8
    trees: float = 11.0
    lamps: float = 32.0
    obstacle_cell: float = 0.25
    obstacle_reach: float = 40.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: naming the field at fault.
        """
        for name in ("capacity", "spacing", "body_spacing", "reach", "trees", "lamps", "obstacle_cell"):
            if not getattr(self, name) > 0:
                raise ValueError(f"AssembleConfig.{name} is {getattr(self, name)}; expected a positive number")
        if self.capacity < 1000:
            raise ValueError(f"AssembleConfig.capacity is {self.capacity}; expected 1000 slots or more")
        if not 0 <= self.buildings <= 1:
            raise ValueError(f"AssembleConfig.buildings is {self.buildings}; expected a share from 0 to 1")
        if self.ahead < 0 or self.obstacle_reach <= 0:
            raise ValueError(
                f"AssembleConfig.ahead is {self.ahead} and obstacle_reach {self.obstacle_reach}; "
                "expected a length of 0 or more and a positive one"
            )
        if self.sh_degree not in (0, 1, 2, 3):
            raise ValueError(f"AssembleConfig.sh_degree is {self.sh_degree}; expected 0, 1, 2 or 3")
