"""The certificate's page holds every figure and picture, and its JSON the same numbers."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxrecon.reconstruct import Certificate, ConfidenceCalibration, binned_error
from jaxrecon.reconstruct.certificate import HeldOut
from jaxrecon.viz import Examples, plot_calibration, plot_heldout, plot_trust, write_certificate


@pytest.fixture
def certificate() -> Certificate:
    confidence = np.random.default_rng(0).uniform(0.3, 1.0, (3, 8, 8))
    return Certificate(
        log="drive <1>",
        frames=12,
        size=(64, 48),
        gaussians=12000,
        median_views=15.0,
        heldout=HeldOut((2, 6, 10), (25.0, 26.0, 24.5), (27.0, None, 26.0), (None, None, None), (0.8, 0.82, 0.81),
                        {"psnr": 25.17, "psnr_static": 26.5, "psnr_actors": None, "ssim": 0.81}),
        calibration=ConfidenceCalibration((0.0, 0.3, 1.0), (0.2, 0.1, 0.01), 0.3),
        bins=binned_error(confidence, 0.1 * (1 - confidence)),
        offsets=(-3.0, 0.0, 3.0),
        yaws_deg=(0.0, 10.0),
        sample_frames=(0, 11),
        predicted_error=((0.09, 0.1), (0.02, 0.03), (0.05, 0.07)),
        unsupported=((0.5, 0.6), (0.01, 0.1), (0.2, 0.3)),
        extrapolated=((0.4, 0.5), (0.0, 0.1), (0.1, 0.2)),
        trusted=((False, False), (True, True), (False, False)),
        along_path=((0.4, 0.6), (0.0, 0.02), (0.1, 0.3)),
        error_limit=0.04,
        unsupported_limit=0.25,
        unsupported_below=0.3,
        trusted_offset=(0.0, 0.0),
        trusted_yaw_deg=(0.0, 10.0),
    )  # fmt: skip


def test_the_page_holds_figures_and_pictures_and_json_lies_beside_it(tmp_path, certificate):
    images = np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), np.uint8)
    examples = Examples(images, images, np.full((2, 12, 16), 0.5), ["one", "two"])
    write_certificate(certificate, tmp_path / "certificate.html", examples)
    page = (tmp_path / "certificate.html").read_text(encoding="utf-8")
    assert "drive &lt;1&gt;, 12 frames at 64 x 48; 12,000 Gaussians" in page
    assert {"25.17 dB", "26.50 dB", "0.810", "+0 to +0 m", "+0 to +10 °", "0.020"} <= set(
        re.findall("<b>(.*?)</b>", page)
    )
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"https?://", page)
    assert json.loads((tmp_path / "certificate.json").read_text()) == json.loads(
        json.dumps(dataclasses.asdict(certificate))
    )
    assert {file.name for file in tmp_path.iterdir()} == {"certificate.html", "certificate.json"}


def test_a_scene_without_heldout_views_gets_its_page(tmp_path, certificate):
    bare = dataclasses.replace(certificate, heldout=None, bins=None)
    write_certificate(bare, tmp_path / "certificate.html")
    page = (tmp_path / "certificate.html").read_text(encoding="utf-8")
    assert "<b>-</b>held-out PSNR" in page
    assert page.count("data:image/png;base64,") == 2
    with pytest.raises(ValueError, match="has no held-out views to plot"):
        plot_heldout(bare, tmp_path / "heldout.png")


def test_the_trusted_cells_are_outlined(tmp_path, certificate):
    def green(trusted) -> int:
        plot_trust(dataclasses.replace(certificate, trusted=trusted), tmp_path / "trust.png")
        image = np.asarray(Image.open(tmp_path / "trust.png").convert("RGB")).astype(int)
        return int((np.abs(image - [0, 158, 115]).sum(axis=-1) < 30).sum())

    nothing, middle = ((False, False),) * 3, certificate.trusted
    assert green(nothing) == 0
    assert green(middle) > 500


def test_other_views_can_stand_beside_the_calibration(tmp_path, certificate):
    plot_calibration(certificate, tmp_path / "one.png")
    plot_calibration(certificate, tmp_path / "two.png", further=certificate.bins)
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()
