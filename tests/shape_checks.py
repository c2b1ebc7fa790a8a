"""The run-time type checker of the tests: every function's annotations, but no constructor's.

JAX rebuilds pytrees with leaves that are no arrays (axes, masks, placeholders), so a constructor may see anything.
"""

from collections.abc import Callable

from beartype import beartype


def check_functions(function: Callable) -> Callable:
    """Enforce a function's annotations when it is called."""
    return function if function.__name__ == "__init__" else beartype(function)
