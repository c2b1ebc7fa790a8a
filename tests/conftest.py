"""Shapes are checked in every test: jaxtyping annotations are enforced at run time by beartype."""

import os
import pathlib

# Tests run many small programs once: what counts is how fast XLA compiles them. Set before JAX is imported.
_FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FAST_COMPILE}".strip()

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

_hook = install_import_hook("jaxrecon", "shape_checks.check_functions")


@pytest.fixture(scope="session")
def data_folder() -> pathlib.Path:
    """The folder of real recordings; a test that needs it skips, with the reason, where it is absent."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("JAXRECON_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set JAXRECON_DATA to the folder that holds them")
    return folder
