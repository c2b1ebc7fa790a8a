"""jaxrecon: recorded drives become worlds of Gaussians in which camera policies learn to drive."""

import pathlib

from jaxrecon._version import VERSION as __version__

__all__ = ["__version__"]

for _linked in ("kernels", "agents"):
    if not (pathlib.Path(__file__).parent / _linked / "__init__.py").exists():
        raise ImportError(
            f"jaxrecon/{_linked} is a symlink to ../{_linked} and this checkout lost it. "
            f"Restore it with `git checkout -- jaxrecon/{_linked}` (on Windows first `git config core.symlinks true`)."
        )
