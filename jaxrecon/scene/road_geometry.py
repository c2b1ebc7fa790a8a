"""Lines and areas of a road map on a grid: exact distances to the nearest of many segments, and filled polygons."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import spatial

NEIGHBOURS = 4  # nearest midpoints among which the nearest piece is sought
TIE = 1e-6  # metres by which the nearest point that two pieces share may seem to differ
BESIDE = 1e-3  # metres beside an outline at which it is asked whether the ground on both sides is drivable
CHUNK = 2048  # points tested against a polygon at once


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Short segments of lines.

    Attributes:
        start: (n, 2) metres.
        end: (n, 2) metres.
        line: (n,) which line it is a piece of.
    """

    start: Float[np.ndarray, "n 2"]
    end: Float[np.ndarray, "n 2"]
    line: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.line)

    def __getitem__(self, chosen: np.ndarray) -> "Pieces":
        return Pieces(self.start[chosen], self.end[chosen], self.line[chosen])

    @property
    def middle(self) -> Float[np.ndarray, "n 2"]:
        """Midpoints."""
        return (self.start + self.end) / 2

    @property
    def direction(self) -> Float[np.ndarray, "n 2"]:
        """Unit vectors from start to end."""
        step = self.end - self.start
        return step / np.linalg.norm(step, axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The piece nearest to each of some points.

    Attributes:
        distance: metres; the bound where no piece is within it.
        side: cross product of the piece's direction with the way to the point, positive to its left, metres; where two
            pieces meet at the nearest point, that of the sum of their directions.
        piece: index; -1 where no piece is within the bound.
    """

    distance: Float[np.ndarray, " n"]
    side: Float[np.ndarray, " n"]
    piece: Int[np.ndarray, " n"]


def pieces_of(lines: Sequence[np.ndarray], spacing: float, closed: bool = False) -> Pieces:
    """Lines cut into pieces no longer than ``spacing`` (metres); steps of no length are left out."""
    starts, ends, numbers = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros(0, int)]
    for number, line in enumerate(lines):
        points = np.asarray(line, np.float64)[:, :2]
        points = np.concatenate([points, points[:1]]) if closed else points
        step = np.diff(points, axis=0)
        length = np.linalg.norm(step, axis=-1)
        count = np.where(length > 1e-6, np.ceil(length / spacing), 0).astype(int)
        segment = np.repeat(np.arange(len(step)), count)
        nth = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
        share = (nth / count[segment])[:, None]
        starts.append(points[segment] + share * step[segment])
        ends.append(points[segment] + (share + 1 / count[segment][:, None]) * step[segment])
        numbers.append(np.full(len(segment), number))
    return Pieces(np.concatenate(starts), np.concatenate(ends), np.concatenate(numbers))


def crosses(start: Float[np.ndarray, "n 2"], end: Float[np.ndarray, "n 2"], pieces: Pieces) -> Bool[np.ndarray, " n"]:
    """Whether the straight way from each start to its end crosses a piece; to touch one is not to cross it."""
    way, step = (end - start)[:, None], pieces.end - pieces.start
    offset = pieces.start - start[:, None]
    turn = _cross(way, step)
    turn = np.where(turn == 0, np.inf, turn)
    along, across = _cross(offset, step) / turn, _cross(offset, way) / turn
    met = (along > TIE) & (along < 1 - TIE) & (across >= 0) & (across <= 1)
    return met.any(axis=-1)


def within(pieces: Pieces, low: np.ndarray, high: np.ndarray) -> Pieces:
    """Pieces whose midpoints lie between two corners (metres)."""
    middle = pieces.middle
    return pieces[np.all((middle >= low) & (middle <= high), axis=-1)]


def nearest_piece(pieces: Pieces, points: Float[np.ndarray, "n 2"], bound: float) -> Nearest:
    """The nearest of the pieces to each point, none further than ``bound`` (metres).

    Signs at a corner of a line follow the sum of the two directions that meet there (the pseudonormal of Baerentzen and
    Aanaes, Signed distance computation using the angle weighted pseudonormal, 2005, in the plane).
    """
    if len(pieces) == 0:
        nothing = np.zeros(len(points))
        return Nearest(nothing + bound, nothing, np.full(len(points), -1))
    _, index = spatial.cKDTree(pieces.middle).query(points, k=NEIGHBOURS, distance_upper_bound=bound)
    found, index = index < len(pieces), np.minimum(index, len(pieces) - 1)
    start, step = pieces.start[index], (pieces.end - pieces.start)[index]
    offset = points[:, None] - start
    share = np.clip(np.sum(offset * step, axis=-1) / np.sum(step * step, axis=-1), 0.0, 1.0)
    away = offset - share[..., None] * step
    distance = np.where(found, np.linalg.norm(away, axis=-1), np.inf)
    best = np.argmin(distance, axis=-1)[:, None]
    least = np.take_along_axis(distance, best, axis=-1)[:, 0]
    shortest = np.take_along_axis(away, best[..., None], axis=1)
    meet = found & np.all(np.abs(away - shortest) < TIE, axis=-1)
    direction = np.sum(np.where(meet[..., None], pieces.direction[index], 0.0), axis=1)
    away, near = shortest[:, 0], least < bound
    return Nearest(
        distance=np.where(near, least, bound),
        side=_cross(direction, away),
        piece=np.where(near, np.take_along_axis(index, best, axis=-1)[:, 0], -1),
    )


def fill(
    polygons: Sequence[np.ndarray], low: Float[np.ndarray, "2"], shape: tuple[int, int], cell: float
) -> Bool[np.ndarray, "row column"]:
    """Cells whose centres lie in any of the polygons (even-odd rule), by scan lines.

    Args:
        polygons: outlines, metres; the last point joins the first.
        low: x, y of the centre of cell (0, 0).
        shape: rows (along y) and columns (along x).
        cell: side of a cell, metres.
    """
    covered = np.zeros(shape, bool)
    for polygon in polygons:
        start = (np.asarray(polygon)[:, :2] - low) / cell
        end = np.roll(start, -1, axis=0)
        first = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, shape[0]).astype(int)
        after = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, shape[0]).astype(int)
        count = after - first
        edge = np.repeat(np.arange(len(start)), count)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        share = (row - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
        crossing = np.ceil(start[edge, 0] + share * (end[edge, 0] - start[edge, 0]))
        column = np.clip(crossing, 0, shape[1]).astype(int)
        toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
        np.add.at(toggles, (row, column), 1)
        covered |= np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1
    return covered


def outer_edges(polygons: Sequence[np.ndarray], spacing: float) -> Pieces:
    """The outline of the polygons' union: what has ground of theirs on one side only, in pieces."""
    pieces = pieces_of(polygons, spacing, closed=True)
    normal = pieces.direction[:, ::-1] * np.array([-BESIDE, BESIDE])
    return pieces[_inside(polygons, pieces.middle + normal) != _inside(polygons, pieces.middle - normal)]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _inside(polygons: Sequence[np.ndarray], points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    inside = np.zeros(len(points), bool)
    for polygon in polygons:
        start = np.asarray(polygon)[:, :2]
        candidates = np.flatnonzero(
            ~inside & np.all((points >= start.min(axis=0)) & (points <= start.max(axis=0)), axis=-1)
        )
        for chosen in np.array_split(candidates, max(1, len(candidates) // CHUNK)):
            inside[chosen] |= _in_polygon(start, points[chosen])
    return inside


def _in_polygon(start: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Even-odd rule: how many edges a ray to the right crosses."""
    end = np.roll(start, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    across = (start[:, 1] <= y) != (end[:, 1] <= y)
    rise = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    return np.sum(across & (x < crossing), axis=-1) % 2 == 1
