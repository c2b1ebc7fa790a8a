"""Shapes of a camera policy, from one that a CPU trains in minutes to ResNet- and ViT-class encoders."""

import dataclasses
import math
from typing import Any, TypeAlias

COMPUTE_TYPES = ("float32", "bfloat16")
CONVOLUTIONS = ("auto", "matrix", "native")
ACTIONS = ("anchors", "continuous")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if min(value, default=0) < 1 if isinstance(value, tuple) else value < 1:
            expected = "one or more positive numbers" if isinstance(value, tuple) else "at least 1"
            raise ValueError(f"{type(config).__name__}.{name} is {value}, expected {expected}")


@dataclasses.dataclass(frozen=True)
class ConvolutionalConfig:
    """Patches, then strided convolutions: the cheapest encoder that tells where in the image something is.

    Attributes:
        patch: side of the square patches that are embedded first, pixels.
        channels: features of the patch embedding, then of each stride-2 convolution after it.
    """

    patch: int = 4
    channels: tuple[int, ...] = (24, 32, 48)
    kind: str = dataclasses.field(default="convolutional", init=False)

    def __post_init__(self) -> None:
        _positive(self, "patch", "channels")

    def mapped_size(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the last feature map."""
        return _shrunk(height // self.patch, width // self.patch, len(self.channels) - 1)


@dataclasses.dataclass(frozen=True)
class ResidualConfig:
    """A residual network: a strided stem, then stages of basic blocks with group normalisation.

    Attributes:
        patch: stride of the stem, pixels.
        channels: features of each stage; every stage but the first halves the size.
        blocks: basic blocks in each stage.
        groups: of the normalisation; divides all channels.

    Source:
        He et al. 2016 (ResNet-18 has channels (64, 128, 256, 512) and 2 blocks); Wu & He 2018 (group normalisation).
    """

    patch: int = 4
    channels: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 2
    groups: int = 16
    kind: str = dataclasses.field(default="residual", init=False)

    def __post_init__(self) -> None:
        _positive(self, "patch", "channels", "blocks", "groups")
        odd = [width for width in self.channels if width % self.groups]
        if odd:
            raise ValueError(f"ResidualConfig.channels has {odd}, expected multiples of groups = {self.groups}")

    def mapped_size(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the last feature map."""
        return _shrunk(height // self.patch, width // self.patch, len(self.channels) - 1)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A vision transformer over patches, with learned positions; the mean of its tokens is what it says.

    Attributes:
        patch: side of the square patches, pixels.
        width: features of a token.
        depth: blocks of attention and two dense layers.
        attention_heads: divide ``width``.

    Source:
        Dosovitskiy et al. 2021 (ViT-Ti has width 192, 12 blocks, 3 heads).
    """

    patch: int = 8
    width: int = 192
    depth: int = 6
    attention_heads: int = 3
    kind: str = dataclasses.field(default="transformer", init=False)

    def __post_init__(self) -> None:
        _positive(self, "patch", "width", "depth", "attention_heads")
        if self.width % self.attention_heads:
            raise ValueError(
                f"TransformerConfig.width is {self.width}, expected a multiple of attention_heads = "
                f"{self.attention_heads}"
            )

    def mapped_size(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of tokens."""
        return height // self.patch, width // self.patch


EncoderConfig: TypeAlias = ConvolutionalConfig | ResidualConfig | TransformerConfig
ENCODERS = {config.kind: type(config) for config in (ConvolutionalConfig(), ResidualConfig(), TransformerConfig())}


def _shrunk(rows: int, columns: int, halvings: int) -> tuple[int, int]:
    return math.ceil(rows / 2**halvings), math.ceil(columns / 2**halvings)


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Shape of a ``CameraPolicy``.

    Attributes:
        cameras: how many cameras a frame has; they share one encoder.
        width, height: of a frame, in pixels; multiples of the encoder's ``patch``.
        history: frames of each camera that are seen at once, the newest included. They enter the encoder together, as
            channels, so that a longer history costs no more than its first layer.
        encoder: of the frames.
        camera_features: features that summarise one camera.
        state_features: features of ego state and navigation together.
        trunk: widths of the layers between the features and the heads.
        rewards: how many values there are.
        action: "anchors" for RAD's two decoupled heads, "continuous" for acceleration and steering as two Gaussians.
        normalise_state: ego state and navigation by running moments of what was driven, instead of fixed scales.
        normalise_values: critics in units of running moments of the returns (PopArt).
        compute: type that the layers compute in; parameters and outputs are float32 always.
        convolution: "matrix" convolves by a matrix product over gathered windows, "native" by XLA's convolution, "auto"
            by the first on CPUs and the second elsewhere. They agree but for rounding. On CPUs XLA differentiates a
            convolution inside a loop ten times more slowly than the product; the native one needs less memory.
    """

    cameras: int = 1
    width: int = 48
    height: int = 32
    history: int = 1
    encoder: EncoderConfig = dataclasses.field(default_factory=ConvolutionalConfig)
    camera_features: int = 128
    state_features: int = 64
    trunk: tuple[int, ...] = (128,)
    rewards: int = 4
    action: str = "anchors"
    normalise_state: bool = False
    normalise_values: bool = False
    compute: str = "float32"
    convolution: str = "auto"

    def __post_init__(self) -> None:
        _positive(self, "cameras", "history", "camera_features", "state_features", "rewards", "trunk")
        patch = self.encoder.patch
        for name in ("width", "height"):
            size = getattr(self, name)
            if size < patch or size % patch:
                raise ValueError(f"PolicyConfig.{name} is {size}, expected a multiple of the encoder's patch = {patch}")
        for name, choices in (("action", ACTIONS), ("compute", COMPUTE_TYPES), ("convolution", CONVOLUTIONS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"PolicyConfig.{name} is {getattr(self, name)!r}, expected one of {choices}")

    @property
    def encoded_size(self) -> tuple[int, int]:
        """(rows, columns) of the encoder's last feature map."""
        return self.encoder.mapped_size(self.height, self.width)


SIZES: dict[str, dict[str, Any]] = {
    "demo": {},
    "shipped": {
        "encoder": ConvolutionalConfig(patch=4, channels=(64, 128, 256)),
        "camera_features": 256,
        "trunk": (256, 256),
        "compute": "bfloat16",
    },
    "resnet": {
        "encoder": ResidualConfig(),
        "camera_features": 256,
        "trunk": (256, 256),
        "compute": "bfloat16",
    },
    "vit": {
        "encoder": TransformerConfig(),
        "camera_features": 256,
        "trunk": (256, 256),
        "compute": "bfloat16",
    },
}


def policy_config(size: str, **fields: Any) -> PolicyConfig:
    """A policy of a named size.

    Args:
        size: "demo" for CPUs, "shipped" for one accelerator (at most 80 MFLOP a 96x64 frame), "resnet" (ResNet-18) or
            "vit" (half a ViT-Ti).
        fields: of the configuration, in place of the size's own.

    Raises:
        ValueError: for an unknown size.
    """
    if size not in SIZES:
        raise ValueError(f"policy size is {size!r}, expected one of {sorted(SIZES)}")
    return PolicyConfig(**{**SIZES[size], **fields})


def read_config(stored: Any) -> PolicyConfig:
    """A configuration from its fields as JSON holds them.

    Raises:
        ValueError: when they are not those of a ``PolicyConfig``.
    """
    known = {field.name for field in dataclasses.fields(PolicyConfig)}
    if not isinstance(stored, dict) or stored.keys() != known or not isinstance(stored["encoder"], dict):
        raise ValueError(f"its configuration {stored} is not that of a PolicyConfig ({sorted(known)})")
    inner = dict(stored["encoder"])
    kind = inner.pop("kind", None)
    encoder = ENCODERS.get(kind)
    if encoder is None or inner.keys() != {field.name for field in dataclasses.fields(encoder) if field.init}:
        raise ValueError(f"its encoder {stored['encoder']} is none of {sorted(ENCODERS)}")
    return PolicyConfig(**{**_tupled(stored), "encoder": encoder(**_tupled(inner))})


def _tupled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
