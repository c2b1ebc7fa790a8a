"""The stages of the quickstart: each computes into the folder that it is given and returns its figures."""

import concurrent.futures
import dataclasses
import hashlib
import math
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from fitted_streets import cameras_of
from jaxtyping import PRNGKeyArray
from rooms import with_room
from runs import RunError, Stage
from showing import draw_curves, draw_sheet, film

from jaxrecon import agents, reconstruct, street
from jaxrecon.logs import CameraStream, DrivingLog, read_log, write_log
from jaxrecon.scene import occupancy
from jaxrecon.scene.files import load_scene, save_scene
from jaxrecon.scene.ply import write_ply
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator import (
    Demonstrations,
    Simulator,
    SimulatorParams,
    World,
    build_world,
    demonstrations,
    policy_rig,
)
from jaxrecon.simulator.moments import recorded_moment
from jaxrecon.simulator.observation import actors_of_cameras, ego_cameras

WIDE = 2.2  # a recorded image wider than this many times its height gets the wide policy camera


SMALL_STREET = street.StreetConfig(
    seconds=9.0,
    cameras=(street.CameraConfig(width=64, height=48),),
    lidar=street.LidarConfig(beams=32, columns=60),
    supersampling=1,
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything; what a machine can do in a few minutes.

    Attributes:
        street: the procedural street and its recording.
        image_width: of the reconstruction, pixels; smaller recordings keep their own.
        gaussians: slots of the scene.
        fit_steps: gradient steps of the reconstruction.
        policy_width: of the policy's camera, pixels; twice that where the recording is wide.
        policy_height: of the policy's camera, pixels.
        imitation_epochs: passes over the demonstrations.
        environments: driven side by side while training.
        updates: of PPO.
        clips: of the evaluation, the same for every policy.
    """

    street: street.StreetConfig
    image_width: int
    gaussians: int
    fit_steps: int
    policy_width: int
    policy_height: int
    imitation_epochs: int
    environments: int
    updates: int
    clips: int


SCALES = {
    "tiny": Scale(SMALL_STREET, 64, 600, 25, 16, 12, 10, 8, 2, 8),
    "cpu": Scale(street.StreetConfig(), 400, 2_500, 900, 48, 32, 200, 64, 40, 256),
    "accelerator": Scale(street.StreetConfig(), 621, 50_000, 3000, 48, 32, 400, 256, 40, 256),
}


def record(source: str, scale: Scale, folder: pathlib.Path) -> dict[str, Any]:
    """Record the street into the folder, or take note of the recording that is there."""
    seed = street_seed(source)
    if seed is not None:
        log = street.record(scale.street, seed)
        write_log(log, folder / "recording")
    else:
        log = read_log(source)
    return {"name": log.name, "frames": log.frames, "fingerprint": fingerprint(log)}


def street_seed(source: str) -> int | None:
    """Seed of `street` and `street:SEED`; None for anything else, which is a path.

    Raises:
        RunError: the seed is not a whole number.
    """
    name, colon, seed = source.partition(":")
    if name != "street":
        return None
    if colon and not seed.isdecimal():
        raise RunError(f"--log {source}: expected street or street:SEED with a whole number, received {seed!r}")
    return int(seed or 0)


def fingerprint(log: DrivingLog) -> str:
    """Digest of a log's poses and images, by which a later call knows that it is the same recording."""
    digest = hashlib.sha256(np.ascontiguousarray(log.world_from_ego))
    for camera in log.cameras:
        digest.update(np.ascontiguousarray(camera.images))
    return digest.hexdigest()


def open_log(source: str, stage: Stage) -> DrivingLog:
    """The recording of this run.

    Raises:
        RunError: it is not the one that the run began with.
    """
    log = read_log(source if street_seed(source) is None else stage.folder / "recording")
    if fingerprint(log) != stage.figures["fingerprint"]:
        raise RunError(f"{source} has changed since {stage.folder} was made; choose another folder with --out")
    return log


def first_camera(log: DrivingLog) -> CameraStream:
    """The camera that the scene is fitted to and that the policy looks through; others stay unseen.

    Raises:
        RunError: the log has none.
    """
    if not log.cameras:
        raise RunError(f"log {log.name} has no camera to rebuild the world from; choose a log with images")
    return log.cameras[0]


def rebuild(log: DrivingLog, scale: Scale, exposure: bool, key: PRNGKeyArray, folder: pathlib.Path) -> dict[str, Any]:
    """Fit the scene to the log's first camera and draw the views that it was not fitted to.

    A real camera adjusts its ``exposure`` from frame to frame, so it is fitted too; a street's does not.
    """
    camera = first_camera(log)
    width = min(scale.image_width, camera.size[0])
    config = reconstruct.FitConfig(
        steps=scale.fit_steps,
        width=width,
        exposure=exposure,
        initial=reconstruct.InitialiseConfig(capacity=scale.gaussians),
    )
    result = reconstruct.fit(log, config, key, camera=camera.name)
    if result.report.interrupted:
        raise KeyboardInterrupt
    report = dataclasses.asdict(result.report)
    scene_hash = save_scene(result.scene, folder / "scene", {"log": log.name, **report})
    if result.heldout is not None:
        draw_sheet(result.heldout, folder / "reconstruction.png")
    return {**report, "scene_hash": scene_hash}


def build_simulator(log: DrivingLog, scene: Scene, scale: Scale) -> Simulator:
    """The recorded drive as an environment that draws the scene for one camera, within the recorded field of view."""
    camera = first_camera(log)
    wide = camera.size[0] > WIDE * camera.size[1]
    rig = policy_rig(log, scale.policy_width * (2 if wide else 1), scale.policy_height, [camera.name])
    obstacles = occupancy.from_lidar(log) if any(len(cloud) for cloud in log.lidar) else occupancy.empty()
    probe = Simulator(build_world(log, cameras_of(scene), rig, obstacles))
    return Simulator(with_room(probe.world, room_for_pairs(probe)))


def room_for_pairs(simulator: Simulator) -> int:
    """Room for (splat, tile) pairs that a batch of policy cameras along the recorded drive needs, per camera.

    Cameras of a call share their room, so the mean counts: that of the busier half of the drive, since clips start
    early and evaluations start together, and a margin for cameras beside the recorded path.
    """

    @jax.jit
    def pairs_at(world: World, frames: jax.Array) -> jax.Array:
        moment = recorded_moment(world, jnp.zeros_like(frames), frames)
        return world.source.render(ego_cameras(world, moment), *actors_of_cameras(world, moment)).pairs

    frames = jnp.arange(int(simulator.world.frames[0]))
    pairs = np.concatenate([np.asarray(pairs_at(simulator.world, chunk)) for chunk in _chunks(frames)])
    busier = np.sort(pairs)[len(pairs) // 2 :].mean()
    return math.ceil(1.2 * busier / 1024) * 1024


def _chunks(frames: jax.Array, size: int = 16) -> list[jax.Array]:
    """Equal chunks; the last one repeats the last frame."""
    return [jnp.minimum(first + jnp.arange(size), len(frames) - 1) for first in range(0, len(frames), size)]


def demonstrate(simulator: Simulator, params: SimulatorParams) -> Demonstrations:
    """What the policy sees in the reconstruction from every recorded pose, with the recorded driver's action."""
    frames = jnp.arange(int(simulator.world.frames[0]))
    at = jax.jit(demonstrations)
    rows = [jax.device_get(at(simulator, chunk, params)) for chunk in _chunks(frames)]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(frames)], *rows)


