"""Reference drivers on a straight road of closed form, among cars whose motion is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import cases

from jaxrecon.agents import create_policy
from jaxrecon.agents.drivers import (
    Blind,
    ConstantSpeed,
    IdmDriver,
    Stop,
    as_driver,
    bend_speed,
    camera_driver,
    cruise_speeds,
)
from jaxrecon.agents.driving import Clips, Driver
from jaxrecon.agents.evaluate import evaluate, film_clips
from jaxrecon.agents.outputs import ContinuousOutput, PolicyOutput
from jaxrecon.agents.planner import Oracle, OracleConfig
from jaxrecon.agents.policy_config import ConvolutionalConfig, PolicyConfig
from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, Track
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Observation, Perturbation, Simulator, SimulatorConfig, build_world, default_params
from jaxrecon.simulator.cameras import Drawing
from jaxrecon.simulator.casting import casting_of
from jaxrecon.simulator.rigs import policy_rig
from jaxrecon.traffic.behaviours import BEHAVIOURS
from jaxrecon.traffic.idm import PathAhead, equilibrium_gap

SPEED, FRAMES, DT = 8.0, 200, 0.1
CAR = np.array([4.0, 1.8, 1.5])
LOOKING_BACK = PolicyConfig(width=8, height=8, history=3)
CONTINUOUS = PolicyConfig(width=8, height=8, action="continuous")


@jax.tree_util.register_static
class Grey:
    """Paints every frame grey."""

    def draw(self, cameras, scene, world_from_actor, actor_valid) -> Drawing:
        shape = (cameras.world_from_camera.shape[0], cameras.height, cameras.width, 3)
        return Drawing(frames=jnp.full(shape, 100, jnp.uint8), overflow=jnp.zeros(shape[0], bool))


def track(name: str, x: np.ndarray, y: np.ndarray | float, yaw: float = 0.0) -> Track:
    place = np.stack([x, y + 0 * x, 0 * x + 0.75], axis=-1)
    return Track(name, "vehicle", CAR, rigid(yaw_to_matrix(np.full(len(x), yaw)), place), np.ones(len(x), bool))


def simulator(*tracks: Track, seconds: float = 8.0) -> Simulator:
    """A car that was recorded at 8 m/s for 20 s, straight along x from the origin."""
    x = SPEED * DT * np.arange(FRAMES)
    camera_rotation = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    mount = rigid(camera_rotation, np.array([1.5, 0.0, 1.5]))
    images = np.zeros((FRAMES, 8, 8, 3), np.uint8)
    log = DrivingLog(
        name="straight",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=rigid(np.tile(np.eye(3), (FRAMES, 1, 1)), np.stack([x, 0 * x, 0 * x], axis=-1)),
        cameras=(CameraStream("front", np.array([8.0, 8.0, 4.0, 4.0]), mount, images),),
        tracks=tracks,
    )
    world = build_world(log, Grey(), policy_rig(log, 8, 8), occupancy.empty())
    return Simulator(world, SimulatorConfig(clip_seconds=seconds))


def drive(chosen: Simulator, driver, lateral=0.0, **arguments):
    start = Perturbation(*(jnp.full(2, value, jnp.float32) for value in (lateral, 0.0, 1.0)))
    clips = Clips(jnp.zeros(2, jnp.int32), start, jnp.zeros(2, jnp.int32))
    return evaluate(chosen, driver, clips, default_params(), jax.random.key(0), progress=False, **arguments)


def value(report, name: str) -> float:
    return float(np.asarray(report.per_clip[name].value)[0])


@pytest.fixture(scope="module")
def empty() -> Simulator:
    """Nobody near; as many actors as elsewhere, so that drivers compile once."""
    return simulator(track("far", np.full(FRAMES, 40.0), 60.0))


def test_speeds_of_those_who_do_not_look(empty):
    still = drive(empty, Stop(braking=2.0), lateral=0.4)
    # From 8 m/s at 2 m/s2 it stands after 4 s and 16 m, of the expert's 64 m.
    np.testing.assert_allclose(still.rollout.trace.speed[:, 0], np.maximum(8 - 0.2 * np.arange(1, 81), 0), atol=1e-4)
    assert value(still, "progress") == pytest.approx(0.25, abs=2e-3)
    constant = drive(empty, ConstantSpeed(), lateral=0.4)
    np.testing.assert_allclose(constant.rollout.trace.speed, 8.0, rtol=1e-6)
    assert value(constant, "DR") == value(constant, "CR") == 0
    # Pure pursuit leads back to the path, within centimetres after 8 s.
    assert constant.rollout.trace.path_distance[-1, 0] < 0.02


def test_a_driver_that_stops_is_hit_but_never_at_fault():
    behind = track("behind", 12.0 * DT * np.arange(FRAMES) - 20.0, 0.0)
    report = drive(simulator(behind), Stop())
    assert value(report, "DCR") == 1 and value(report, "at_fault_collision") == 0
    assert value(report, "collision_not_at_fault") == 1


def test_idm_settles_at_the_equilibrium_gap():
    slow = 5.0
    lead = track("lead", 35.0 + slow * DT * np.arange(FRAMES), 0.0)
    world = simulator(lead, seconds=19.0)
    report = drive(world, IdmDriver(cruise_speeds(world.world)))
    ego = report.rollout.trace.position[-1, 0, 0]
    shape = world.world.vehicle
    gap = 35.0 + slow * DT * 190 - CAR[0] / 2 - (ego + float(shape.centre_ahead[0] + 0.5 * shape.length[0]))
    # A few centimetres are left of the approach after 19 s.
    assert gap == pytest.approx(float(equilibrium_gap(jnp.asarray(slow), jnp.asarray(SPEED))), abs=0.25)
    assert report.rollout.trace.speed[-1, 0] == pytest.approx(slow, abs=0.1)


def test_the_oracle_foresees_what_idm_runs_into():
    # Crosses from the right at 4 m/s, across the way 3.2 s from now, where constant speed would have the ego.
    seconds = DT * np.arange(FRAMES)
    crossing = track("crossing", 27.0 + 0 * seconds, 4.0 * (seconds - 3.0), yaw=np.pi / 2)
    world = simulator(crossing)
    desired = cruise_speeds(world.world)
    assert value(drive(world, IdmDriver(desired)), "at_fault_collision") == 1
    report = drive(world, Oracle(desired))
    assert value(report, "CR") == value(report, "DR") == 0
    # It stops for it, and goes on.
    assert value(report, "progress") > 0.5 and report.rollout.trace.speed[-1, 0] > 5.0


def test_the_oracle_drives_round_what_stands_beside_its_way():
    # A parked car that reaches 0.35 m into the way: passable with 0.9 m of room to the other side.
    parked = track("parked", np.full(FRAMES, 40.0), -1.5)
    world = simulator(parked)
    assert value(drive(world, ConstantSpeed()), "SCR") == 1
    report = drive(world, Oracle(cruise_speeds(world.world)))
    assert value(report, "CR") == value(report, "DR") == 0
    assert value(report, "progress") > 0.8
    assert 0.3 < np.max(report.rollout.trace.path_distance) < 2.0


def test_bends_are_taken_at_the_lateral_acceleration_that_drivers_accept():
    arc = jnp.arange(60, dtype=jnp.float32)
    turn = arc / 20.0
    circle = PathAhead(20 * jnp.stack([jnp.sin(turn), 1 - jnp.cos(turn)], axis=-1), turn, arc)
    line = PathAhead(jnp.stack([arc, 0 * arc], axis=-1), 0 * arc, arc)
    path = jax.tree.map(lambda *leaves: jnp.stack(leaves), circle, line)
    speeds = bend_speed(path)
    assert speeds[0] == pytest.approx(np.sqrt(2.5 * 20.0), rel=1e-3)
    assert speeds[1] > 100


def test_a_blind_policy_sees_black_however_it_is_made_blind(empty):
    encoder = ConvolutionalConfig(channels=(4,))
    policy = create_policy(PolicyConfig(width=8, height=8, encoder=encoder, camera_features=4), jax.random.key(0))
    frames = jnp.full((3, 1, 8, 8, 3), 77, jnp.uint8)
    seen = Observation(frames=frames, ego=jnp.ones((3, 4)), navigation=jnp.ones((3, 6)))
    dark = Observation(frames=jnp.zeros_like(frames), ego=seen.ego, navigation=seen.navigation)
    np.testing.assert_array_equal(Blind(policy)(seen).logits[0], policy(dark).logits[0])
    assert np.abs(policy(seen).logits[0] - policy(dark).logits[0]).max() > 0
    undrawn = drive(empty, camera_driver(policy, draws=False))
    wrapped = drive(empty, Blind(policy))
    np.testing.assert_allclose(undrawn.rollout.trace.position, wrapped.rollout.trace.position, atol=1e-5)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Remembers:
    """Goes as fast, in anchors, as its newest frame is brighter than the oldest that it remembers."""

    config: PolicyConfig = LOOKING_BACK

    def __call__(self, observation) -> PolicyOutput:
        assert observation.frames.shape[1:] == (3, 1, 8, 8, 3)
        newest, oldest = (observation.frames[:, slot, 0, 0, 0, 0].astype(int) for slot in (0, -1))
        logits = jax.nn.one_hot(jnp.stack([jnp.full_like(newest, 30), newest - oldest]), 61)
        return PolicyOutput(*(50 * logits), values=jnp.zeros((len(newest), 4)))


@jax.tree_util.register_static
class Clock:
    """Paints frames by how far ahead the camera is: brighter by ten for each metre."""

    def draw(self, cameras, scene, world_from_actor, actor_valid) -> Drawing:
        x = cameras.world_from_camera[:, 0, 3] - 1.5
        shape = (len(x), cameras.height, cameras.width, 3)
        frames = jnp.broadcast_to(jnp.clip(jnp.round(10 * x), 0, 255).astype(jnp.uint8)[:, None, None, None], shape)
        return Drawing(frames=frames, overflow=jnp.zeros(len(x), bool))


def test_policies_remember_as_many_frames_as_they_were_built_for():
    world = dataclasses.replace(simulator(seconds=1.0).world, source=Clock())
    report = drive(Simulator(world, SimulatorConfig(clip_seconds=1.0)), Remembers())
    x = np.concatenate([[0.0], report.rollout.trace.position[:, 0, 0]])
    # The same in NumPy: two steps back, or at the start; an anchor is 0.25 m in 0.5 s, so 0.5 m/s.
    brightness = np.round(10 * x)
    wanted = 0.5 * (brightness - brightness[np.maximum(np.arange(len(x)) - 2, 0)])
    speed = np.concatenate([[8.0], report.rollout.trace.speed[:, 0]])
    braking = np.diff(speed) / DT
    assert wanted[0] == 0 and (np.sign(braking) == np.sign(wanted[:-1] - speed[:-1])).all()
    # From 8 m/s, two steps back are 1.6 m and sixteen grey levels: 8 m/s again.
    assert wanted[2] == pytest.approx(speed[2], abs=1.5)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Brakes:
    """Says accelerations and steering instead of anchors."""

    config: PolicyConfig = CONTINUOUS

    def __call__(self, observation) -> ContinuousOutput:
        count = len(observation.ego)
        mean = jnp.tile(jnp.asarray([0.0, -2.0]), (count, 1))
        return ContinuousOutput(mean=mean, log_deviation=jnp.zeros((count, 2)), values=jnp.zeros((count, 4)))


def test_policies_with_continuous_actions_drive_too(empty):
    report = drive(empty, Brakes())
    np.testing.assert_allclose(report.rollout.trace.speed[:, 0], np.maximum(8 - 0.2 * np.arange(1, 81), 0), atol=1e-4)
    assert as_driver(Brakes()).action == as_driver(Blind(Brakes())).action == "continuous"
    assert as_driver(Remembers()).action == "anchors"


def test_films_show_what_drivers_do_not_look_at(empty):
    clips = Clips(jnp.zeros(2, jnp.int32), Perturbation(*jnp.asarray([[0.0, 0.1], [0, 0], [1, 1]])), jnp.zeros(2, int))
    rollout, films = film_clips(empty, Stop(), clips, (1, 0), default_params(), jax.random.key(0))
    assert [film.clip for film in films] == [1, 0]
    assert films[0].frames.shape == (81, 1, 8, 8, 3) and (films[0].frames == 100).all()
    assert rollout.trace.position[0, 0, 1] == pytest.approx(0.1, abs=0.02)
    with pytest.raises(ValueError, match=r"film is 2, expected a clip's number in \[0, 2\)"):
        film_clips(empty, Stop(), clips, (2,), default_params(), jax.random.key(0))


def test_films_show_adversaries_where_they_are_and_others_where_the_log_has_them():
    time = DT * np.arange(FRAMES)
    leader, oncoming = track("leader", 16.0 + SPEED * time, 0.0), track("oncoming", 120.0 - SPEED * time, 6.0)
    alone = simulator(leader, oncoming)
    casting = casting_of(alone)
    brakes = next(number for number, one in enumerate(BEHAVIOURS) if one.name == "hard_brake")
    drawn, plan = cases(casting, np.array([brakes]), unit=1.0)
    assert np.asarray(plan.valid).all()
    challenged = dataclasses.replace(alone, challenges=casting.challenges(drawn.start, plan, jnp.zeros((1, 3))))
    nothing = Perturbation(jnp.zeros(1), jnp.zeros(1), jnp.ones(1))
    clips = Clips(jnp.zeros(1, jnp.int32), nothing, jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    rollout, (film,) = film_clips(challenged, ConstantSpeed(), clips, (0,), default_params(), jax.random.key(0))
    driven = 1 + int(rollout.valid[:, 0].sum())
    centre, logged = film.actors.centre[:driven], np.asarray(alone.world.traffic.centre[0, :driven])
    assert rollout.events[:, 0].any() and film.actors.valid[:driven, :2].all()
    np.testing.assert_allclose(centre[:, 1], logged[:, 1], atol=1e-4)
    np.testing.assert_allclose(centre[:3, 0], logged[:3, 0], atol=1e-4)
    shape, ego = alone.world.vehicle, rollout.trace.position[driven - 2, 0, 0]
    gap = centre[-1, 0, 0] - CAR[0] / 2 - (ego + float(shape.centre_ahead[0] + 0.5 * shape.length[0]))
    assert -1.0 < gap < 0.3, "it is hit where it is shown"
    assert centre[-1, 0, 0] < logged[-1, 0, 0] - 5


def test_drivers_are_drivers_and_bad_oracles_are_named():
    desired = jnp.ones(1)
    for driver in (Stop(), ConstantSpeed(), IdmDriver(desired), Oracle(desired)):
        assert isinstance(driver, Driver) and not driver.draws
    with pytest.raises(ValueError, match="expected at least one offset, speed and step"):
        OracleConfig(steps=0)
