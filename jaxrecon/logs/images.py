"""Decoding of recorded images: every pixel is decoded when the log is read, so a broken file cannot hide."""

import concurrent.futures
import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from jaxrecon.logs.errors import LogError


def read_image(file: pathlib.Path, frame: int, field: str) -> UInt8[np.ndarray, "height width 3"]:
    """One PNG or JPEG image as sRGB; a grey one is repeated in three channels.

    Raises:
        LogError: the file is missing, truncated, damaged, or holds anything but 8 bits of grey or RGB.
    """
    remedy = "Copy the image again from the original recording"
    try:
        with PIL.Image.open(file) as image:
            if image.format == "PNG":
                image.verify()  # the checksums of PNG, which decoding does not look at
        with PIL.Image.open(file) as image:
            image.load()
            mode = image.mode
            pixels = np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise LogError("is missing", file=file, frame=frame, field=field, remedy=remedy) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, zlib.error and more for broken files
        raise LogError(
            f"cannot be decoded, it is truncated or damaged ({error})",
            file=file,
            frame=frame,
            field=field,
            remedy=remedy,
        ) from error
    if mode not in ("RGB", "L"):
        raise LogError(
            f"has the pixel format {mode}, expected 8-bit RGB or grey",
            file=file,
            frame=frame,
            field=field,
            remedy="Convert the image to 8-bit RGB",
        )
    return pixels


def read_images(
    files: Sequence[pathlib.Path], frames: Sequence[int], field: str
) -> UInt8[np.ndarray, "frame height width 3"]:
    """The images of one camera, all of one size.

    Args:
        files: one a frame, at least one.
        frames: number of each frame, for errors.
        field: name of the camera, for errors.
    """
    first = read_image(files[0], frames[0], field)
    images = np.empty((len(files), *first.shape), np.uint8)

    def decode(position: int) -> None:
        pixels = read_image(files[position], frames[position], field)
        if pixels.shape != first.shape:
            raise LogError(
                f"is {pixels.shape[1]}x{pixels.shape[0]}, but the first image of this camera is "
                f"{first.shape[1]}x{first.shape[0]}",
                file=files[position],
                frame=frames[position],
                field=field,
                remedy="Give every image of a camera the same size",
            )
        images[position] = pixels

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in pool.map(decode, range(len(files))):
            pass
    return images
