"""Videos of a drive: what the policy saw and, beside it, the same moment from above."""

import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence

import imageio.v2 as imageio
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from jaxrecon.viz.atomic import replacing
from jaxrecon.viz.palette import EVENT_COLOURS, EVENT_NAMES, INK, PAPER, load_font

CAPTION_HEIGHT = 28
GAP = 8
WEBP_QUALITY = 70


def compose_frame(
    camera_frames: UInt8[np.ndarray, "camera height width 3"],
    birds_eye: UInt8[np.ndarray, "rows columns 3"],
    events: Bool[np.ndarray, "4"],
    caption: str,
    camera_width: int = 512,
) -> UInt8[np.ndarray, "out_rows out_columns 3"]:
    """One frame of a video: cameras stacked on the left, the bird's-eye view on the right, a caption above.

    Args:
        camera_frames: the policy's own images, enlarged by repeating pixels: the reader sees what the policy sees.
        birds_eye: the same moment from above.
        events: dynamic, static, position, heading: those that happen now are named beside the caption.
        caption: say policy, time and speed.
        camera_width: width in pixels to which the cameras are enlarged.

    Returns:
        The frame; both sides are even, as video codecs ask.
    """
    cameras = [_enlarge(frame, camera_width) for frame in camera_frames]
    left_height = sum(image.height for image in cameras) + GAP * (len(cameras) - 1)
    rows = CAPTION_HEIGHT + max(left_height, birds_eye.shape[0])
    columns = camera_width + GAP + birds_eye.shape[1]
    canvas = Image.new("RGB", (columns + columns % 2, rows + rows % 2), PAPER)
    top = CAPTION_HEIGHT + (rows - CAPTION_HEIGHT - left_height) // 2
    for image in cameras:
        canvas.paste(image, (0, top))
        top += image.height + GAP
    canvas.paste(Image.fromarray(birds_eye), (camera_width + GAP, CAPTION_HEIGHT))
    draw = ImageDraw.Draw(canvas)
    font = load_font(16)
    draw.text((6, 4), caption, fill=INK, font=font)
    right = columns - 6
    for name, colour, event in zip(EVENT_NAMES, EVENT_COLOURS, events, strict=True):
        if event:
            width = draw.textlength(name, font=font)
            draw.rectangle((right - width - 12, 3, right, CAPTION_HEIGHT - 3), fill=colour)
            draw.text((right - width - 6, 4), name, fill=PAPER, font=font)
            right -= int(width) + 18
    return np.asarray(canvas)


def _enlarge(frame: np.ndarray, width: int) -> Image.Image:
    height = round(frame.shape[0] * width / frame.shape[1])
    return Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)


def write_video(frames: Iterable[np.ndarray], path: str | pathlib.Path, frames_per_second: int = 10) -> None:
    """Write an H.264 mp4, or an animated WebP where the path says so; it appears under its name only when it is whole.

    Args:
        frames: uint8 images (height, width, 3) of one size, both sides even.
        path: where to; an existing file is replaced.
        frames_per_second: play-back rate.

    Raises:
        ValueError: there are no frames, or they differ in size.
    """
    write = _write_webp if pathlib.Path(path).suffix == ".webp" else _write_mp4
    with replacing(path) as temporary:
        if not write(_alike(frames, path), temporary, frames_per_second):
            raise ValueError(f"{path}: expected at least one frame, received none")


def _alike(frames: Iterable[np.ndarray], path: str | pathlib.Path) -> Iterator[np.ndarray]:
    """The frames, as long as they are like the first."""
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        shape = shape or frame.shape
        if frame.shape != shape or frame.dtype != np.uint8:
            raise ValueError(
                f"{path}: frame {number} is {frame.dtype} {frame.shape}, expected uint8 {shape} as frame 0"
            )
        yield frame


def _write_mp4(frames: Iterable[np.ndarray], path: pathlib.Path, rate: int) -> int:
    """How many frames were written."""
    count = 0
    writer = imageio.get_writer(path, format="FFMPEG", fps=rate, codec="libx264", quality=6, macro_block_size=2)
    with writer, warnings.catch_warnings():
        # The encoder is another program and never touches JAX's threads.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
        for frame in frames:
            writer.append_data(frame)
            count += 1
    return count


def _write_webp(frames: Iterable[np.ndarray], path: pathlib.Path, rate: int) -> int:
    """How many frames were written."""
    pictures = [Image.fromarray(frame) for frame in frames]
    if pictures:
        first, *others = pictures
        duration = round(1000 / rate)  # milliseconds
        first.save(path, save_all=True, append_images=others, duration=duration, loop=0, quality=WEBP_QUALITY)
    return len(pictures)


def freeze(frames: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """The frames with the last one repeated, so that a viewer sees how a clip ended."""
    return [*frames, *([frames[-1]] * count)] if frames else []
