"""Streets are fitted and drivers scored by the commands, at a tiny scale; what is done is not done again."""

import dataclasses
import json
import shutil

import evaluate
import fit_streets
import fitted_streets
import jax
import numpy as np
import pytest
import scoreboard_worlds
from evaluate import Evaluate, main
from fit_streets import FitStreets, StreetScale
from reconstruct_presets import TINY_FIT, TINY_STREET
from runs import RunError, fingerprint_of
from scoreboard_page import interval_text
from scoreboard_stages import Stored

from jaxrecon import agents, street
from jaxrecon.agents.evaluation_draws import draw_log_replay
from jaxrecon.agents.evaluation_sets import EvaluationSetError, load_set, save_set
from jaxrecon.logs import write_log
from jaxrecon.scene import ground, load_compact, occupancy, save_scene
from jaxrecon.scene.ground import UNKNOWN
from jaxrecon.simulator import default_params

FIT = dataclasses.replace(TINY_FIT, exposure=False, poses=False, actors=False, curve=())
SCALE = StreetScale(TINY_STREET, FIT, train=0, test=1)


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """A folder of one fitted street."""
    folder = tmp_path_factory.mktemp("streets") / "fitted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fit_streets.SCALES, "tiny", SCALE)
        made = fit_streets.main(FitStreets(out=folder, scale="tiny"))
        assert (made["streets"], made["made"]) == (1, 1)
        assert fit_streets.main(FitStreets(out=folder, scale="tiny"))["made"] == 0
    return folder


def test_a_fitted_street_holds_what_a_world_needs(streets):
    (place,) = streets.glob("street-*")
    assert place.name == "street-2000"
    assert (streets / "sheets" / "street-2000.png").exists()
    scene, note = load_compact(place / "scene")
    assert note["seed"] == 2000 and scene.gaussians.capacity > 300
    assert sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) < 60_000
    splats, reality = scoreboard_worlds.street_groups(streets, (16, 12))
    assert splats.scenes == reality.scenes and splats.scenes[0][1] == note["log_hash"]
    assert not splats.logs[0].cameras and not splats.logs[0].lidar and splats.logs[0].road_map is not None
    assert splats.simulator.world.source is not reality.simulator.world.source
    assert splats.simulator.world.traffic is reality.simulator.world.traffic


@pytest.fixture(scope="module")
def recorded(streets):
    """The street, recorded again."""
    return street.record(fit_streets.roomy(street.generate(TINY_STREET, 2000)), progress=False)


def test_obstacles_and_ground_are_kept(streets, recorded):
    (one,) = fitted_streets.read_streets(streets, "test")
    obstacles, height = occupancy.from_lidar(recorded), ground.from_lidar(recorded)
    np.testing.assert_allclose(one.obstacles.distance, obstacles.distance, atol=1e-5)
    np.testing.assert_allclose(one.obstacles.origin, obstacles.origin)
    known = np.asarray(height.height) > UNKNOWN / 2
    assert known.any() and not known.all()
    np.testing.assert_allclose(np.asarray(one.ground.height)[known], np.asarray(height.height)[known], atol=6e-4)
    assert (np.asarray(one.ground.height)[~known] == UNKNOWN).all()


def test_a_scene_of_another_street_is_refused(streets, tmp_path):
    shutil.copytree(streets, tmp_path / "streets")
    (tmp_path / "streets" / "street-2000").rename(tmp_path / "streets" / "street-2001")
    with pytest.raises(RunError, match=r"street-2001: its scene was fitted to a drive with hash \w{12}, seed 2001"):
        fitted_streets.read_streets(tmp_path / "streets", "test")
    with pytest.raises(RunError, match=r"holds no train streets \(street-1000 and on\)"):
        fitted_streets.read_streets(tmp_path / "streets", "train")


