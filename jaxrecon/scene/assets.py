"""Actors without a scene: what one scene saw well of its vehicles, to be put into others."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.logs.driving_log import VEHICLE
from jaxrecon.scene.exporting import body, with_degree
from jaxrecon.scene.gaussians import Gaussians, empty
from jaxrecon.scene.scene import Scene


class BankError(ValueError):
    """An actor that does not fit or a bank that contradicts itself; the message gives the numbers and the remedy."""


@flax.struct.dataclass
class Asset:
    """An actor without a scene.

    Attributes:
        gaussians: in the box frame: x forward, y left, z up, metres, origin at the centre; used slots come first.
        size: (length, width, height) of the box, metres.
        coverage: share of the front, left, back and right that was seen, see ``coverage``.
        name: what it is called, such as the track of the log that it is from.
        category: one of ``jaxrecon.logs.CATEGORIES``.
    """

    gaussians: Gaussians
    size: Float[Array, " 3"]
    coverage: Float[Array, " 4"]
    name: str = flax.struct.field(pytree_node=False)
    category: str = flax.struct.field(pytree_node=False, default=VEHICLE)

    @property
    def count(self) -> int:
        """Number of slots in use (on the host)."""
        return int(np.sum(self.gaussians.valid))


@dataclasses.dataclass(frozen=True)
class WellSeen:
    """Which actors are worth keeping.

    Attributes:
        fewest: well-seen Gaussians that an actor needs.
        opacity: above which a Gaussian counts as well seen.
        views: training views that have to have seen it, where their number is known.
        coverage: share of the four sides, on average, that has to be covered.
        near: how far from the box's surface a Gaussian may lie to cover it, metres.
        sectors: into which each side is divided.
        category: the only one that is kept.
    """

    fewest: int = 200
    opacity: float = 0.2
    views: int = 2
    coverage: float = 0.4
    near: float = 0.5
    sectors: int = 4
    category: str = VEHICLE

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: naming the field at fault.
        """
        for field, low in (("fewest", 1), ("views", 0), ("sectors", 1)):
            if getattr(self, field) < low:
                raise ValueError(f"{field} is {getattr(self, field)}, expected at least {low}")
        for field in ("opacity", "coverage"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{field} is {getattr(self, field)}, expected a share from 0 to 1")
        if self.near <= 0:
            raise ValueError(f"near is {self.near}, expected more than 0 metres")


def coverage(
    means: Float[np.ndarray, "n 3"], size: Float[np.ndarray, " 3"], config: WellSeen = WellSeen()
) -> Float[np.ndarray, " 4"]:
    """Share of the front, left, back and right of a box that points cover.

    Each vertical face is divided into sectors by the azimuth around the box's centre, measured so that a face is a
    quarter turn; a sector is covered where a point lies near the box's surface, on either side of it.

    Args:
        means: points in the box frame, metres.
        size: (length, width, height), metres.
        config: ``near`` and ``sectors``.
    """
    half = np.asarray(size, np.float64) / 2
    if np.min(half) <= 0:
        return np.zeros(4)
    beyond = np.abs(means) - half
    outside = np.linalg.norm(np.maximum(beyond[:, :2], 0), axis=1)
    distance = np.abs(outside + np.minimum(np.max(beyond[:, :2], axis=1), 0))
    on_surface = means[(distance <= config.near) & (beyond[:, 2] <= config.near)] / half
    quarters = np.mod(np.arctan2(on_surface[:, 1], on_surface[:, 0]) * 2 / np.pi + 0.5, 4.0)
    sector = np.minimum((quarters * config.sectors).astype(int), 4 * config.sectors - 1)
    covered = np.bincount(sector, minlength=4 * config.sectors) > 0
    return covered.reshape(4, config.sectors).mean(axis=1)


def extract_actors(
    scene: Scene,
    config: WellSeen = WellSeen(),
    *,
    views: Int[Any, " n"] | None = None,
    names: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    capacity: int | None = None,
) -> list[Asset]:
    """Every well-seen actor of a scene, in the order of the scene.

    Args:
        scene: the world.
        config: what counts as well seen.
        views: how many training views saw each slot; without it opacity alone decides, and what a first scene guessed
            of unseen sides counts too.
        names: of each actor; "actor-0" and so on without them.
        categories: of each actor; without them all are taken to be of the wanted one.
        capacity: slots of every asset; the most that one of them uses where it is absent.

    Returns:
        Assets of equal capacity, with all valid Gaussians of the actor, whether well seen or not.

    Raises:
        BankError: if a sequence is not as long as it has to be, or an actor needs more slots than ``capacity``.
    """
    slots, actors = scene.gaussians.capacity, scene.actors
    for what, value, length in (("views", views, slots), ("names", names, actors), ("categories", categories, actors)):
        if value is not None and len(value) != length:
            raise BankError(f"{what} has {len(value)} entries, expected {length}, in the order of the scene")
    kept = _well_seen(scene, config, views)
    if categories is not None:
        kept = {actor: sides for actor, sides in kept.items() if categories[actor] == config.category}
    bodies = {actor: body(scene, actor + 1) for actor in kept}
    room = max((own.capacity for own in bodies.values()), default=0) if capacity is None else capacity
    for actor, own in bodies.items():
        if own.capacity > room:
            raise BankError(
                f"actor {actor} has {own.capacity} Gaussians, capacity is {room}; pass capacity={own.capacity} or more"
            )
    return [
        Asset(
            gaussians=jax.tree.map(jnp.asarray, _padded(own, room)),
            size=jnp.asarray(scene.actor_sizes[actor]),
            coverage=jnp.asarray(kept[actor], jnp.float32),
            name=f"actor-{actor}" if names is None else names[actor],
            category=config.category,
        )
        for actor, own in bodies.items()
    ]


def insert_actor(
    scene: Scene, asset: Asset, capacity: int | None = None, actors: int | None = None
) -> tuple[Scene, int]:
    """Put an asset into a scene as a new actor.

    Its Gaussians take the first slots that are not valid. Its row is the first one that is free: of size zero and
    without Gaussians. Shapes stay as they are unless more room is asked for.

    Args:
        scene: the world; it is not changed.
        asset: the actor.
        capacity: slots of the new scene; as many as the scene has where it is absent.
        actors: rows of the new scene; as many as the scene has where it is absent. New rows are of size zero.

    Returns:
        The new scene, and the index of the actor in it, by which it is posed.

    Raises:
        BankError: if slots or rows do not suffice, or the asset's spherical-harmonic degree is above the scene's.
    """
    scene = _with_room(scene, capacity, actors)
    own, theirs = scene.gaussians.sh.shape[1], asset.gaussians.sh.shape[1]
    if theirs > own:
        raise BankError(f"{asset.name} has {theirs} harmonics, the scene {own}; pad the scene's sh with zeros")
    used = np.bincount(np.asarray(scene.group)[np.asarray(scene.gaussians.valid)], minlength=scene.actors + 1)[1:] > 0
    rows = np.flatnonzero(~used & ~np.any(np.asarray(scene.actor_sizes), axis=1))
    if not len(rows):
        raise BankError(f"all {scene.actors} actors are taken; pass actors={scene.actors + 1} or more")
    free = np.flatnonzero(~np.asarray(scene.gaussians.valid))
    if len(free) < asset.count:
        least = scene.gaussians.capacity + asset.count - len(free)
        raise BankError(
            f"{asset.name} needs {asset.count} slots, {len(free)} of {scene.gaussians.capacity} are free; "
            f"pass capacity={least} or more"
        )
    row, slots, chosen = int(rows[0]), free[: asset.count], np.asarray(asset.gaussians.valid)

    def place(into: np.ndarray, leaf: Any) -> Array:
        into[slots] = np.asarray(leaf)[chosen]
        return jnp.asarray(into)

    gaussians = jax.tree.map(place, scene.gaussians, with_degree(asset.gaussians, own))
    group, sizes = np.array(scene.group), np.array(scene.actor_sizes)
    group[slots], sizes[row] = row + 1, asset.size
    return Scene(gaussians, jnp.asarray(group), scene.sky, jnp.asarray(sizes)), row


def _well_seen(scene: Scene, config: WellSeen, views: np.ndarray | None) -> dict[int, np.ndarray]:
    """Coverage of each actor that is well seen, whatever its category."""
    seen = np.asarray(scene.gaussians.valid) & (np.asarray(scene.gaussians.opacities) >= config.opacity)
    if views is not None:
        seen &= np.asarray(views) >= config.views
    group, means, sizes = (np.asarray(x) for x in (scene.group, scene.gaussians.means, scene.actor_sizes))
    kept = {}
    for actor in range(scene.actors):
        own = seen & (group == actor + 1)
        sides = coverage(means[own], sizes[actor], config)
        if own.sum() >= config.fewest and sides.mean() >= config.coverage:
            kept[actor] = sides
    return kept


def _padded(gaussians: Gaussians, capacity: int) -> Gaussians:
    """The same set, copied to the host, with more slots at its end, empty ones."""
    spare = empty(capacity - gaussians.capacity, math.isqrt(gaussians.sh.shape[1]) - 1)
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), gaussians, spare)


def _with_room(scene: Scene, capacity: int | None, actors: int | None) -> Scene:
    """The same scene, copied to the host, with more slots and rows."""
    slots, rows = scene.gaussians.capacity, scene.actors
    capacity, actors = slots if capacity is None else capacity, rows if actors is None else actors
    for name, wanted, present in (("capacity", capacity, slots), ("actors", actors, rows)):
        if wanted < present:
            raise BankError(f"{name} is {wanted}, expected at least the {present} that the scene has")
    return scene.replace(  # type: ignore[attr-defined]
        gaussians=_padded(scene.gaussians, capacity),
        group=np.pad(np.asarray(scene.group), (0, capacity - slots)),
        actor_sizes=np.pad(np.asarray(scene.actor_sizes), ((0, actors - rows), (0, 0))),
    )
