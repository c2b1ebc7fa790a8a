"""Policies are imitated and improved by the commands, at a tiny scale; an interrupted run goes on exactly."""

import dataclasses
import json
import pathlib

import imitate
import jax
import numpy as np
import pytest
import train_ppo
import training_presets
from fitted_streets import FIRST, save_street
from reconstruct_presets import TINY_STREET
from runs import RunError
from training_cases import cases_as_clips
from training_records import Records
from training_worlds import show_all, training_worlds

from jaxrecon import agents, street
from jaxrecon.agents.challengers import NonReacting
from jaxrecon.agents.evaluate import evaluate
from jaxrecon.reconstruct import InitialiseConfig
from jaxrecon.reconstruct.initialise import initialise
from jaxrecon.reconstruct.views import collect_views

STREET = dataclasses.replace(TINY_STREET, seconds=4.0)


def make_streets(folder: pathlib.Path, config: street.StreetConfig) -> pathlib.Path:
    """A folder as `fit_streets.py` makes it, of one training street, whose splats are those that a fit starts from."""
    log = street.record(street.generate(config, FIRST["train"]), progress=False)
    scene = initialise(log, collect_views(log), InitialiseConfig(capacity=500))
    save_street(log, scene, {"seed": FIRST["train"]}, folder / f"street-{FIRST['train']}")
    (folder / "run.json").write_text(json.dumps({"street": dataclasses.asdict(config)}))
    return folder


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Of one short street."""
    return make_streets(tmp_path_factory.mktemp("streets"), STREET)


@pytest.fixture(scope="module")
def imitated(streets, tmp_path_factory):
    """Configuration and metrics of a finished imitation, blind, for drawing takes most of the time."""
    out = tmp_path_factory.mktemp("run") / "il"
    config = imitate.Imitate(out, streets, preset="tiny", history=2, normalise=True, blind=True)
    return config, imitate.main(config)


@pytest.mark.slow
def test_imitation_leaves_a_policy_its_metrics_and_curves(imitated, capsys):
    config, metrics = imitated
    policy, _ = agents.load_policy(config.out / "policy")
    assert (policy.config.history, policy.config.rewards, policy.config.width) == (2, 5, 16)
    assert {path.name for path in config.out.iterdir()} == {"policy", "metrics.json", "curves.png", "run.json"}
    assert 0 <= metrics["driving_cost"] <= 2 and np.isfinite(metrics["validation_loss"])
    assert imitate.main(config) == metrics
    assert "holds the finished results" in capsys.readouterr().out
    with pytest.raises(RunError, match="holds a run with another configuration"):
        imitate.main(dataclasses.replace(config, seed=1))


def test_demonstrations_come_block_by_block_with_their_copies(streets):
    train = training_presets.for_training(training_worlds(streets, (16, 12)).train, "anchors", blind=True)
    shown = show_all(train, training_presets.training_params(), 1, 2, jax.random.key(0), blind=True)
    assert shown.count % 20 == 0 and not np.asarray(shown.frames).any()
    row, earlier = np.asarray(shown.recall).T
    # Ten recorded frames, then ten beside them, which remember no frame but their own.
    alone = (row == earlier).reshape(-1, 20)
    assert alone[:, 10:].all() and alone[0, 0] and not alone[:, 1:10].any() and not alone[1:, 0].any()
    assert (np.diff(row.reshape(-1, 20)[:, :10]) == 1).all()


@pytest.mark.slow
def test_ppo_goes_on_where_it_was_stopped_and_leaves_its_curves(streets, imitated, tmp_path, monkeypatch):
    config = train_ppo.TrainPPO(tmp_path / "whole", streets, imitated[0].out / "policy", "tiny", blind=True)
    metrics = train_ppo.main(config)
    assert metrics["updates"] == 3 and set(metrics["driving"]) == {"before", "after"}
    assert list(metrics["driving"]["after"]) == ["CR", "DR", "at_fault_collision", "progress", "EP", "ADD"]
    assert all(0 <= metrics["driving"]["after"][name] <= 1 for name in ("CR", "at_fault_collision", "progress", "EP"))
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [0, 1, 2] and len(lines[0]["rewards"]) == 5
    assert (config.out / "curves.png").stat().st_size > 1000 and metrics["overflow_share"] == 0

    def stop(self, number, figures):
        add(self, number, figures)
        if number == 2:
            raise KeyboardInterrupt

    add = Records.add
    again = dataclasses.replace(config, out=tmp_path / "again")
    monkeypatch.setattr(Records, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        train_ppo.main(again)
    monkeypatch.setattr(Records, "add", add)
    train_ppo.main(again)
    policies = [agents.load_policy(one.out / "policy")[0] for one in (config, again)]
    jax.tree.map(np.testing.assert_array_equal, *(one.parameters for one in policies))
    resumed = [json.loads(line) for line in (again.out / "metrics.jsonl").read_text().splitlines()]
    assert [line | {"steps_per_second": 0} for line in resumed] == [line | {"steps_per_second": 0} for line in lines]


@pytest.mark.torture
def test_ppo_meets_corner_cases_and_is_validated_in_others(tmp_path):
    folder = make_streets(tmp_path, dataclasses.replace(TINY_STREET, seconds=14.0))
    config = train_ppo.TrainPPO(tmp_path / "run", folder, preset="tiny", corner_cases=12, clips=8, imitation_share=0)
    metrics = train_ppo.main(config)
    told = metrics["driving"]
    assert list(told) == ["before", "after", "before, corner cases", "after, corner cases"]
    assert told["before, corner cases"] != told["before"]
    assert "hard_brake" in metrics["corner_cases"] and (config.out / "corner_cases.png").stat().st_size > 1000
    simulator = training_presets.for_training(training_worlds(folder, (16, 12)).train, "anchors", blind=True)
    cost = cases_as_clips(simulator, training_presets.validation_params(), 8, jax.random.key(5))
    recorded = evaluate(cost.simulator, NonReacting(), cost.clips, cost.params, jax.random.key(0), progress=False)
    assert recorded.summary["CR"] > 0.25


def test_a_policy_without_a_critic_for_each_reward_is_refused(streets, tmp_path):
    shape = training_presets.network("tiny", (16, 12), rewards=4)
    agents.save_policy(tmp_path / "policy", agents.create_policy(shape, jax.random.key(0)))
    with pytest.raises(agents.ArchitectureError, match="has 4 values, the rewards are"):
        train_ppo.main(train_ppo.TrainPPO(tmp_path / "run", streets, tmp_path / "policy", "tiny"))


def test_a_lateral_head_that_may_swerve_learns_from_collisions(streets, imitated, tmp_path, monkeypatch):
    seen = []

    def fit(environment, policy, schedule, *_, **__):
        seen.append(schedule)
        raise KeyboardInterrupt

    monkeypatch.setattr(agents.ppo, "fit", fit)
    for swerve in (False, True):
        config = train_ppo.TrainPPO(
            tmp_path / f"{swerve}", streets, imitated[0].out / "policy", "tiny", blind=True, swerve=swerve
        )
        with pytest.raises(KeyboardInterrupt):
            train_ppo.main(config)
    plain, swerving = seen
    dynamic = [name for name, _ in training_presets.TERMS].index("dynamic")
    assert dynamic not in plain.lateral_rewards and swerving.lateral_rewards == (dynamic, *plain.lateral_rewards)
    assert plain.longitudinal_rewards == swerving.longitudinal_rewards
    with pytest.raises(RunError, match=r"another configuration \(ppo.lateral_rewards is"):
        train_ppo.main(dataclasses.replace(config, swerve=False))


def test_bad_numbers_are_named(streets, tmp_path):
    with pytest.raises(RunError, match="--updates is 0; expected at least 1"):
        train_ppo.main(train_ppo.TrainPPO(tmp_path / "run", streets, preset="tiny", updates=0))
    with pytest.raises(RunError, match="--size huge: expected one of"):
        imitate.main(imitate.Imitate(tmp_path / "run", streets, preset="tiny", size="huge"))


def test_a_run_knows_the_policy_that_it_started_from_and_the_streets_that_it_left_out(streets, tmp_path):
    shape = training_presets.network("tiny", (16, 12))
    config = train_ppo.TrainPPO(tmp_path / "run", streets, tmp_path / "policy", "tiny")
    worlds = training_worlds(streets, (16, 12))
    told = []
    for seed in (0, 1):
        policy = agents.create_policy(shape, jax.random.key(seed))
        agents.save_policy(config.policy, policy, overwrite=True)
        told.append(train_ppo._identity(config, worlds, training_presets.SHIPPED_PPO, policy, 1, 4))
    assert told[0]["start"] != told[1]["start"] and told[0] | {"start": None} == told[1] | {"start": None}
    assert worlds.held_out == [] and list(worlds.content) == list(worlds.train.world.names)
    elsewhere = dataclasses.replace(worlds.train.world, names=("elsewhere",))
    other = dataclasses.replace(worlds, validation=dataclasses.replace(worlds.train, world=elsewhere))
    assert other.held_out == ["elsewhere"]
