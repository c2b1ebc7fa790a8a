"""The whole loop on a straight road of closed form: clone, improve, evaluate, compare."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.agents import Clips, ImitationParams, PolicyOutput, PPOConfig, evaluate, imitate, ppo
from jaxrecon.dynamics import anchors
from jaxrecon.geometry.transforms import rigid
from jaxrecon.logs.driving_log import CameraStream, DrivingLog
from jaxrecon.metrics.closed_loop import METRICS
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Perturbation, Simulator, SimulatorConfig, build_world, default_params, policy_rig
from jaxrecon.simulator import demonstrations as demonstrate
from jaxrecon.simulator.cameras import Drawing

SPEED, FRAMES, DT = 8.0, 40, 0.1
PARAMS = default_params(start_lateral=0.2, start_heading=0.02, start_speed=0.0)


@jax.tree_util.register_static
class Stripes:
    """Paints frames with where the camera is: metres along (red) and 64 grey levels a metre to the side (green)."""

    def draw(self, cameras, scene, world_from_actor, actor_valid) -> Drawing:
        position = cameras.world_from_camera[:, :2, 3] * jnp.array([1.0, 64.0]) + jnp.array([0.0, 128.0])
        pixel = jnp.clip(jnp.pad(position, ((0, 0), (0, 1))), 0, 255).astype(jnp.uint8)
        shape = (len(pixel), cameras.height, cameras.width, 3)
        return Drawing(frames=jnp.broadcast_to(pixel[:, None, None], shape), overflow=jnp.zeros(len(pixel), bool))


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A driver that always wants the same anchor pair, and more so the first than the second."""

    lateral: float
    longitudinal: float

    def __call__(self, observation) -> PolicyOutput:
        b = observation.ego.shape[0]
        logits = [
            jnp.tile(-100 * jnp.abs(jnp.asarray(scale) - wanted), (b, 1))
            for scale, wanted in ((anchors.LATERAL, self.lateral), (anchors.LONGITUDINAL, self.longitudinal))
        ]
        return PolicyOutput(*logits, values=jnp.zeros((b, 4)))


jax.tree_util.register_static(Fixed)
STRAIGHT, STOP, LEFT = Fixed(0.0, SPEED * anchors.HORIZON), Fixed(0.0, 0.0), Fixed(0.75, SPEED * anchors.HORIZON)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    x = SPEED * DT * np.arange(FRAMES)
    camera_rotation = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    camera = CameraStream(
        name="front",
        intrinsics=np.array([8.0, 8.0, 4.0, 4.0]),
        ego_from_camera=rigid(camera_rotation, np.array([1.5, 0.0, 1.5])),
        images=np.zeros((FRAMES, 8, 8, 3), np.uint8),
    )
    log = DrivingLog(
        name="straight",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=rigid(np.tile(np.eye(3), (FRAMES, 1, 1)), np.stack([x, 0 * x, 0 * x], axis=-1)),
        cameras=(camera,),
    )
    world = build_world(log, Stripes(), policy_rig(log, 8, 8), occupancy.empty())
    return Simulator(world, SimulatorConfig(clip_seconds=2.0))


@pytest.fixture(scope="module")
def clips(simulator) -> Clips:
    return evaluate.draw_clips(simulator, jax.random.key(7), 10, PARAMS)


def drive(simulator, policy, clips, **arguments):
    return evaluate.evaluate(simulator, policy, clips, PARAMS, jax.random.key(1), batch=4, progress=False, **arguments)


def test_recorded_driver_stays_on_its_own_path(simulator, clips):
    report = evaluate.evaluate_recorded(simulator, clips, PARAMS, jax.random.key(0))
    assert list(report.summary) == list(METRICS)
    assert report.summary["CR"] == report.summary["DR"] == 0
    # Positions of a few tens of metres in float32.
    assert report.summary["ADD"] < 1e-3 and report.summary["progress"] > 0.999


