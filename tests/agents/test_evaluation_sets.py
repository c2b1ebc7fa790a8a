"""Frozen sets: the same from the same seed, whole or refused, and only for the scenes that they were drawn in."""

import dataclasses
import json

import numpy as np
import pytest

from jaxrecon.agents.evaluation_draws import draw_challenged, draw_log_replay
from jaxrecon.agents.evaluation_sets import (
    Challenge,
    EvaluationSet,
    EvaluationSetError,
    load_set,
    save_set,
    scene_hash,
)
from jaxrecon.geometry.transforms import rigid
from jaxrecon.logs.driving_log import DrivingLog, Track
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Simulator, SimulatorConfig, build_world, default_params, join_worlds

PARAMS = default_params()


def straight(name: str, frames: int, speed: float = 8.0) -> DrivingLog:
    x = 0.1 * speed * np.arange(frames)
    pose = rigid(np.tile(np.eye(3), (frames, 1, 1)), np.stack([x, 0 * x, 0 * x], axis=-1))
    aside = pose.copy()
    aside[:, 1, 3] = 4.0
    seen = np.arange(frames) > 2
    aside[~seen] = np.eye(4)
    box = Track("car", "vehicle", np.array([4.0, 1.8, 1.5]), aside, seen)
    return DrivingLog(name=name, timestamps=0.1 * np.arange(frames), world_from_ego=pose, tracks=(box,))


LOGS = [straight("short", 40), straight("long", 90)]
SCENES = [(log.name, scene_hash(log)) for log in LOGS]


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    worlds = [build_world(log, None, None, occupancy.empty()) for log in LOGS]
    return Simulator(join_worlds(worlds), SimulatorConfig(clip_seconds=2.0, render=False))


@pytest.fixture(scope="module")
def drawn(simulator) -> EvaluationSet:
    return draw_log_replay(simulator, SCENES, seed=7, clips=2001, params=PARAMS)


def test_clips_are_spread_evenly_and_start_as_training_does(simulator, drawn):
    assert np.bincount(drawn.scene).tolist() == [1001, 1000]
    allowed = np.asarray(simulator.start_frames)
    assert allowed[drawn.scene, drawn.frame].all()
    for scene, frames in enumerate(allowed):
        # A thousand draws leave none of at most 70 frames out.
        assert set(drawn.frame[drawn.scene == scene]) == set(np.flatnonzero(frames))
    lateral, heading, speed = drawn.perturbation.T
    # Standard errors of means and deviations of 2001 draws are 2 %; five of them.
    assert [lateral.std(), heading.std(), speed.std()] == pytest.approx([0.3, 0.03, 0.1], rel=0.1)
    assert [lateral.mean(), heading.mean(), speed.mean() - 1] == pytest.approx([0, 0, 0], abs=0.035)
    clips = drawn.clips
    assert clips.count == 2001 and clips.perturbation.lateral.dtype == np.float32


def test_the_seed_decides(simulator, drawn):
    again = draw_log_replay(simulator, SCENES, seed=7, clips=2001, params=PARAMS)
    other = draw_log_replay(simulator, SCENES, seed=8, clips=2001, params=PARAMS)
    assert again.content_hash == drawn.content_hash != other.content_hash


def test_files_come_back_as_they_were(drawn, tmp_path):
    path = tmp_path / "sets" / "set.json"
    assert save_set(drawn, path) == drawn.content_hash
    back = load_set(path, SCENES)
    assert back.content_hash == drawn.content_hash
    np.testing.assert_array_equal(back.frame, drawn.frame)
    np.testing.assert_array_equal(back.perturbation, drawn.perturbation)
    assert back.drawn_with["clip_seconds"] == 2.0
    assert path.stat().st_size < 100_000
    with pytest.raises(EvaluationSetError, match="exists; a frozen set is not overwritten"):
        save_set(drawn, path)


def corner_cases(drawn: EvaluationSet) -> EvaluationSet:
    challenge = Challenge("cut_in", actor=0, frame=5, parameters={"gap": 8.0, "speed": 6.5})
    few = dict(scene=drawn.scene[:3], frame=drawn.frame[:3], perturbation=drawn.perturbation[:3])
    return dataclasses.replace(drawn, kind="corner_cases", challenges=(challenge,) * 3, **few)


def test_challenges_travel_with_their_clips(drawn, tmp_path):
    save_set(corner_cases(drawn), tmp_path / "set.json")
    back = load_set(tmp_path / "set.json")
    assert back.kind == "corner_cases"
    assert back.challenges[2] == Challenge("cut_in", 0, 5, {"gap": 8.0, "speed": 6.5})
    missing = dataclasses.replace(corner_cases(drawn), challenges=())
    with pytest.raises(EvaluationSetError, match="has 0 challenges; a set of kind corner_cases has one for each of"):
        save_set(missing, tmp_path / "missing.json")


def cut_ins(random: np.random.Generator, scene: np.ndarray, frame: np.ndarray, _) -> list[Challenge | None]:
    """Finds nothing sound before frame 10."""
    starts = zip(frame.tolist(), random.uniform(5, 15, len(scene)).round(3).tolist(), strict=True)
    return [Challenge("cut_in", 0, start + 3, {"gap": gap}) if start >= 10 else None for start, gap in starts]


