"""A report is one whole file that needs nothing else."""

import base64
import html.parser
import re

import numpy as np
import pytest

from jaxrecon.viz import Media, Report, Section, Table, metrics_table, write_image, write_report


class Reader(html.parser.HTMLParser):
    """Collects cells, sources and unbalanced tags."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_report_embeds_its_media_and_escapes_its_text(tmp_path):
    picture = tmp_path / "picture.png"
    write_image(np.random.default_rng(2).integers(0, 255, (5, 6, 3), dtype=np.uint8), picture)
    table = metrics_table(
        {"expert": {"CR": 0.0, "progress": 1.0}, "ppo": {"CR": 0.125, "progress": 0.9}}, {"ppo": {"CR": (0.1, 0.15)}}
    )
    page = Report(
        title="a <b> & c",
        lead="lead",
        figures={"PSNR": "30 dB"},
        sections=[Section("Metrics", "note", table, [Media(picture, "seen")])],
    )
    write_report(page, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert "a <b> & c" in "".join(reader.text)
    assert {"0.125", "[0.100, 0.150]", "1.000", "30 dB", "seen"} <= set(reader.text)
    (source,) = reader.sources
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == picture.read_bytes()
    assert not re.search(r"https?://", text)


def test_report_names_what_is_wrong_and_writes_nothing(tmp_path):
    def write(section):
        write_report(Report("t", "l", {}, [section]), tmp_path / "report.html")

    with pytest.raises(ValueError, match=r"table row \['only'\]: expected 2 cells, received 1"):
        write(Section("s", table=Table(["a", "b"], [["only"]])))
    (tmp_path / "movie.avi").write_bytes(b"")
    with pytest.raises(ValueError, match=r"movie\.avi: expected a suffix among"):
        write(Section("s", media=[Media(tmp_path / "movie.avi", "")]))
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        write(Section("s", media=[Media(tmp_path / "absent.png", "")]))
    assert [p.name for p in tmp_path.iterdir()] == ["movie.avi"]
