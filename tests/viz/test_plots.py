"""Sheets show the images they are given; curves refuse what cannot be drawn."""

import numpy as np
import pytest
from PIL import Image

from jaxrecon.viz import false_colours, plot_learning_curves, reconstruction_sheet, write_image
from jaxrecon.viz.plots import ERROR_GAIN, GAP, HEADER, UNKNOWN


def test_sheet_places_recorded_rendered_and_error():
    recorded = np.full((2, 30, 60, 3), 100, np.uint8)
    rendered = np.stack([np.full((30, 60, 3), 110, np.uint8), np.full((30, 60, 3), 80, np.uint8)])
    sheet = reconstruction_sheet(recorded, rendered, ["a", "b"], column_width=120)
    assert sheet.shape == (HEADER + 2 * (60 + HEADER), 3 * 120 + 2 * GAP, 3)
    for row, (drawn, error) in enumerate([(110, 10), (80, 20)]):
        line = sheet[HEADER + row * (60 + HEADER) + 30]
        assert [line[60, 0], line[120 + GAP + 60, 0], line[240 + 2 * GAP + 60, 0]] == [100, drawn, ERROR_GAIN * error]


def test_sheet_wants_a_label_a_row():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="labels: expected one for each of 2 frames, received 1"):
        reconstruction_sheet(images, images, ["only one"])


def test_sheet_has_a_column_for_each_further_picture():
    images = np.zeros((1, 30, 60, 3), np.uint8)
    sheet = reconstruction_sheet(images, images, ["a"], 120, {"depth": images + 50, "confidence": images + 70})
    assert sheet.shape[1] == 5 * 120 + 4 * GAP
    assert [sheet[HEADER + 30, 3 * (120 + GAP) + 60, 0], sheet[HEADER + 30, 4 * (120 + GAP) + 60, 0]] == [50, 70]


def test_false_colours_run_along_the_scale_and_are_grey_where_nothing_is_known():
    colours = false_colours(np.array([[0.0, 1.0, np.nan, 7.0]]), "gray")
    np.testing.assert_array_equal(colours[0, :, 0], [0, 255, UNKNOWN, 255])


def test_image_round_trip(tmp_path):
    image = np.random.default_rng(1).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    write_image(image, tmp_path / "image.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "image.png")), image)


def test_learning_curves_make_a_picture_with_a_panel_each(tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    plot_learning_curves({"reward": {"a": [0.0, 1.0]}}, one)
    plot_learning_curves({"reward": {"a": [0.0, 1.0]}, "loss": {"a": [1.0], "b": np.array([2.0])}}, two)
    assert Image.open(two).width == 2 * Image.open(one).width
    many = tmp_path / "many.png"
    plot_learning_curves({f"panel {i}": {f"series {j}": [0.0, float(j)] for j in range(7)} for i in range(5)}, many)
    assert Image.open(many).size == (4 * Image.open(one).width, 2 * Image.open(one).height)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], np.ones((1, 2))], ids=["empty", "nan", "matrix"])
def test_learning_curves_refuse_what_cannot_be_drawn(tmp_path, values):
    with pytest.raises(ValueError, match="series 'a' of 'reward': expected finite numbers in one dimension"):
        plot_learning_curves({"reward": {"a": values}}, tmp_path / "curve.png")
    with pytest.raises(ValueError, match="expected at least one panel, received none"):
        plot_learning_curves({}, tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())
