"""Entropies of known distributions, and classes of known manoeuvres."""

import dataclasses

import numpy as np
import pytest

from jaxrecon.trajectories import Motions, coverage, effective_number, entropy, gain, histograms
from jaxrecon.trajectories.diversity import CLASSES, QUANTITIES, manoeuvres


def steady(drives: int = 1, steps: int = 61, speed: float = 8.0) -> Motions:
    """Drives straight on at one speed."""
    flat = np.zeros((drives, steps))
    return Motions(yaw=flat, speed=flat + speed, acceleration=flat, yaw_rate=flat, offset=flat, dt=0.1)


def named(motions: Motions) -> list[tuple[str, ...]]:
    """Names of the classes of each window."""
    names = [labels for _, labels in CLASSES.values()]
    return [tuple(labels[k] for labels, k in zip(names, row, strict=True)) for row in manoeuvres(motions)]


@pytest.mark.parametrize(
    ("counts", "nats"),
    [([5, 5, 5, 5], np.log(4)), ([7, 0, 0], 0.0), ([1, 3], 0.25 * np.log(4) + 0.75 * np.log(4 / 3)), ([], 0.0)],
)
def test_entropy_of_known_distributions(counts, nats):
    assert entropy(np.array(counts, int)) == pytest.approx(nats)
    assert effective_number(np.array(counts, int)) == pytest.approx(np.exp(nats))


def test_windows_are_named_for_what_happens_in_them():
    time = 0.1 * np.arange(61)[None]
    still = steady()
    assert set(named(still)) == {("town", "steady", "straight", "keeping")}
    braking = dataclasses.replace(still, speed=np.maximum(8.0 - 3.0 * time, 0.0))
    assert named(braking)[0] == ("town", "hard braking", "straight", "keeping")
    assert named(braking)[-1] == ("standing", "steady", "straight", "keeping")
    turning = dataclasses.replace(still, yaw=0.3 * time, offset=-0.2 * time)
    assert set(named(turning)) == {("town", "steady", "sharp left", "right")}
    # A heading that passes pi is no spin.
    wrapped = dataclasses.replace(still, yaw=np.mod(np.pi - 0.05 + 0.1 * time + np.pi, 2 * np.pi) - np.pi)
    assert set(named(wrapped)) == {("town", "steady", "left", "keeping")}


def test_the_gain_is_that_of_known_mixtures():
    """A log of one kind; cousins of four equally frequent kinds are four times as varied."""
    parts = [steady(speed=speed) for speed in (2.0, 6.0, 12.0, 20.0)]
    fields = [field.name for field in dataclasses.fields(Motions)[:-1]]
    mixed = Motions(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in fields}, dt=0.1)
    found = gain(steady(steps=401), mixed)
    assert found.log == pytest.approx(1.0) and found.all_cousins == pytest.approx(4.0)
    assert found.value == pytest.approx(4.0, abs=0.1) and found.low <= found.value <= found.high
    assert gain(mixed, mixed).value == pytest.approx(1.0)


def test_more_windows_of_the_same_gain_nothing():
    """A few windows of a rich source against many of the same: only the count differs, and it must not count."""
    random = np.random.default_rng(0)
    speed = random.choice([2.0, 6.0, 12.0, 20.0], (400, 1)) + np.zeros((400, 12))
    many = dataclasses.replace(steady(400, 12), speed=speed)
    gains = [gain(many.take(np.arange(20 * k, 20 * k + 20)), many).value for k in range(20)]
    assert np.mean(gains) == pytest.approx(1.0, abs=0.03)


def test_coverage_sums_to_one_and_histograms_hold_every_step():
    some = steady(3, speed=30.0)
    for classes in coverage(steady(), some).values():
        assert sum(before for before, _ in classes.values()) == pytest.approx(1.0)
        assert sum(after for _, after in classes.values()) == pytest.approx(1.0)
    found = histograms(some)
    assert found["speed (m/s)"][-1] == 3 * 61  # beyond the scale
    assert all(found[name].sum() == 3 * 61 and len(found[name]) == len(QUANTITIES[name]) - 1 for name in QUANTITIES)
    assert histograms(steady(speed=0.0))["curvature (1/m)"].sum() == 0
