"""A bird's-eye view of one moment: road, obstacles, actors, the route, the ego and what it hit."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from jaxrecon.viz.palette import (
    ACTOR,
    BACKGROUND,
    EGO,
    EVENT_COLOURS,
    INK,
    LANE_LINE,
    OBSTACLE,
    ROAD,
    ROUTE,
    THREAT,
    TRAIL,
    load_font,
)

SUPERSAMPLING = 2  # Pillow draws without antialiasing, so the image is drawn this much larger and then averaged


@dataclasses.dataclass(frozen=True)
class BirdsEyeConfig:
    """What the picture covers.

    Attributes:
        width: pixels.
        height: pixels.
        metres: how much ground the height covers.
        ego_up: whether the ego points up; else north (world y) is up.
        ego_row: where the ego stands, as a fraction of the height from the top.
    """

    width: int = 256
    height: int = 256
    metres: float = 60.0
    ego_up: bool = True
    ego_row: float = 0.68

    def __post_init__(self):
        for name in ("width", "height"):
            if getattr(self, name) < 16:
                raise ValueError(f"BirdsEyeConfig.{name}: expected at least 16 pixels, received {getattr(self, name)}")
        if not self.metres > 0:
            raise ValueError(f"BirdsEyeConfig.metres: expected a positive length, received {self.metres}")
        if not 0 <= self.ego_row <= 1:
            raise ValueError(f"BirdsEyeConfig.ego_row: expected a fraction in [0, 1], received {self.ego_row}")


@dataclasses.dataclass(frozen=True)
class Ground:
    """What does not move, all in world metres.

    Attributes:
        route: the reference path.
        obstacles: centres of occupied cells.
        obstacle_size: side of a cell.
        drivable: polygons (n, 2) of road surface.
        lane_lines: polylines (n, 2) or (n, 3) of paint.
    """

    route: Float[np.ndarray, "point 2"]
    obstacles: Float[np.ndarray, "cell 2"]
    obstacle_size: float = 0.5
    drivable: tuple[np.ndarray, ...] = ()
    lane_lines: tuple[np.ndarray, ...] = ()


@dataclasses.dataclass(frozen=True)
class Moment:
    """What moves, at one time; a box is (x, y, heading, length, width) in world metres and radians.

    Attributes:
        ego: the ego's box.
        actors: the others' boxes, present ones only.
        trail: where the ego has been.
        events: dynamic, static, position, heading: which ended the episode now.
        threats: boxes of adversaries, drawn over the actors in another colour.
    """

    ego: Float[np.ndarray, "5"]
    actors: Float[np.ndarray, "actor 5"]
    trail: Float[np.ndarray, "step 2"]
    events: Bool[np.ndarray, "4"]
    threats: Float[np.ndarray, "threat 5"] = dataclasses.field(default_factory=lambda: np.zeros((0, 5)))


def pixels_from_world(
    config: BirdsEyeConfig, ego: Float[np.ndarray, "5"], points: Float[np.ndarray, "point 2"]
) -> Float[np.ndarray, "point 2"]:
    """Where world points fall in the picture.

    Args:
        config: what the picture covers.
        ego: box around which it is centred, (x, y, heading, length, width).
        points: world metres.

    Returns:
        (column, row) in pixels, the top left corner being (0, 0).
    """
    turn = np.pi / 2 - ego[2] if config.ego_up else 0.0
    cos, sin = np.cos(turn), np.sin(turn)
    offset = points - ego[:2]
    x = cos * offset[:, 0] - sin * offset[:, 1]
    y = sin * offset[:, 0] + cos * offset[:, 1]
    scale = config.height / config.metres
    return np.stack([config.width / 2 + x * scale, config.height * config.ego_row - y * scale], axis=-1)


def box_corners(box: Float[np.ndarray, "5"]) -> Float[np.ndarray, "4 2"]:
    """Corners of a box (x, y, heading, length, width): front left, front right, rear right, rear left."""
    x, y, heading, length, width = box
    local = np.array([[length, width], [length, -width], [-length, -width], [-length, width]]) / 2
    cos, sin = np.cos(heading), np.sin(heading)
    return local @ np.array([[cos, sin], [-sin, cos]]) + np.array([x, y])


def draw_birds_eye(config: BirdsEyeConfig, ground: Ground, moment: Moment) -> UInt8[np.ndarray, "height width 3"]:
    """Picture of one moment, seen from above, with a ten-metre scale bar.

    The ego's outline and the border take an event's colour in the step in which that event ends the episode.
    """
    size = (config.width * SUPERSAMPLING, config.height * SUPERSAMPLING)
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        pixels = pixels_from_world(config, moment.ego, np.asarray(points, float)[:, :2]) * SUPERSAMPLING
        return [(float(column), float(row)) for column, row in pixels]

    def line(points: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
        if len(points) > 1:
            draw.line(place(points), fill=colour, width=width * SUPERSAMPLING, joint="curve")

    for polygon in ground.drivable:
        draw.polygon(place(polygon), fill=ROAD)
    for paint in ground.lane_lines:
        line(paint, LANE_LINE, 1)
    half = ground.obstacle_size * config.height / config.metres * SUPERSAMPLING / 2
    for column, row in place(_nearby(ground.obstacles, moment.ego, 1.5 * config.metres)):
        draw.rectangle((column - half, row - half, column + half, row + half), fill=OBSTACLE)
    line(ground.route, ROUTE, 2)
    line(moment.trail, TRAIL, 2)
    for actor in moment.actors:
        _draw_box(draw, place, actor, ACTOR, INK)
    for threat in moment.threats:
        _draw_box(draw, place, threat, THREAT, INK)
    happened = [colour for colour, event in zip(EVENT_COLOURS, moment.events, strict=True) if event]
    _draw_box(draw, place, moment.ego, EGO, happened[0] if happened else INK)
    for inset, colour in enumerate(happened):
        edge = SUPERSAMPLING * (2 + 4 * inset)
        draw.rectangle((edge, edge, size[0] - edge, size[1] - edge), outline=colour, width=3 * SUPERSAMPLING)
    _draw_scale_bar(draw, config)
    return np.asarray(image.resize((config.width, config.height), Image.Resampling.BOX))


def _nearby(points: np.ndarray, ego: np.ndarray, radius: float) -> np.ndarray:
    return points[np.max(np.abs(points - ego[:2]), axis=-1) < radius] if len(points) else points


def _draw_box(draw, place, box, fill, outline) -> None:
    corners = box_corners(np.asarray(box, float))
    draw.polygon(place(corners), fill=fill, outline=outline, width=SUPERSAMPLING)
    # A line from the middle to the front edge shows which way it points.
    draw.line(place(np.stack([corners.mean(0), corners[:2].mean(0)])), fill=outline, width=SUPERSAMPLING)


def _draw_scale_bar(draw: ImageDraw.ImageDraw, config: BirdsEyeConfig) -> None:
    length = 10 * config.height / config.metres * SUPERSAMPLING
    left, bottom = 8 * SUPERSAMPLING, (config.height - 8) * SUPERSAMPLING
    draw.line((left, bottom, left + length, bottom), fill=INK, width=2 * SUPERSAMPLING)
    draw.text((left, bottom - 14 * SUPERSAMPLING), "10 m", fill=INK, font=load_font(10 * SUPERSAMPLING))
