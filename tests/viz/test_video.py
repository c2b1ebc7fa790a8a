"""Videos hold the frames they were given, and are whole or absent."""

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from jaxrecon.viz import compose_frame, freeze, write_video
from jaxrecon.viz.palette import EVENT_COLOURS


def flat(value: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_video_round_trip(tmp_path):
    path = tmp_path / "deep" / "clip.mp4"
    values = [20, 90, 160, 230]
    write_video((flat(v) for v in values), path, frames_per_second=10)
    read = imageio.mimread(path, format="FFMPEG")
    assert [frame.shape for frame in read] == [(64, 96, 3)] * 4
    # Flat grey survives H.264 up to its limited-range rounding.
    np.testing.assert_allclose([frame.mean() for frame in read], values, atol=4)
    assert imageio.get_reader(path, format="FFMPEG").get_meta_data()["fps"] == 10


def test_a_web_page_can_hold_a_film(tmp_path):
    path, values = tmp_path / "clip.webp", [20, 90, 160]
    write_video((flat(v) for v in values), path, frames_per_second=5)
    with Image.open(path) as film:
        assert film.n_frames == 3 and film.size == (96, 64)
        for number, value in enumerate(values):
            film.seek(number)
            np.testing.assert_allclose(np.asarray(film.convert("RGB")).mean(), value, atol=2)
            assert film.info["duration"] == 200


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webp"])
def test_failed_video_leaves_the_old_one(tmp_path, name):
    path = tmp_path / name
    write_video([flat(10)], path)
    before = path.read_bytes()

    def frames():
        yield flat(50)
        yield flat(50, height=32)

    with pytest.raises(ValueError, match=r"frame 1 is uint8 \(32, 96, 3\), expected uint8 \(64, 96, 3\) as frame 0"):
        write_video(frames(), path)
    with pytest.raises(ValueError, match="expected at least one frame, received none"):
        write_video([], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("cameras", [1, 3])
def test_compose_shows_the_policys_own_pixels(cameras):
    frames = np.random.default_rng(0).integers(0, 255, (cameras, 32, 48, 3), dtype=np.uint8)
    birds_eye = flat(77, 256, 256)
    image = compose_frame(frames, birds_eye, np.zeros(4, bool), "policy", camera_width=480)
    assert image.shape[0] % 2 == 0 and image.shape[1] % 2 == 0
    np.testing.assert_array_equal(image[28 : 28 + 256, 488 : 488 + 256], birds_eye)
    if cameras == 1:
        # Ten times enlarged by repetition: sampling block centres gives the frame back.
        np.testing.assert_array_equal(image[28 + 5 : 28 + 320 : 10, 5:480:10], frames[0])


def test_compose_names_events_in_their_colour():
    plain = compose_frame(flat(0)[None], flat(0), np.zeros(4, bool), "", camera_width=300)
    both = compose_frame(flat(0)[None], flat(0), np.array([True, False, True, False]), "", camera_width=300)
    colours = {tuple(c) for c in both[4:24].reshape(-1, 3)} - {tuple(c) for c in plain[4:24].reshape(-1, 3)}
    assert EVENT_COLOURS[0] in colours and EVENT_COLOURS[2] in colours
    assert EVENT_COLOURS[1] not in colours and EVENT_COLOURS[3] not in colours


def test_freeze_repeats_the_end():
    frames = [flat(1), flat(2)]
    assert [f[0, 0, 0] for f in freeze(frames, 3)] == [1, 2, 2, 2, 2]
    assert freeze([], 3) == []