def test_a_rebuilt_drive_is_driven_where_its_fit_put_it_and_told_apart(streets, recorded, tmp_path):
    write_log(recorded, tmp_path / "drive")
    scene, _ = load_compact(streets / "street-2000" / "scene")
    save_scene(scene, tmp_path / "rebuilt" / "scene", {"log": recorded.name, "camera": "front"})
    poses = recorded.world_from_ego @ recorded.cameras[0].ego_from_camera
    poses[:, 1, 3] += 0.25
    np.savez(tmp_path / "rebuilt" / "fitted.npz", world_from_camera=poses)
    group = scoreboard_worlds.drive_group(tmp_path / "drive", tmp_path / "rebuilt", (16, 12))
    assert group.world_name == f"drive {recorded.name}, splats" and group.in_scene
    moved = group.logs[0].world_from_ego - recorded.world_from_ego
    np.testing.assert_allclose(moved[:, :3, 3], np.tile([0, 0.25, 0], (recorded.frames, 1)), atol=1e-9)
    save_scene(scene, tmp_path / "other" / "scene", {"log": "elsewhere", "camera": "front"})
    with pytest.raises(RunError, match="holds a scene of log elsewhere, not of street-merge-2000"):
        scoreboard_worlds.drive_group(tmp_path / "drive", tmp_path / "other", (16, 12))
    save_scene(scene, tmp_path / "quick" / "scene", {"log": recorded.name})
    with pytest.raises(RunError, match=r"quick was not written by reconstruct\.py"):
        scoreboard_worlds.drive_group(tmp_path / "drive", tmp_path / "quick", (16, 12))
    twice = (f"{tmp_path / 'drive'}:{tmp_path / 'rebuilt'}",) * 2
    with pytest.raises(RunError, match=f"drive {recorded.name}, splats is given twice"):
        main(Evaluate(tmp_path / "board", preset="small", drive=twice))


@pytest.mark.torture
def test_the_scoreboard_holds_every_driver_in_both_worlds(streets, tmp_path, capsys):
    for seed in range(2):
        policy = agents.create_policy(agents.PolicyConfig(width=16, height=12), jax.random.key(seed))
        agents.save_policy(tmp_path / f"policy{seed}", policy)
    config = Evaluate(
        out=tmp_path / "board",
        streets=streets,
        policy=(f"il={tmp_path / 'policy0'}", f"il={tmp_path / 'policy1'}"),
        blind=(f"blind={tmp_path / 'policy0'}",),
        clips=2,
        moments=3,
        resamples=50,
        films=("blind",),
    )
    board = main(config)
    names = ["stop", "constant speed", "IDM", "oracle", "recorded driver", "il", "blind"]
    rows = {(row["world"], row["driver"]): row for row in board["rows"]}
    assert list(rows) == [(f"streets, {drawn}", name) for drawn in ("splats", "reality") for name in names]
    for name in names[:5]:
        # Who does not look does the same whatever the world looks like.
        assert rows["streets, splats", name]["metrics"] == rows["streets, reality", name]["metrics"]
    for row in rows.values():
        assert (row["clips"], row["scenes"], row["overflow_share"]) == (2, 1, 0)
        assert row["seeds"] == (2 if row["driver"] == "il" else 1)
        ended = row["clips"] * row["seeds"] * (row["metrics"]["CR"][0] + row["metrics"]["DR"][0])
        assert sum(row["failures"].values()) == pytest.approx(ended, abs=1e-5)
    assert rows["streets, splats", "recorded driver"]["metrics"]["CR"] == [0, 0, 0]
    assert [(pair["first"], pair["second"]) for pair in board["comparisons"]] == [("il", "blind")] * 2
    mean, low, high = board["comparisons"][0]["metrics"]["progress"]["difference"]
    means = [rows["streets, splats", name]["metrics"]["progress"][0] for name in ("il", "blind")]
    assert low <= mean <= high and mean == pytest.approx(means[0] - means[1], abs=1e-5)
    disagreement = {one["policy"]: one for one in board["transfer"]["disagreement"]}
    assert disagreement["il"]["moments"] == 3 and disagreement["il"]["total_variation"] > 0
    assert list(disagreement) == ["il", "il (2)"] and board["transfer"]["policies"] == 2
    assert not board["transfer"]["rank_correlation"]

    assert json.loads((config.out / "scoreboard.json").read_text()) == json.loads(json.dumps(board))
    page, text = (config.out / "scoreboard.html").read_text(), (config.out / "scoreboard.md").read_text()
    for name in names:
        assert name in page and f"| {name} |" in text
    assert "Fewer clips than a headline row has." in text and page.count("data:image/png") >= 1
    videos = sorted(path.name for path in (config.out / "videos").glob("*.mp4"))
    ended = any(rows["streets, splats", "blind"]["failures"].values())
    assert ended == any("splats-blind-" in video for video in videos)
    assert not any("reality-blind-" in video or "-il-" in video for video in videos)

    capsys.readouterr()
    assert main(config)["rows"] == board["rows"]
    printed = capsys.readouterr().out
    # A second seed in either world; the six who do not look are scored once.
    assert printed.count("found done") == len(rows) + 2 - 6 and "done in" not in printed


