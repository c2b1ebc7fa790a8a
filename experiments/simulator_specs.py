"""What the simulator's suite measures with, at full scale and at one that only shows that it runs."""

import dataclasses

from jaxrecon.scene.assembled import AssembleConfig
from jaxrecon.street import StreetConfig

# Finer than by default: one street of 16 has 194,000 splats then, however many there is room for.
ASSEMBLY = AssembleConfig(capacity=245_000, spacing=0.18)
ACTORS = 32  # of the street without cameras: moving, parked and walking
BUSY = StreetConfig(layout="curve", seconds=14.0, moving=22, parked=8, pedestrians=2)


@dataclasses.dataclass(frozen=True)
class SimulatorScale:
    """How much of everything.

    Attributes:
        name: of the scale; it stands in each row that is not of the full one.
        street: of which every scene of the camera rows is one, by seed.
        scenes: in the camera rows.
        assembly: of a scene, before its levels are built.
        least_splats: that a scene must have.
        size: of a camera's image, pixels.
        environments: in the camera rows.
        most_environments: in the row of the memory.
        state_steps: of a timed call without cameras.
        camera_steps: likewise with them.
        batches: environments a call, without cameras, among which the best is looked for; on a CPU its own.
        cpu_batches: likewise.
        repeats: timed calls.
        shown: environments by which the images are judged.
        million: steps of the row of that name.
        anywhere: whether rows are measured on whatever device there is.
    """

    name: str
    street: StreetConfig
    scenes: int
    assembly: AssembleConfig
    least_splats: int
    size: tuple[int, int]
    environments: int
    most_environments: int
    state_steps: int
    camera_steps: int
    batches: tuple[int, ...]
    cpu_batches: tuple[int, ...]
    repeats: int
    shown: int
    million: int
    anywhere: bool = False


SCALES = {
    "full": SimulatorScale(
        name="full",
        street=dataclasses.replace(BUSY, layout="random"),
        scenes=16,
        assembly=ASSEMBLY,
        least_splats=200_000,
        size=(96, 64),
        environments=1024,
        most_environments=4096,
        state_steps=80,
        camera_steps=20,
        batches=(4096, 16384, 65536),
        cpu_batches=(256, 1024, 4096),
        repeats=5,
        shown=32,
        million=1_000_000,
    ),
    "tiny": SimulatorScale(
        name="tiny",
        street=StreetConfig(layout="curve", length=120.0, seconds=3.0, moving=3, parked=2, pedestrians=1),
        scenes=2,
        assembly=AssembleConfig(capacity=12_000),
        least_splats=8_000,
        size=(24, 16),
        environments=4,
        most_environments=8,
        state_steps=4,
        camera_steps=2,
        batches=(8, 16),
        cpu_batches=(16,),
        repeats=2,
        shown=2,
        million=160,
        anywhere=True,
    ),
}
