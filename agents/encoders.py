"""Encoders: a stack of one camera's frames becomes a feature vector."""

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from jaxrecon.agents.layers import (
    AttentionBlock,
    Convolution,
    PatchEmbedding,
    ResidualBlock,
    dense,
    group_norm,
)
from jaxrecon.agents.policy_config import ConvolutionalConfig, PolicyConfig, ResidualConfig, TransformerConfig

POSITION_DEVIATION = 0.02  # of the learned positions of a new transformer


class CameraEncoder(nnx.Module):
    """One of the networks below, then a dense layer over all of its last map and a layer normalisation."""

    def __init__(self, config: PolicyConfig, rngs: nnx.Rngs):
        self.network = build_network(config, rngs)
        self.dense = dense(self.network.outputs, config.camera_features, config, rngs)
        self.norm = nnx.LayerNorm(config.camera_features, rngs=rngs)

    def __call__(self, frames: UInt8[Array, "b h w channel"]) -> Float[Array, "b feature"]:
        """Features, float32, of images whose channels are the colours of a history, newest first."""
        x = self.network(frames)
        return nnx.relu(self.norm(self.dense(x.reshape(x.shape[0], -1)).astype(jnp.float32)))


def build_network(config: PolicyConfig, rngs: nnx.Rngs) -> "PatchNetwork | ResidualNetwork | TransformerNetwork":
    """The network that a configuration asks for."""
    match config.encoder:
        case ConvolutionalConfig():
            return PatchNetwork(config.encoder, config, rngs)
        case ResidualConfig():
            return ResidualNetwork(config.encoder, config, rngs)
        case TransformerConfig():
            return TransformerNetwork(config.encoder, config, rngs)
    raise ValueError(f"PolicyConfig.encoder is {config.encoder!r}, expected one of the encoders of policy_config")


class PatchNetwork(nnx.Module):
    """Patches and strided convolutions."""

    def __init__(self, encoder: ConvolutionalConfig, config: PolicyConfig, rngs: nnx.Rngs):
        widths = encoder.channels
        self.embed = PatchEmbedding(3 * config.history, encoder.patch, widths[0], config, rngs)
        self.convolutions = nnx.List(
            [Convolution(narrow, wide, config, rngs) for narrow, wide in itertools.pairwise(widths)]
        )
        rows, columns = config.encoded_size
        self.outputs = rows * columns * widths[-1]

    def __call__(self, frames: UInt8[Array, "b h w channel"]) -> Float[Array, "b rows columns feature"]:
        """The last map."""
        x = nnx.relu(self.embed(frames))
        for convolution in self.convolutions:
            x = nnx.relu(convolution(x))
        return x


class ResidualNetwork(nnx.Module):
    """A ResNet of basic blocks; its stem is a strided patch embedding, for images are small."""

    def __init__(self, encoder: ResidualConfig, config: PolicyConfig, rngs: nnx.Rngs):
        widths = encoder.channels
        self.embed = PatchEmbedding(3 * config.history, encoder.patch, widths[0], config, rngs)
        self.norm = group_norm(widths[0], encoder, config, rngs)
        blocks = []
        for stage, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            for number in range(encoder.blocks):
                first = number == 0
                stride = 2 if stage and first else 1
                blocks.append(ResidualBlock(before if first else width, width, stride, encoder, config, rngs))
        self.blocks = nnx.List(blocks)
        rows, columns = config.encoded_size
        self.outputs = rows * columns * widths[-1]

    def __call__(self, frames: UInt8[Array, "b h w channel"]) -> Float[Array, "b rows columns feature"]:
        """The last map."""
        x = nnx.relu(self.norm(self.embed(frames)))
        for block in self.blocks:
            x = block(x)
        return x


class TransformerNetwork(nnx.Module):
    """A vision transformer."""

    def __init__(self, encoder: TransformerConfig, config: PolicyConfig, rngs: nnx.Rngs):
        self.embed = PatchEmbedding(3 * config.history, encoder.patch, encoder.width, config, rngs)
        rows, columns = config.encoded_size
        deviation = nnx.initializers.normal(POSITION_DEVIATION)
        self.positions = nnx.Param(deviation(rngs.params(), (rows * columns, encoder.width)))
        self.blocks = nnx.List([AttentionBlock(encoder, config, rngs) for _ in range(encoder.depth)])
        self.norm = nnx.LayerNorm(encoder.width, dtype=jnp.dtype(config.compute), rngs=rngs)
        self.outputs = encoder.width

    def __call__(self, frames: UInt8[Array, "b h w channel"]) -> Float[Array, "b feature"]:
        """The mean token."""
        x = self.embed(frames)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = x + self.positions[...].astype(x.dtype)
        for block in self.blocks:
            x = block(x)
        return jnp.mean(self.norm(x), axis=1)
