"""Colours and type that all pictures share, legible to colour-blind readers (Okabe and Ito 2008)."""

from PIL import ImageFont

Colour = tuple[int, int, int]

INK: Colour = (34, 38, 46)
PAPER: Colour = (255, 255, 255)
BACKGROUND: Colour = (232, 234, 230)
ROAD: Colour = (198, 202, 208)
LANE_LINE: Colour = (250, 250, 250)
OBSTACLE: Colour = (130, 122, 112)
ROUTE: Colour = (0, 158, 115)
TRAIL: Colour = (0, 114, 178)
EGO: Colour = (86, 180, 233)
ACTOR: Colour = (230, 159, 0)
THREAT: Colour = (213, 60, 0)

EVENT_NAMES = ("dynamic", "static", "position", "heading")
EVENT_COLOURS: tuple[Colour, ...] = ((213, 60, 0), (140, 60, 20), (204, 60, 160), (120, 60, 200))
POLICY_COLOURS = {"expert": "#5b6270", "imitation": "#e69f00", "ppo": "#0072b2"}


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, so that pictures look alike on every machine."""
    return ImageFont.load_default(size=size)
