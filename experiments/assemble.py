"""Make a world from a log that has a map and traffic but no images, and show what cameras see in it.

    python experiments/assemble.py --log scenario.json.gz --out outputs/assembled

writes the scene (``scene``), a contact sheet (``sheet.png``) and a video along the ego's path (``drive.mp4``).
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from filming import NO_EVENTS, ground_of, moment
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from jaxrecon import viz
from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.geometry.transforms import rigid, yaw_of, yaw_to_matrix
from jaxrecon.kernels import RasterConfig
from jaxrecon.logs import CameraMount, DrivingLog, LogError, read_log
from jaxrecon.render import Cameras, RenderConfig, quantise, render
from jaxrecon.scene import BankError, load_bank, save_scene
from jaxrecon.scene.assembled import DEFAULT_CONFIG, AssembleConfig, AssembledWorld, assemble
from jaxrecon.storage import StorageError

CAMERA_FROM_AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # columns: the camera's axes in a car's frame
FIRST_PAIRS = 400_000  # (splat, tile) pairs a camera; doubled until they suffice
SHOWN_MOMENTS = 3


@dataclasses.dataclass(frozen=True)
class Assemble:
    """What to read, make and draw.

    Attributes:
        log: a Waymo scenario, or the folder of an Argoverse 2 or native log.
        out: folder for the results.
        seconds: of the log that the video shows.
        width: of a drawn frame, pixels.
        height: of a drawn frame, pixels; a camera of the log keeps its own shape instead.
        seed: of all that is made up.
        bank: folder of an actor bank with vehicles to use.
        world: how the world is made.
    """

    log: pathlib.Path
    out: pathlib.Path
    seconds: float = 6.0
    width: int = 320
    height: int = 192
    seed: int = 0
    bank: pathlib.Path | None = None
    world: AssembleConfig = DEFAULT_CONFIG


def default_mounts(log: DrivingLog, width: int, height: int) -> tuple[CameraMount, ...]:
    """Four cameras at the top of the windscreen: ahead, left, right and behind, 80 degrees wide."""
    focal = width / 2 / np.tan(np.radians(40))
    intrinsics = np.array([focal, focal, width / 2, 0.45 * height])
    place = np.array([log.ego.wheelbase * 0.6, 0.0, 1.55])
    return tuple(
        CameraMount(name, intrinsics, (width, height), rigid(yaw_to_matrix(np.array(yaw)) @ CAMERA_FROM_AHEAD, place))
        for name, yaw in (("ahead", 0.0), ("left", 1.2), ("right", -1.2), ("behind", np.pi))
    )


def scaled(mount: CameraMount, width: int) -> CameraMount:
    """The same camera with images of that width."""
    size = (width, round(width * mount.size[1] / mount.size[0]))
    return dataclasses.replace(mount, intrinsics=rescale_intrinsics(mount.intrinsics, mount.size, size), size=size)


@dataclasses.dataclass
class Artist:
    """Draws a world; remembers how much room the rasterizer needs."""

    world: AssembledWorld
    log: DrivingLog
    pairs: int = FIRST_PAIRS

    def __post_init__(self) -> None:
        """Poses and validity of the actors, by frame."""
        tracks, frames = self.log.tracks, self.log.frames
        self.poses = np.stack([t.world_from_box for t in tracks], 1) if tracks else np.zeros((frames, 0, 4, 4))
        self.valid = np.stack([t.valid for t in tracks], 1) if tracks else np.zeros((frames, 0), bool)

    def draw(self, frame: int, mount: CameraMount, pose: Float[np.ndarray, "4 4"]) -> UInt8[np.ndarray, "h w 3"]:
        """What a camera at a world pose sees in a frame."""
        cameras = Cameras(
            jnp.asarray(pose[None], jnp.float32),
            jnp.asarray(mount.intrinsics[None], jnp.float32),
            width=mount.size[0],
            height=mount.size[1],
        )
        while True:
            config = RenderConfig(antialiased=True, raster=RasterConfig(pairs_per_camera=self.pairs))
            poses = jnp.asarray(self.poses[frame][None], jnp.float32)
            drawn = _render(self.world.scene, cameras, poses, jnp.asarray(self.valid[frame][None]), config)
            if not bool(drawn.overflow.any()):
                return np.asarray(quantise(drawn.rgb[0]))
            self.pairs *= 2

    def seen(self, frame: int, mount: CameraMount) -> UInt8[np.ndarray, "h w 3"]:
        """What a mounted camera sees in a frame."""
        return self.draw(frame, mount, self.log.world_from_ego[frame] @ mount.ego_from_camera)

    def from_above(self, frame: int, width: int, height: int, rise: float = 32.0) -> UInt8[np.ndarray, "h w 3"]:
        """The ego's surroundings from above and behind."""
        yaw = yaw_of(self.log.world_from_ego[frame, :3, :3])
        tilt = np.radians(48)
        down = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        rotation = yaw_to_matrix(yaw) @ down @ CAMERA_FROM_AHEAD
        place = self.log.world_from_ego[frame, :3, 3] + yaw_to_matrix(yaw) @ np.array([-18.0, 0, rise])
        focal = width / 2 / np.tan(np.radians(35))
        mount = CameraMount("above", np.array([focal, focal, width / 2, height / 2]), (width, height), np.eye(4))
        return self.draw(frame, mount, rigid(rotation, place))


