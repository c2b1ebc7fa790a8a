"""How varied drives are: histograms of how they move, and the entropy-effective number of manoeuvres in them.

A manoeuvre is what happens in a window of ``WINDOW`` seconds, by classes of four things: speed, its change, the change
of heading, and the drift sideways of the recorded path. The shares p of all kinds give the effective number of them,
exp(-sum p log p): that of equally frequent kinds which would be as surprising (Hill's number of order 1).
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

WINDOW = 1.0  # seconds
EVERY = 0.2  # seconds from one window's start to the next
CLASSES = {
    "speed": ((0.5, 4.0, 9.0, 15.0), ("standing", "slow", "town", "fast", "very fast")),
    "speed change": ((-2.5, -0.7, 0.7, 1.5), ("hard braking", "braking", "steady", "speeding up", "fast start")),
    "turning": ((-0.2, -0.04, 0.04, 0.2), ("sharp right", "right", "straight", "left", "sharp left")),
    "drifting": ((-0.5, -0.12, 0.12, 0.5), ("right quickly", "right", "keeping", "left", "left quickly")),
}  # edges of each class: m/s, m/s in a window, radians in a window, metres in a window; and what lies between them
KINDS = int(np.prod([len(names) for _, names in CLASSES.values()]))  # combinations of classes
QUANTITIES = {
    "curvature (1/m)": np.linspace(-0.1, 0.1, 41),
    "speed (m/s)": np.linspace(0.0, 25.0, 51),
    "acceleration (m/s2)": np.linspace(-5.0, 4.0, 46),
    "lateral offset (m)": np.linspace(-6.0, 6.0, 49),
}
CURVED = 0.3  # m/s below which a path has no curvature


@dataclasses.dataclass(frozen=True)
class Motions:
    """Drives of equal length, NumPy.

    Attributes:
        yaw: (drive, step) radians.
        speed: (drive, step) m/s.
        acceleration: (drive, step) m/s2.
        yaw_rate: (drive, step) rad/s.
        offset: (drive, step) metres to the left of the recorded path.
        dt: seconds a step.
    """

    yaw: Float[np.ndarray, "drive step"]
    speed: Float[np.ndarray, "drive step"]
    acceleration: Float[np.ndarray, "drive step"]
    yaw_rate: Float[np.ndarray, "drive step"]
    offset: Float[np.ndarray, "drive step"]
    dt: float

    def take(self, chosen: np.ndarray) -> "Motions":
        """Some of the drives."""
        arrays = {field.name: getattr(self, field.name)[chosen] for field in dataclasses.fields(self)[:-1]}
        return Motions(**arrays, dt=self.dt)


@dataclasses.dataclass(frozen=True)
class Gain:
    """How much more varied cousins are than their log.

    Attributes:
        log: effective number of manoeuvres of the log.
        cousins: that of as many windows of cousins, drawn without replacement; the mean over draws.
        all_cousins: that of all their windows.
        value: ``cousins`` over ``log``: more windows alone would find more kinds, so that numbers are equal.
        low: 2.5th percentile over draws.
        high: 97.5th.
        windows: of the log.
    """

    log: float
    cousins: float
    all_cousins: float
    value: float
    low: float
    high: float
    windows: int


def entropy(counts: Int[np.ndarray, " bin"]) -> float:
    """Shannon's entropy of a histogram, nats."""
    share = np.asarray(counts, float)
    share = share[share > 0] / max(share.sum(), 1)
    return float(-(share * np.log(share)).sum())


def effective_number(counts: Int[np.ndarray, " bin"]) -> float:
    """Number of equally frequent kinds with the same entropy."""
    return float(np.exp(entropy(counts)))


def histograms(motions: Motions) -> dict[str, Int[np.ndarray, " bin"]]:
    """Steps by bin of ``QUANTITIES``; what lies beyond the edges counts in the outermost bins."""
    moving = motions.speed > CURVED
    values = {
        "curvature (1/m)": motions.yaw_rate[moving] / motions.speed[moving],
        "speed (m/s)": motions.speed,
        "acceleration (m/s2)": motions.acceleration,
        "lateral offset (m)": motions.offset,
    }
    inside = {name: np.clip(values[name], edges[0], edges[-1]) for name, edges in QUANTITIES.items()}
    return {name: np.histogram(inside[name], edges)[0] for name, edges in QUANTITIES.items()}


def manoeuvres(motions: Motions) -> Int[np.ndarray, "window class"]:
    """Class of every window of every drive, in each of ``CLASSES``."""
    steps, span = motions.speed.shape[1], round(WINDOW / motions.dt)
    begin = np.arange(0, steps - span, max(1, round(EVERY / motions.dt)))
    yaw, end = np.unwrap(motions.yaw, axis=1), begin + span
    values = {
        "speed": motions.speed[:, begin],
        "speed change": motions.speed[:, end] - motions.speed[:, begin],
        "turning": yaw[:, end] - yaw[:, begin],
        "drifting": motions.offset[:, end] - motions.offset[:, begin],
    }
    classes = [np.digitize(values[name], edges) for name, (edges, _) in CLASSES.items()]
    return np.stack(classes, axis=-1).reshape(-1, len(CLASSES))


def kinds(classes: Int[np.ndarray, "window class"]) -> Int[np.ndarray, " window"]:
    """A number for every combination of classes."""
    sizes = [len(names) for _, names in CLASSES.values()]
    return np.ravel_multi_index(tuple(classes.T), sizes)


def gain(log: Motions, cousins: Motions, draws: int = 200, seed: int = 0) -> Gain:
    """The entropy gain of cousins over their log.

    Args:
        log: the recorded drive.
        cousins: accepted ones.
        draws: samples of the cousins' windows.
        seed: of these.
    """
    recorded, driven = kinds(manoeuvres(log)), kinds(manoeuvres(cousins))
    before = effective_number(np.bincount(recorded))
    random = np.random.default_rng(seed)
    size = min(len(recorded), len(driven))
    samples = [effective_number(np.bincount(random.choice(driven, size, replace=False))) for _ in range(draws)]
    low, high = np.percentile(samples, [2.5, 97.5])
    return Gain(
        log=before,
        cousins=float(np.mean(samples)),
        all_cousins=effective_number(np.bincount(driven)),
        value=float(np.mean(samples)) / before,
        low=float(low) / before,
        high=float(high) / before,
        windows=len(recorded),
    )


def coverage(log: Motions, cousins: Motions) -> dict[str, dict[str, tuple[float, float]]]:
    """Share of the log's and of the cousins' windows in every class, by what is classified and the class's name."""
    before, after = manoeuvres(log), manoeuvres(cousins)
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for column, (name, (_, names)) in enumerate(CLASSES.items()):
        shares = [np.bincount(some[:, column], minlength=len(names)) / max(len(some), 1) for some in (before, after)]
        table[name] = {label: (float(a), float(b)) for label, a, b in zip(names, *shares, strict=True)}
    return table