def test_sets_of_other_streets_and_empty_folders_are_refused(streets, tmp_path):
    with pytest.raises(RunError, match="holds no test streets"):
        scoreboard_worlds.street_groups(tmp_path, (16, 12))
    with pytest.raises(RunError, match="'nameless': expected NAME=FOLDER"):
        main(Evaluate(out=tmp_path / "none", policy=("nameless",)))
    sets = tmp_path / "sets"
    sets.mkdir()
    (splats, _) = scoreboard_worlds.street_groups(streets, (96, 64))
    other = draw_log_replay(splats.simulator, [("street-elsewhere", "0" * 64)], 0, 4, default_params())
    save_set(other, sets / "streets-log_replay.json")
    with pytest.raises(EvaluationSetError, match="scene 0 is street-elsewhere with hash 000000000000, the world's is"):
        main(Evaluate(out=tmp_path / "none", streets=streets, sets=sets))
    assert load_set(sets / "streets-log_replay.json").scenes[0][0] == "street-elsewhere"


def test_without_worlds_streets_are_made_first(streets, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate, "STREETS", streets)
    monkeypatch.setattr(fit_streets, "main", asked.append)
    groups = evaluate._groups(Evaluate(preset="small"), (16, 12))
    assert [group.world_name for group in groups] == ["streets, splats", "streets, reality"]
    assert asked == [FitStreets(out=streets, train=0, test=2)]


def test_names_of_policies_are_checked(tmp_path):
    policy = agents.create_policy(agents.PolicyConfig(width=16, height=12), jax.random.key(0))
    agents.save_policy(tmp_path / "policy", policy)
    given = (f"il={tmp_path / 'policy'}",)
    for config, problem in (
        (Evaluate(policy=given * 2), "that name is a reference driver's, or has this policy already"),
        (Evaluate(policy=(f"stop={tmp_path / 'policy'}",)), "that name is a reference driver's"),
        (Evaluate(policy=given, films=("rl",)), r"--films rl: no policy has that name; expected some of \['il'\]"),
    ):
        with pytest.raises(RunError, match=problem):
            main(config)
    seeing, blind = (Stored("il", tmp_path / "policy", blind).identity for blind in (False, True))
    assert len({seeing, blind}) == 2 and seeing == fingerprint_of(tmp_path / "policy")
    with pytest.raises(RunError, match=r"has no manifest\.json; pass a folder that was stored whole"):
        fingerprint_of(tmp_path)


def test_counts_of_streets_are_checked():
    with pytest.raises(RunError, match="--train 0 --test 0: expected 0 to 1000 each, not both 0"):
        _ = FitStreets(scale="tiny", train=0, test=0).chosen
    seeds = FitStreets(scale="full").seeds
    assert len(seeds) == len(set(seeds)) == 152
    assert sum(seed >= fit_streets.FIRST["test"] for seed in seeds) == 64


def test_intervals_are_told_with_what_could_not_be_measured():
    assert interval_text(None) == "-"
    assert interval_text((0.5, 0.25, 1.0)) == "0.500 [0.250, 1.000]"
    assert interval_text((2.0, 1.5, "infinity"), 2) == "2.00 [1.50, inf]"
    assert np.isinf(float(interval_text(("infinity", 1.0, "infinity")).split()[0]))