_render = jax.jit(render, static_argnames="config")


def sheet(artist: Artist, mounts: tuple[CameraMount, ...], width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A row of camera images for some moments, each with views from above."""
    log, ground = artist.log, ground_of(artist.log, artist.world.obstacles)
    frames = np.unique(np.linspace(0, log.frames - 1, SHOWN_MOMENTS).astype(int)).tolist()
    rows = []
    for frame in frames:
        tiles = [(mount.name, artist.seen(frame, mount)) for mount in mounts]
        tiles.append(("from above", artist.from_above(frame, width, height)))
        view = viz.BirdsEyeConfig(width=height, height=height, metres=80.0)
        tiles.append((f"{log.timestamps[frame]:.1f} s", viz.draw_birds_eye(view, ground, moment(log, frame))))
        rows.append([_labelled(image, name, height) for name, image in tiles])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def _labelled(image: np.ndarray, text: str, height: int) -> np.ndarray:
    """The picture at that height with a word in its corner."""
    width = round(image.shape[1] * height / image.shape[0])
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    ImageDraw.Draw(picture).text((4, 2), text, fill=(255, 255, 255), stroke_fill=(0, 0, 0), stroke_width=1)
    return np.asarray(picture)


def film(artist: Artist, mount: CameraMount, seconds: float) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of the video: one camera and the bird's-eye view."""
    log, ground = artist.log, ground_of(artist.log, artist.world.obstacles)
    view = viz.BirdsEyeConfig(width=320, height=320, metres=80.0)
    for frame in np.flatnonzero(log.timestamps <= seconds).tolist():
        now = moment(log, frame)
        caption = f"{log.name[-40:]}   {log.timestamps[frame]:.1f} s"
        yield viz.compose_frame(
            artist.seen(frame, mount)[None], viz.draw_birds_eye(view, ground, now), NO_EVENTS, caption
        )


def main(config: Assemble) -> dict[str, float]:
    """Read, assemble, save and draw; returns what was measured."""
    began = time.perf_counter()
    log = read_log(config.log)
    read = time.perf_counter()
    bank = load_bank(config.bank)[0] if config.bank else []
    world = assemble(log, config.world, jax.random.key(config.seed), bank)
    made = time.perf_counter()
    used = int(np.asarray(world.scene.gaussians.valid).sum())
    measured = {
        "splats": used,
        "actors": len(log.tracks),
        "seconds_read": read - began,
        "seconds_assemble": made - read,
    }
    print(
        f"{log.name}: {used} splats, {len(log.tracks)} actors; "
        f"read in {read - began:.1f} s, made in {made - read:.1f} s"
    )
    config.out.mkdir(parents=True, exist_ok=True)
    save_scene(world.scene, config.out / "scene", {"log": log.name, "seed": config.seed}, overwrite=True)
    artist = Artist(world, log)
    mounts = tuple(scaled(mount, config.width) for mount in log.mounts)
    mounts = mounts or default_mounts(log, config.width, config.height)
    viz.write_image(sheet(artist, mounts, config.width, config.height), config.out / "sheet.png")
    viz.write_video(film(artist, mounts[0], config.seconds), config.out / "drive.mp4", round(1 / log.seconds_per_frame))
    print(f"drawn in {time.perf_counter() - made:.0f} s: {config.out / 'sheet.png'}, drive.mp4, scene")
    return measured


if __name__ == "__main__":
    try:
        main(tyro.cli(Assemble, description=__doc__))
    except (LogError, StorageError, BankError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
