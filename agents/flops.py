"""What a network costs: its multiplications and additions, counted from the program that JAX traces."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrecon.agents.encoders import CameraEncoder
from jaxrecon.agents.policy_config import PolicyConfig


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of a call's matrix products and convolutions; a product and a sum count two.

    What is done element by element is left out: it takes no more than a few per cent of a network's work. Of the
    branches of a condition the costliest counts.

    Args:
        function: pure.
        arguments: arrays, or their shapes and types.

    Raises:
        ValueError: if the program repeats something an unknown number of times.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def flops_per_frame(config: PolicyConfig) -> int:
    """Operations that a policy's encoder takes for one camera's image, with all of its history."""
    graph, state = nnx.eval_shape(lambda: nnx.split(CameraEncoder(config, nnx.Rngs(jax.random.key(0)))))
    images = jax.ShapeDtypeStruct((1, config.height, config.width, 3 * config.history), jnp.uint8)
    return flops(lambda state, images: nnx.merge(graph, state)(images), state, images)


def _count(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    out = equation.outvars[0].aval.shape if equation.outvars else ()
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
        return 2 * math.prod(out) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    inner = [_count(one) for value in params.values() for one in _programs(value)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "while" and sum(inner):
        raise ValueError("flops met a loop of unknown length; count its body by itself")
    return max(inner) if name == "cond" else sum(inner)


def _programs(value: Any) -> list[Any]:
    """Programs inside an equation's parameter."""
    if isinstance(value, tuple | list):
        return [one for entry in value for one in _programs(entry)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []
