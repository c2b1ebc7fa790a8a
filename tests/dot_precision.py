"""Which products of matrices a program computes from factors that an accelerator rounds."""

from collections.abc import Callable, Iterator

import jax
from jax import lax
from jax.extend.core import Jaxpr, jaxprs_in_params

WHOLE = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)


def rounded_products(function: Callable, *arguments: object) -> list[str]:
    """Products in a function's program, loops, branches and kernels included, that do not ask for whole factors."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    return [str(one) for one in _products(program) if one.params["precision"] != WHOLE]


def _products(jaxpr: Jaxpr) -> Iterator:
    for equation in jaxpr.eqns:
        if equation.primitive is lax.dot_general_p:
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _products(inner)
