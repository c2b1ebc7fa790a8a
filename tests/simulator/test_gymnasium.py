"""The simulator behind Gymnasium's interface: its checker passes, and its vector wrappers run on it."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from jaxrecon.metrics.closed_loop import EVENTS
from jaxrecon.simulator import Simulator, SimulatorConfig, join_worlds
from jaxrecon.simulator.adapters import gymnasium_env
from jaxrecon.simulator.adapters.gymnasium_env import DrivingEnv, DrivingVectorEnv

CONFIG = SimulatorConfig(action="continuous", clip_seconds=0.5)
ENVIRONMENTS = 5


@pytest.fixture(scope="module")
def driving(build) -> Simulator:
    """Two scenes, the first without its tracks, clips of five steps."""
    first, second = build(name="empty", tracks=()).world, build().world
    return Simulator(join_worlds([first, second], second.source), CONFIG)


@pytest.fixture(scope="module")
def envs(driving):
    return DrivingVectorEnv(driving, ENVIRONMENTS)


def straight(envs):
    return np.zeros(envs.action_space.shape, np.float32)


def test_the_checker_passes(build):
    anchors = build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # but for what is so on purpose:
        for known in ("not normalized", "infinity", "spec", "render", "symmetric and normalized"):
            warnings.filterwarnings("ignore", message=f".*{known}.*")
        check_env(DrivingEnv(anchors, observation="both"))
    discrete = DrivingVectorEnv(anchors, 2, observation="state")
    assert discrete.single_action_space == gymnasium.spaces.MultiDiscrete([61, 61], dtype=np.int32)
    assert discrete.observation_space.shape == (2, 10)


def test_spaces_hold_what_comes(envs):
    observation, info = envs.reset(seed=1)
    assert observation in envs.observation_space and observation["frames"].dtype == np.uint8
    assert envs.observation_space["frames"].shape == observation["frames"].shape == (ENVIRONMENTS, 1, 3, 8, 3)
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    envs.action_space.seed(0)
    for _ in range(7):
        observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
        assert observation in envs.observation_space
        for values, kind in ((reward, np.float64), (terminated, np.bool_), (truncated, np.bool_)):
            assert isinstance(values, np.ndarray) and values.shape == (ENVIRONMENTS,) and values.dtype == kind
        assert set(EVENTS) <= set(info) and {f"_{name}" for name in EVENTS} <= set(info)
        np.testing.assert_allclose(reward, -sum(info[name] for name in EVENTS))


def test_clips_restart_on_the_step_after_their_last(envs):
    envs.reset(seed=2)
    ends, says = [], []
    for _ in range(8):
        _, reward, terminated, truncated, info = envs.step(straight(envs))
        ends.append(terminated | truncated)
        says.append(info["_progress"])
        assert not (reward[~says[-1]]).any()
    np.testing.assert_array_equal(~np.array(says)[1:], np.array(ends)[:-1])
    assert np.array(ends)[4].all() or np.array(ends)[:4].any()


def test_seeds_repeat_and_go_on(envs):
    def drive(**seed):
        first = envs.reset(**seed)[0]["state"]
        return [first, *(envs.step(straight(envs))[0]["state"] for _ in range(7))]

    once, other, again = drive(seed=3), drive(), drive(seed=3)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once[0], other[0])


def test_clips_start_in_the_chosen_scenes(envs):
    for scenes, expected in ((["closed-form"], 1), ([0], 0)):
        _, info = envs.reset(seed=0, options={"scenes": scenes})
        for _ in range(7):
            assert (info["scene"] == expected).all()
            *_, info = envs.step(straight(envs))
    _, info = envs.reset(seed=0)
    assert set(info["scene"]) == {0, 1}


def test_one_compilation_serves_all_steps(envs):
    envs.reset(seed=0)
    envs.step(straight(envs))
    before = gymnasium_env._reset._cache_size(), gymnasium_env._step._cache_size()
    for scenes in ([0], [1], [0, 1]):
        envs.reset(options={"scenes": scenes})
        envs.step(envs.action_space.sample())
    assert (gymnasium_env._reset._cache_size(), gymnasium_env._step._cache_size()) == before


def test_gymnasium_wrappers_count_its_episodes(envs):
    counted = RecordEpisodeStatistics(envs)
    counted.reset(seed=4)
    lengths = []
    for _ in range(13):
        *_, info = counted.step(straight(envs))
        if "episode" in info:
            lengths += info["episode"]["l"][info["_episode"]].tolist()
    assert len(lengths) >= 2 * ENVIRONMENTS and max(lengths) == 5


def test_bad_use_is_named(driving, envs):
    with pytest.raises(gymnasium.error.ResetNeeded, match="before the first reset"):
        DrivingVectorEnv(driving, 1).step(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"the options \['speed'\]; expected some of"):
        envs.reset(options={"speed": 3})
    with pytest.raises(ValueError, match=r"the scenes \['mars'\]; expected some of \['empty', 'closed-form'\]"):
        envs.reset(options={"scenes": ["mars"]})
    with pytest.raises(ValueError, match="num_envs is 0; expected at least 1"):
        DrivingVectorEnv(driving, 0)