def clone(shown: Demonstrations, scale: Scale, key: PRNGKeyArray, folder: pathlib.Path) -> dict[str, Any]:
    """Imitate the recorded driver."""
    _, cameras, height, width, _ = shown.observation.frames.shape
    network = agents.PolicyConfig(cameras=cameras, width=width, height=height)
    config = agents.ImitationConfig(policy=network, epochs=scale.imitation_epochs)
    policy, curves = agents.imitate.fit(shown, config, key)
    agents.save_policy(folder / "policy", policy)
    np.savez(folder / "curves.npz", **curves)
    return {"validation_loss": float(curves["validation_loss"].min()), "parameters": agents.parameter_count(policy)}


def improve(
    simulator: Simulator,
    policy: agents.Policy,
    shown: Demonstrations,
    params: SimulatorParams,
    scale: Scale,
    key: PRNGKeyArray,
    folder: pathlib.Path,
    checkpoints: pathlib.Path,
    identity: Mapping[str, str],
) -> dict[str, Any]:
    """Improve the policy by driving in the reconstruction; an interrupted call goes on from its checkpoints."""
    config = agents.PPOConfig(updates=scale.updates, environments=scale.environments, save_every=10)
    policy, curves = agents.ppo.fit(
        simulator,
        policy,
        config,
        key,
        environment_params=params,
        demonstrations=shown,
        folder=checkpoints,
        identity=identity,
    )
    agents.save_policy(folder / "policy", policy)
    np.savez(folder / "curves.npz", **curves)
    return {
        "env_steps_per_second": float(np.median(curves["steps_per_second"])),
        "reward": float(curves["reward"][-1]),
        "event_rate": float(curves["event_rate"][-1]),
        "overflow_share": float(curves["overflow_share"].max()),
    }


