"""Shapes are checked in every test: jaxtyping annotations are enforced at run time by beartype."""

import gc
import importlib.metadata
import os
import pathlib

# Tests run many small programs once: what counts is how fast XLA compiles them. Set before JAX is imported.
_FLAGS = ["--xla_backend_optimization_level=0"]
if tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2]) < (0, 11):
    # Later releases abort at flags that they do not know.
    _FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_llvm_disable_expensive_passes=true"]
    _FLAGS += ["--xla_cpu_parallel_codegen_split_count=1"]
# The TPU's compiler is installed for its tests; without an accelerator JAX shall not look for one, nor ask the network.
if not any(pathlib.Path(device).exists() for device in ("/dev/nvidiactl", "/dev/accel0", "/dev/vfio/0")):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time is tracing, which is a tenth faster without a stack for each operation and with fewer collections.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
gc.set_threshold(100_000, 20, 20)
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS]).strip()

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from host_processes import make_room_for_programs  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# An example may compile a program, and a busy machine takes its time: neither is a fault of what is tested.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_hook = install_import_hook("jaxrecon", "shape_checks.check_functions")


def pytest_collection_modifyitems(items):
    """Whole scripts first: their files are the longest, and one that is left at the end runs alone."""
    items.sort(key=lambda item: "experiments" not in item.path.parts)


@pytest.fixture(scope="session")
def data_folder() -> pathlib.Path:
    """The folder of real recordings; a test that needs it skips, with the reason, where it is absent."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("JAXRECON_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set JAXRECON_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs():
    yield
    make_room_for_programs()
