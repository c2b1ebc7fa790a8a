"""One command leads from nothing to the scoreboard: its tasks, its rows, and at a tiny scale the whole way."""

import json
import pathlib

import evaluate
import fit_streets
import pytest
from learn_streets import LearnStreets, main
from learning_plan import FROZEN, SHARES, Plan, learned
from runs import RunError
from scoreboard_rows import rows_of

from jaxrecon.agents.evaluation_sets import load_set


def test_tasks_come_after_what_they_need_and_make_every_street_once(tmp_path):
    plan = Plan(tmp_path, "full")
    tasks = plan.tasks()
    seen: set[str] = set()
    for task in tasks:
        assert seen.issuperset(task.needs) and not task.done()
        seen.add(task.name)
    seeds = [s for part in ("train", "test") for n in range(SHARES) for s in plan.fitting(part, n).seeds]
    assert sorted(seeds) == [*range(1000, 1088), *range(2000, 2064)]
    learning = {task.name: task.needs for task in tasks if task.kind == "learn"}
    assert "il-0" in learning["ppo-0"] and not any(name.startswith("fit-test") for name in learning["ppo-0"])
    boards = [task for task in tasks if task.kind == "score"]
    assert {"ppo-1", "blind-il-0", "fit-test-15"} < set(boards[0].needs) and len(boards) == 3
    assert [task.name for task in Plan(tmp_path, "full", tmp_path).tasks()][-1] == "score-drives"


def test_nine_policies_look_and_two_are_blind():
    policies = learned("full")
    assert sum(not one.blind for one in policies) == 9 and sum(one.blind for one in policies) == 2
    by_folder = {one.folder: one for one in policies}
    assert len(by_folder) == len(policies)
    for one in policies:
        if one.start is not None:
            assert by_folder[one.start].blind == one.blind and by_folder[one.start].seed == one.seed


def test_the_full_scale_scores_the_frozen_sets(tmp_path):
    for kind in ("log_replay", "corner_cases", "unseen_behaviours"):
        config = Plan(tmp_path, "full").scoring(kind)
        assert config.kind == kind and config.sets == FROZEN
        found = load_set(evaluate._set_path(config, "streets"))
        assert (found.kind, len(found.scene), len(found.scenes)) == (kind, 2048, 64)


def test_streets_are_made_share_by_share():
    shares = [fit_streets.FitStreets(scale="full", train=3, test=2, share=(n, 2)).seeds for n in range(2)]
    assert shares == [[2000, 1000, 1002], [2001, 1001]]
    with pytest.raises(RunError, match="--share 2 2: expected a number from 0"):
        fit_streets.main(fit_streets.FitStreets(scale="full", share=(2, 2)))
    with pytest.raises(RunError, match="--share 5 8: it holds no street"):
        fit_streets.main(fit_streets.FitStreets(scale="tiny", share=(5, 8)))


def test_bad_flags_are_named(tmp_path):
    with pytest.raises(RunError, match="--only bake: expected some of fit, learn, score"):
        main(LearnStreets(tmp_path, only=("bake",)))
    with pytest.raises(RunError, match="--devices -1 --fitters 4: expected"):
        main(LearnStreets(tmp_path, devices=-1))


def test_an_accelerator_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="--devices 1, but JAX finds no accelerator; pass --devices 0"):
        main(LearnStreets(tmp_path, devices=1, scale="tiny", worker=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(RunError, match="--devices 2, but CUDA_VISIBLE_DEVICES is 3; ask for 1"):
        main(LearnStreets(tmp_path / "out", devices=2, scale="tiny"))


NUMBERS = [0.5, 0.4, 0.6]
METRICS = ("CR", "DR", "at_fault_collision", "progress", "EP", "PDMS", "ADD")


def test_rows_tell_rates_ratios_and_ranks():
    world = "streets, splats"
    whole = {"ratio": NUMBERS, "difference": NUMBERS}
    driver = {"driver": "IL", "world": world, "clips": 8, "scenes": 2, "seeds": 2, "in_scene": False}
    driver |= {"behaviours": {"hard_brake": NUMBERS}}
    pairs = [
        {"first": "IL", "second": name, "world": world, "metrics": {m: whole for m in METRICS} | {"CR": collisions}}
        for name, collisions in {
            "PPO": {"ratio": [3.0, 2.0, 4.0], "difference": NUMBERS},
            "perfect": {"ratio": ["infinity", 1.0, "infinity"], "difference": NUMBERS},
        }.items()
    ]
    board = {
        "rows": [{**driver, "metrics": dict.fromkeys(METRICS, NUMBERS)}],
        "comparisons": pairs,
        "transfer": {
            "policies": 8, "worlds": ["a", "b"], "rank_correlation": {"CR": [0.9, 0.7, 1.0], "DR": None},
            "disagreement": [{"policy": "IL", "world": world, "moments": 4, "differs": 0.25, "lateral": 0.0123456789}],
        },
        "sets": [{"world": "streets", "hash": "abc"}],
        "device": "cpu", "jax": "1", "date": "2026-01-01",
    }  # fmt: skip
    rows = rows_of("corner_cases", board)
    assert [row["name"] for row in rows] == [
        "scoreboard_corner_cases", "collision_ratio_corner_cases", "rank_correlation_corner_cases",
        "action_disagreement_corner_cases",
    ]  # fmt: skip
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"]) == (0.5, 0.4, 0.6)
    assert rows[0]["quality"]["set"] == "abc" and rows[0]["quality"]["DR"] == NUMBERS
    assert rows[0]["quality"]["CR_by_behaviour"] == {"hard_brake": NUMBERS}
    assert rows[1]["value"] == 3 and rows[1]["quality"]["second"] == "PPO"
    assert rows[2]["value"] == 0.9 and rows[2]["quality"]["metric"] == "CR"
    assert rows[3]["value"] == 0.25 and rows[3]["device"] == "cpu"
    assert rows[3]["quality"] == {"policy": "IL", "world": world, "moments": 4, "lateral": 0.0123457}
    assert rows_of("waymo", {**board, "transfer": None}) == [
        {**row, "name": f"{row['name'][:-12]}waymo"} for row in rows[:2]
    ]


@pytest.mark.torture
def test_everything_is_learned_and_scored_and_a_second_call_finds_it_done(tmp_path):
    config = LearnStreets(tmp_path / "out", devices=0, scale="tiny")
    rows = main(config)
    assert {row["name"] for row in rows} >= {f"scoreboard_{kind}" for kind in ("log_replay", "corner_cases")}
    drivers = {row["quality"].get("driver") for row in rows}
    assert {"IL", "IL + PPO", "blind IL", "oracle"} <= drivers
    assert json.loads((config.out / "rows.json").read_text())["rows"] == rows
    before = (config.out / "logs" / "worker-0.log").stat().st_size
    assert main(config) == rows and (config.out / "logs" / "worker-0.log").stat().st_size == before
    pages = sorted(path.parent.name for path in pathlib.Path(config.out).rglob("scoreboard.html"))
    assert pages == ["corner_cases", "log_replay", "unseen_behaviours"]
