"""Rows and comparisons from scores of known answer; files; JSON without what JSON cannot hold."""

import json
import math

import jax
import numpy as np
import pytest

from jaxrecon.agents.scoreboard import (
    COMPARED,
    SHOWN,
    Label,
    Scores,
    as_json,
    compare_scores,
    failures,
    load_scores,
    make_row,
    pool,
    save_scores,
)
from jaxrecon.metrics.closed_loop import EVENTS, Measure

KEY, SCENES, CLIPS = jax.random.key(0), 8, 4
SCENE = np.repeat(np.arange(SCENES), CLIPS)


def scores(dynamic, position=0.0, frame: int = 3) -> Scores:
    """Clips of which these ended in a dynamic collision, and those too far from the path."""
    clips = len(SCENE)
    given = {"DCR": dynamic, "CR": dynamic, "PDR": position, "DR": position, "progress": 0.5}
    values = {name: np.broadcast_to(np.float32(given.get(name, 0.0)), clips) for name in SHOWN}
    known = {name: np.ones(clips, bool) for name in SHOWN} | {"PDMS": np.zeros(clips, bool)}
    measures = {name: Measure(values[name], known[name]) for name in SHOWN}
    return Scores(SCENE, np.full(clips, frame), measures, 0.25)


HALF = np.arange(len(SCENE)) % 2 == 0


def test_rows_hold_means_intervals_and_counts(tmp_path):
    row = make_row(Label("stop", "streets", in_scene=True), scores(HALF, ~HALF), KEY, 400)
    assert (row.driver, row.world, row.clips, row.scenes, row.in_scene) == ("stop", "streets", 32, 8, True)
    assert not row.headline and row.overflow_share == 0.25
    mean, low, high = row.metrics["CR"]
    # Every scene has half of its clips; 32 drawn ones have a standard error of 0.09.
    assert mean == 0.5 and 0.2 < low < 0.45 and 0.55 < high < 0.8
    assert row.metrics["SCR"] == (0, 0, 0) and row.metrics["PDMS"] is None
    assert row.failures == {"dynamic": 16, "static": 0, "position": 16, "heading": 0}
    assert list(row.failures) == list(EVENTS)
    assert failures(scores(HALF))["dynamic"] == np.flatnonzero(HALF).tolist()


def test_scores_come_back_from_their_file(tmp_path):
    save_scores(scores(HALF), tmp_path / "scores.npz")
    back = load_scores(tmp_path / "scores.npz")
    assert back.overflow_share == 0.25 and list(back.measures) == list(SHOWN)
    np.testing.assert_array_equal(back.measures["CR"].value, HALF)
    np.testing.assert_array_equal(back.scene, SCENE)
    assert back.seed is None
    save_scores(pool([back, back]), tmp_path / "pooled.npz")
    assert load_scores(tmp_path / "pooled.npz").seeds == 2


def test_comparisons_are_paired():
    always, half = scores(np.ones(len(SCENE))), scores(HALF)
    found = compare_scores(always, half, KEY, 400)
    assert list(found) == list(COMPARED)
    mean, low, high = found["CR"]["ratio"]
    # One over what half of the clips make of it.
    assert mean == 2 and 1.2 < low < 2 < high < 5
    assert found["CR"]["difference"][0] == 0.5
    assert found["progress"]["ratio"] == (1, 1, 1) and found["progress"]["difference"] == (0, 0, 0)
    assert found["DR"]["ratio"] is None and found["PDMS"]["difference"] is None
    never = compare_scores(always, scores(np.zeros(len(SCENE))), KEY, 400)
    assert math.isinf(never["CR"]["ratio"][0])
    with pytest.raises(ValueError, match="32 and 32 clips that did not start alike"):
        compare_scores(always, scores(HALF, frame=4), KEY, 400)


def test_seeds_of_one_driver_share_a_row_and_widen_its_interval():
    runs = [scores(np.full(len(SCENE), share)) for share in (0.0, 0.5, 1.0)]
    together = pool(runs)
    row = make_row(Label("RL", "streets"), together, KEY, 400)
    assert (row.clips, row.seeds, row.scenes) == (32, 3, 8)
    mean, low, high = row.metrics["CR"]
    # Clips of a seed are all alike: what varies is which of three seeds are drawn.
    assert mean == 0.5 and low < 0.1 and high > 0.9
    assert make_row(Label("IL", "streets"), runs[1], KEY, 400).metrics["CR"] == (0.5, 0.5, 0.5)
    # One seed is compared with each of three; three with three in pairs.
    assert compare_scores(together, runs[0], KEY, 400)["CR"]["difference"][0] == 0.5
    assert compare_scores(together, together, KEY, 400)["CR"]["ratio"] == (1, 1, 1)
    with pytest.raises(ValueError, match="one seed or as many as the other"):
        compare_scores(together, pool(runs[:2]), KEY, 400)
    with pytest.raises(ValueError, match="did not start alike"):
        pool([runs[0], scores(HALF, frame=4)])
    with pytest.raises(ValueError, match="pool got no scores"):
        pool([])


def test_collisions_are_told_by_behaviour():
    played = ["hard_brake" if number % 2 == 0 else "merge" for number in range(len(SCENE))]
    runs = [scores(HALF), scores(np.zeros(len(SCENE)))]
    row = make_row(Label("IL", "streets"), runs[0], KEY, 400, played)
    assert row.behaviours == {"hard_brake": (1, 1, 1), "merge": (0, 0, 0)}
    mean, low, high = make_row(Label("IL", "streets"), pool(runs), KEY, 400, played).behaviours["hard_brake"]
    assert mean == 0.5 and low < 0.1 and high > 0.9  # two seeds differ
    assert make_row(Label("IL", "streets"), runs[0], KEY, 400).behaviours == {}
    with pytest.raises(ValueError, match="31 behaviours were given for 32 clips of 1 seeds"):
        make_row(Label("IL", "streets"), runs[0], KEY, 400, played[1:])


def test_json_holds_infinities_as_text_and_nothing_as_null():
    told = as_json(
        {"a": (1.0, math.inf, -math.inf), "b": math.nan, "row": make_row(Label("x", "y"), scores(HALF), KEY, 50)}
    )
    assert told["a"] == [1.0, "infinity", "-infinity"] and told["b"] is None
    assert json.loads(json.dumps(told, allow_nan=False))["row"]["metrics"]["PDMS"] is None
