"""What the traffic suite measures with, at full scale and at one that only shows that it runs."""

import dataclasses

from street_worlds import MOVING

from jaxrecon.street import StreetConfig


@dataclasses.dataclass(frozen=True)
class Amounts:
    """What depends on the device.

    Attributes:
        splats: slots of a scene.
        environments: in the rendered step.
        steps: of a timed call.
        batch: cases drawn together.
        together: cases that are searched for a way out side by side.
    """

    splats: int
    environments: int
    steps: int
    batch: int
    together: int


@dataclasses.dataclass(frozen=True)
class TrafficScale:
    """How much of everything.

    Attributes:
        name: of the scale; it stands in each row that is not of the full one.
        street: of which every scene is one, by seed; with as many moving cars as ``moving`` says in turn.
        moving: cars.
        scenes: how many.
        size: of a camera's image, pixels.
        generated: sound cases in the timed generation.
        bank: cases in the step whose cost is measured.
        each: sound cases of a behaviour by which its rates are told.
        each_batch: of those, drawn together.
        rounds: batches of a behaviour at most.
        repeats: timed calls.
        cpu, accelerator: what depends on the device.
        anywhere: whether rows are measured on whatever device there is.
    """

    name: str
    street: StreetConfig
    moving: tuple[int, ...]
    scenes: int
    size: tuple[int, int]
    generated: int
    bank: int
    each: int
    each_batch: int
    rounds: int
    repeats: int
    cpu: Amounts
    accelerator: Amounts
    anywhere: bool = False


SCALES = {
    "full": TrafficScale(
        name="full",
        street=StreetConfig(),
        moving=MOVING,
        scenes=4,
        size=(96, 64),
        generated=10_000,
        bank=1024,
        each=100,
        each_batch=512,
        rounds=12,
        repeats=3,
        cpu=Amounts(splats=60_000, environments=4, steps=2, batch=2048, together=64),
        accelerator=Amounts(splats=245_000, environments=1024, steps=20, batch=30_720, together=8192),
    ),
    "tiny": TrafficScale(
        name="tiny",
        street=StreetConfig(layout="curve", length=160.0, seconds=10.0, parked=3, pedestrians=2),
        moving=(4,),
        scenes=1,
        size=(24, 16),
        generated=6,
        bank=6,
        each=2,
        each_batch=32,  # as in the timed generation, which compiles once then
        rounds=1,
        repeats=1,
        cpu=Amounts(splats=16_000, environments=4, steps=2, batch=32, together=8),
        accelerator=Amounts(splats=16_000, environments=4, steps=2, batch=32, together=8),
        anywhere=True,
    ),
}
