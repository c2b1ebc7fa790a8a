"""Pictures, videos and reports of what happened."""

from jaxrecon.viz.bev import BirdsEyeConfig, Ground, Moment, box_corners, draw_birds_eye, pixels_from_world
from jaxrecon.viz.certificate import Examples, plot_calibration, plot_heldout, plot_trust, write_certificate
from jaxrecon.viz.plots import false_colours, plot_learning_curves, reconstruction_sheet, write_image
from jaxrecon.viz.report import Media, Report, Section, Table, metrics_table, write_report
from jaxrecon.viz.video import compose_frame, freeze, write_video

__all__ = [
    "BirdsEyeConfig",
    "Examples",
    "Ground",
    "Media",
    "Moment",
    "Report",
    "Section",
    "Table",
    "box_corners",
    "compose_frame",
    "draw_birds_eye",
    "false_colours",
    "freeze",
    "metrics_table",
    "pixels_from_world",
    "plot_calibration",
    "plot_heldout",
    "plot_learning_curves",
    "plot_trust",
    "reconstruction_sheet",
    "write_certificate",
    "write_image",
    "write_report",
    "write_video",
]