def test_challenges_are_drawn_until_all_are_sound(simulator, tmp_path):
    drawn = draw_challenged("corner_cases", simulator, SCENES, 3, 41, PARAMS, cut_ins)
    assert np.bincount(drawn.scene).tolist() == [21, 20] and (drawn.frame >= 10).all()
    assert [challenge.frame for challenge in drawn.challenges] == (drawn.frame + 3).tolist()
    assert drawn.drawn_with["behaviours"] == ["cut_in"]
    # Clips of 2 s start among frames 0 to 19 and 0 to 69: 41 of 65 on average, with a deviation of 0.07.
    assert drawn.drawn_with["sound_share"] == pytest.approx(0.63, abs=0.2)
    again = draw_challenged("corner_cases", simulator, SCENES, 3, 41, PARAMS, cut_ins)
    other = draw_challenged("unseen_behaviours", simulator, SCENES, 3, 41, PARAMS, cut_ins)
    assert again.content_hash == drawn.content_hash != other.content_hash
    save_set(other, tmp_path / "other.json")
    assert load_set(tmp_path / "other.json", SCENES).challenges == other.challenges


def test_challengers_that_find_nothing_are_named(simulator):
    with pytest.raises(EvaluationSetError, match="for 4 of 4 clips in 5 rounds, the first in scene short; widen"):
        draw_challenged("corner_cases", simulator, SCENES, 3, 4, PARAMS, lambda r, s, f, d: [None] * len(s), rounds=5)
    with pytest.raises(EvaluationSetError, match="answers for 0 clips of 4 asked about"):
        draw_challenged("corner_cases", simulator, SCENES, 3, 4, PARAMS, lambda r, s, f, d: [])
    with pytest.raises(EvaluationSetError, match="of kind 'log_replay' was asked for; expected one of"):
        draw_challenged("log_replay", simulator, SCENES, 3, 4, PARAMS, cut_ins)


def test_a_changed_file_is_refused(drawn, tmp_path):
    path = tmp_path / "set.json"
    save_set(drawn, path)
    content = json.loads(path.read_text())
    content["clips"]["frame"][0] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(EvaluationSetError, match="it was changed since it was frozen"):
        load_set(path)
    for other in ("{}", "[]", "3", path.read_text()[:-40]):
        path.write_text(other)
        with pytest.raises(EvaluationSetError, match="holds no evaluation set"):
            load_set(path)
    with pytest.raises(EvaluationSetError, match="holds no evaluation set"):
        load_set(tmp_path / "absent.json")
    content = {**json.loads(json.dumps(content)), "version": 9}
    path.write_text(json.dumps(content))
    with pytest.raises(EvaluationSetError, match="version 9; expected 'jaxrecon evaluation set' version 1"):
        load_set(path)


def test_other_scenes_are_refused(drawn):
    with pytest.raises(EvaluationSetError, match="is of 2 scenes, the world has 1"):
        drawn.check_scenes(SCENES[:1])
    changed = [SCENES[0], ("long", scene_hash(straight("long", 90, speed=8.1)))]
    with pytest.raises(EvaluationSetError, match=r"scene 1 is long with hash \w{12}, the world's is long with hash"):
        drawn.check_scenes(changed)


def test_empty_and_contradictory_sets_are_refused(simulator, drawn, tmp_path):
    none = dict(scene=drawn.scene[:0], frame=drawn.frame[:0], perturbation=drawn.perturbation[:0])
    for changes, problem in (
        (none, "has no clips; expected at least one"),
        ({"kind": "guesses"}, "has the kind 'guesses'"),
        ({"frame": drawn.frame[:-1]}, "has 2001 scenes, 2000 frames and 2001 perturbations"),
        ({"scene": drawn.scene + 1}, "has clips in scenes 1 to 2 of 2"),
        ({"perturbation": drawn.perturbation * np.nan}, "has perturbations that are not finite"),
        ({"frame": drawn.frame - 1000}, r"has a clip that starts at frame -\d+; expected 0 or more"),
        (
            {"challenges": (Challenge("cut_in_left", 0, 3, {"gap": np.nan}),)},
            "has challenges with parameters that are not",
        ),
    ):
        with pytest.raises(EvaluationSetError, match=problem):
            save_set(dataclasses.replace(drawn, **changes), tmp_path / "bad.json")
    with pytest.raises(EvaluationSetError, match="asked for 1 clips in 2 named scenes of a world of 2"):
        draw_log_replay(simulator, SCENES, seed=7, clips=1, params=PARAMS)


def test_scene_hashes_tell_drives_apart_but_not_rounding():
    log = LOGS[1]
    found = scene_hash(log)
    moved = log.world_from_ego.copy()
    moved[:, 1, 3] += 1e-9
    assert scene_hash(dataclasses.replace(log, world_from_ego=moved, name="renamed")) == found
    moved[7, 0, 3] += 2e-4
    assert scene_hash(dataclasses.replace(log, world_from_ego=moved)) != found
    assert scene_hash(dataclasses.replace(log, tracks=())) != found
