"""The evaluation sets that the repository holds are whole, and of the streets that anyone makes from their seeds."""

import pathlib

import numpy as np
import pytest
from fit_streets import SCALES
from fitted_streets import FIRST, street_log

from jaxrecon import street
from jaxrecon.agents.evaluation_sets import load_set, scene_hash
from jaxrecon.agents.scoreboard import FULL_CLIPS
from jaxrecon.traffic.behaviours import NAMES, TRAINED

SETS = pathlib.Path(__file__).parents[2] / "benchmarks" / "sets"
KINDS = ("log_replay", "corner_cases", "unseen_behaviours")
KNOWN = {NAMES[number] for number in TRAINED}


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_whole_and_covers_every_test_street(kind):
    found = load_set(SETS / f"streets-{kind}.json")
    assert found.kind == kind and found.clips.count == FULL_CLIPS
    assert [name.split("-")[-1] for name, _ in found.scenes] == [str(FIRST["test"] + i) for i in range(64)]
    assert set(np.asarray(found.clips.scenes)) == set(range(64))


@pytest.mark.parametrize("kind", KINDS)
def test_behaviours_of_tests_are_kept_from_training(kind):
    played = {one.behaviour for one in load_set(SETS / f"streets-{kind}.json").challenges}
    assert (
        played
        == {
            "log_replay": set(),
            "corner_cases": played & KNOWN,
            "unseen_behaviours": set(NAMES) - KNOWN,
        }[kind]
    )
    assert len(played) >= {"log_replay": 0, "corner_cases": 8, "unseen_behaviours": 2}[kind]


@pytest.mark.parametrize("number", [0, 63])
def test_a_street_of_a_set_follows_from_its_seed(number):
    (name, wanted) = load_set(SETS / "streets-log_replay.json").scenes[number]
    log = street_log(street.generate(SCALES["full"].street, FIRST["test"] + number))
    assert (log.name, scene_hash(log)) == (name, wanted)