def test_drivers_of_known_fate(simulator, clips):
    straight, stop, left = (drive(simulator, policy, clips) for policy in (STRAIGHT, STOP, LEFT))
    assert straight.summary["DR"] == 0 and straight.summary["progress"] > 0.98
    assert left.summary["DR"] == 1 and left.intervals["DR"] == (1, 1)
    # From 8 m/s at 8 m/s2 the car stands after 4 of the 16 m.
    assert stop.summary["DR"] == 0 and 0.2 < stop.summary["progress"] < 0.35
    ends = np.asarray(left.rollout.terminated)
    assert (ends.sum(axis=0) == 1).all()
    assert not (np.cumsum(ends, axis=0) - ends > 0)[np.asarray(left.rollout.valid)].any()
    difference = evaluate.compare(left, straight, jax.random.key(0))
    assert difference["CR+DR"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert difference["progress"]["high"] < 0


def test_clips_do_not_depend_on_the_chunks_and_start_where_they_should(simulator, clips):
    in_fours = drive(simulator, LEFT, clips, film=9)
    at_once = evaluate.evaluate(simulator, LEFT, clips, PARAMS, jax.random.key(5), batch=10, progress=False)
    # Another batch size may round differently.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), in_fours.rollout, at_once.rollout)
    first = np.asarray(in_fours.rollout.trace.position)[0]
    expected = SPEED * DT * (np.asarray(clips.start_frames) + 1)
    np.testing.assert_allclose(first[:, 0], expected, atol=0.05)
    side = np.asarray(clips.perturbation.lateral)
    np.testing.assert_allclose(first[:, 1], side, atol=0.15)
    film = in_fours.film
    assert film.clip == 9 and film.frames.shape == (21, 1, 8, 8, 3)
    np.testing.assert_allclose(film.frames[0, 0, 0, 0, 1], 128 + 64 * side[9], atol=6)
    valid = np.asarray(in_fours.rollout.valid)[:, 9]
    moving = film.frames[1:, 0, 0, 0, 1].astype(int)
    assert (np.diff(moving[valid]) >= 0).all() and (moving[~valid] == moving[valid][-1]).all()


def test_bad_requests_are_named(simulator, clips):
    with pytest.raises(ValueError, match=r"film is 10, expected a clip's number in \[0, 10\)"):
        drive(simulator, STRAIGHT, clips, film=10)
    with pytest.raises(ValueError, match="count is 0"):
        evaluate.draw_clips(simulator, jax.random.key(0), 0, PARAMS)
    fewer = jax.tree.map(lambda x: x[:4], clips)
    reports = [evaluate.evaluate_recorded(simulator, c, PARAMS, jax.random.key(0)) for c in (clips, fewer)]
    with pytest.raises(ValueError, match="10 and 4 clips that did not start alike"):
        evaluate.compare(*reports, jax.random.key(0))


@pytest.mark.torture
def test_clone_then_improve_then_evaluate(simulator, clips, imitation_config, tmp_path):
    frames = jnp.tile(jnp.arange(30, dtype=jnp.int32), 2)
    noise = jax.random.normal(jax.random.key(2), (2, len(frames)))
    perturbation = Perturbation(lateral=0.4 * noise[0], heading=0.05 * noise[1], speed=jnp.ones(len(frames)))
    shown = jax.jit(demonstrate)(simulator, frames, PARAMS, perturbation)
    cloned, _ = imitate.fit(
        shown, imitation_config, jax.random.key(0), params=ImitationParams(learning_rate=3e-3), progress=False
    )
    run = PPOConfig(updates=3, environments=8, steps=8, epochs=2, minibatches=2, save_every=2)
    improve = lambda: ppo.fit(  # noqa: E731
        simulator, cloned, run, jax.random.key(3), environment_params=PARAMS, demonstrations=shown, folder=tmp_path,
        progress=False,
    )  # fmt: skip
    improved, history = improve()
    assert {"imitation_loss", "event_rate", "lateral_kl", "steps_per_second"} <= history.keys()
    assert np.isfinite(np.stack([history[name] for name in ("loss", "imitation_loss", "gradient_norm")])).all()
    # Three critics-first updates near the clone: it must still drive like it, and not collide with an empty world.
    reports = [drive(simulator, policy, clips) for policy in (cloned, improved)]
    assert all(report.summary["CR"] == 0 and report.overflow_share == 0 for report in reports)
    assert all(report.summary["progress"] > 0.8 for report in reports)
    newest = tmp_path / "step_00000003"
    (newest / "manifest.json").write_text("{}")
    with pytest.warns(UserWarning, match="damaged"):
        again, _ = improve()
    jax.tree.map(np.testing.assert_array_equal, improved.parameters, again.parameters)