def judge(
    simulator: Simulator,
    policies: Mapping[str, agents.Policy],
    clips: agents.Clips,
    params: SimulatorParams,
    key: PRNGKeyArray,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Score the recorded driver and the policies over the same clips."""
    reports = {"expert": agents.evaluate.evaluate_recorded(simulator, clips, params, key)}

    def drive(name: str) -> agents.ClosedLoopReport:
        return agents.evaluate.evaluate(simulator, policies[name], clips, params, key, name=f"evaluate {name}")

    # Side by side: drawing a batch of small frames keeps no more than one core of a CPU busy.
    with concurrent.futures.ThreadPoolExecutor(len(policies)) as pool:
        reports |= dict(zip(policies, pool.map(drive, policies), strict=True))
    np.savez(folder / "ended.npz", **{name: report.rollout.terminated.any(axis=0) for name, report in reports.items()})
    return {
        "clips": clips.count,
        "metrics": {name: report.summary for name, report in reports.items()},
        "intervals": {name: report.intervals for name, report in reports.items()},
        "difference": agents.compare(reports["ppo"], reports["imitation"], key),
        "overflow_share": max(report.overflow_share for report in reports.values()),
    }


def show(
    log: DrivingLog,
    simulator: Simulator,
    policies: Mapping[str, agents.Policy],
    clips: agents.Clips,
    params: SimulatorParams,
    stages: Mapping[str, Stage],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Everything to look at: curves, film, and the scene at its first moment for other viewers."""
    sheet = stages["reconstruction"].folder / "reconstruction.png"
    if sheet.exists():
        shutil.copyfile(sheet, folder / sheet.name)
    curves = [dict(np.load(stages[name].folder / "curves.npz")) for name in ("imitation", "ppo")]
    draw_curves(*curves, folder / "learning_curve.png")
    chosen = _clips_to_film(stages["evaluation"].folder / "ended.npz")
    film(log, simulator, policies, clips, chosen, params, folder / "rollout.mp4")
    scene, _ = load_scene(stages["reconstruction"].folder / "scene")
    traffic, slots = simulator.world.traffic, slice(scene.actors)
    write_ply(scene, folder / "scene.ply", traffic.world_from_actor[0, 0, slots], traffic.valid[0, 0, slots])
    return {"filmed_clips": chosen}


def _clips_to_film(path: pathlib.Path) -> list[int]:
    """The first clip, and the first in which the two policies fared differently."""
    with np.load(path) as ended:
        different = np.flatnonzero(ended["imitation"] != ended["ppo"])
    return sorted({0, *different[:1].tolist()})
