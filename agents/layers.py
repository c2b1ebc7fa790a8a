"""Layers of the encoders: convolutions for CPUs and accelerators alike, residual blocks, attention blocks."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.agents.policy_config import PolicyConfig, ResidualConfig, TransformerConfig

INITIALISER = nnx.initializers.lecun_uniform()
WIDENING = 4  # of a token between the two dense layers of a block


def dense(inputs: int, outputs: int, config: PolicyConfig, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer in the policy's compute type."""
    return nnx.Linear(inputs, outputs, dtype=jnp.dtype(config.compute), kernel_init=INITIALISER, rngs=rngs)


class Convolution(nnx.Module):
    """A square convolution of odd size, zeros around the edge; a stride of two halves the size (rounded up)."""

    def __init__(self, inputs: int, outputs: int, config: PolicyConfig, rngs: nnx.Rngs, stride: int = 2, size: int = 3):
        self.kernel = nnx.Param(INITIALISER(rngs.params(), (size, size, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((outputs,)))
        self.kind, self.stride, self.side = jnp.dtype(config.compute), stride, size
        self.convolution = config.convolution

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """The convolved map."""
        kernel, bias = self.kernel[...].astype(self.kind), self.bias[...].astype(self.kind)
        around, stride = self.side // 2, self.stride
        native = self.convolution == "native" or (self.convolution == "auto" and jax.default_backend() != "cpu")
        if native:
            sides = ((around, around), (around, around))
            names = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=names) + bias
        _, h, w, _ = x.shape
        padded = jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
        side = range(self.side)
        windows = jnp.concatenate(
            [padded[:, i : i + h : stride, j : j + w : stride] for i in side for j in side], axis=-1
        )
        # Flat rows: XLA's CPU backend differentiates products of higher rank several times more slowly.
        y = windows.reshape(-1, windows.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]) + bias
        return y.reshape(*windows.shape[:-1], -1)


class PatchEmbedding(nnx.Module):
    """Square patches of a stack of images, each embedded by the same linear layer."""

    def __init__(self, channels: int, patch: int, outputs: int, config: PolicyConfig, rngs: nnx.Rngs):
        self.patch, self.kind = patch, jnp.dtype(config.compute)
        self.embed = dense(channels * patch**2, outputs, config, rngs)

    def __call__(self, frames: Array) -> Float[Array, "b rows columns feature"]:
        """The embedded patches of uint8 images (b, height, width, channel)."""
        b, h, w, channels = frames.shape
        size = self.patch
        # A flat matrix product over patches: several times faster on a CPU than the equal strided convolution.
        patches = frames.reshape(b, h // size, size, w // size, size, channels).transpose(0, 1, 3, 2, 4, 5)
        x = patches.reshape(-1, channels * size * size).astype(self.kind) / 127.5 - 1.0
        return self.embed(x).reshape(b, h // size, w // size, -1)


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions with group normalisation, beside an identity or a 1x1 convolution where shapes change.

    Source:
        He et al. 2016, figure 5 left.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        encoder: ResidualConfig,
        config: PolicyConfig,
        rngs: nnx.Rngs,
    ):
        self.first = Convolution(inputs, outputs, config, rngs, stride)
        self.second = Convolution(outputs, outputs, config, rngs, 1)
        self.norms = nnx.List([group_norm(outputs, encoder, config, rngs) for _ in range(2)])
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else Convolution(inputs, outputs, config, rngs, stride, size=1)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """The block's map."""
        y = nnx.relu(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def group_norm(features: int, encoder: ResidualConfig, config: PolicyConfig, rngs: nnx.Rngs) -> nnx.GroupNorm:
    """Group normalisation in the policy's compute type."""
    return nnx.GroupNorm(features, num_groups=encoder.groups, dtype=jnp.dtype(config.compute), rngs=rngs)


class AttentionBlock(nnx.Module):
    """Self-attention and two dense layers, each behind a layer normalisation and beside an identity."""

    def __init__(self, encoder: TransformerConfig, config: PolicyConfig, rngs: nnx.Rngs):
        width = encoder.width
        self.attention_heads = encoder.attention_heads
        self.norms = nnx.List([nnx.LayerNorm(width, dtype=jnp.dtype(config.compute), rngs=rngs) for _ in range(2)])
        self.inward, self.outward = dense(width, 3 * width, config, rngs), dense(width, width, config, rngs)
        self.widen = dense(width, WIDENING * width, config, rngs)
        self.narrow = dense(WIDENING * width, width, config, rngs)

    def __call__(self, x: Float[Array, "b token feature"]) -> Float[Array, "b token feature"]:
        """The tokens after the block."""
        b, tokens, width = x.shape
        joined = self.inward(self.norms[0](x)).reshape(b, tokens, 3, self.attention_heads, -1)
        query, key, value = (joined[:, :, part] for part in range(3))
        seen = jax.nn.dot_product_attention(query, key, value)
        x = x + self.outward(seen.reshape(b, tokens, width))
        return x + self.narrow(nnx.gelu(self.widen(self.norms[1](x))))
