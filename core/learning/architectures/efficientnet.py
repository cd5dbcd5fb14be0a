"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze and swish) as a frozen trunk under layers that are trained.

The network is a row of points: ``stem``, ``block0`` to ``block15``, ``top``. A trunk is frozen up to one of them, the
*cut*; what comes after it is trained from the same ImageNet weights. Batch normalisation is folded into the
convolutions, so that every layer is a kernel and a bias, nothing is shared between images of a batch, and the trained
layers can be averaged over hospitals. A lower cut trains more and costs more: the work of each step, the maps that are
kept (19 kB a picture of 224 px after block14, 44 kB after block10, 31 kB after block7, 125 kB after top, as float16),
and the weights that travel. ``models/trunk-efficientnet-lite0.md`` says where the weights come from.

Each halving looks half a step to the lower right, which by the geometry of the layers would draw the last map 15.5 of
224 pixels too far to the upper left. The learned kernels lean the other way: the shipped model's map changes where
squares of a picture are hidden, to a quarter of one of its places (``tests/unit/diagnosis/test_predictor.py``), so it
is drawn as it is.

====================  ======  ====================  ===========================================================
point                 stride  channels              kernel and bias of this point alone, in thousands
====================  ======  ====================  ===========================================================
stem, block0          2       32, 16                0.9, 0.9
block1, 2             4       24                    5.8, 9.3
block3, 4             8       40                    13.8, 26
block5, 6, 7          16      80                    30, 84, 84
block8, 9, 10         16      112                   106, 169, 169
block11, 12 to 14     32      192                   222, 475 each
block15               32      320                   605
top                   32      1280                  411
====================  ======  ====================  ===========================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.learning.architectures.trunk_file import TrunkFile

_STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
BLOCKS = tuple(
    (kernel, stride if repeat == 0 else 1, expansion, channels)
    for repeats, kernel, stride, expansion, channels in _STAGES
    for repeat in range(repeats)
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280
POINTS = ("stem", *(f"block{number}" for number in range(len(BLOCKS))), "top")
"""Where the network can be cut, from the image upwards."""

FILE = TrunkFile(
    name="trunk-efficientnet-lite0.safetensors",
    sha256="ec68bfd2b91818aa554442e648e17f54fe4792163c033146f5f60e99ecf73d9f",
)


def apply(x: Any, points: Sequence[str]) -> dict[str, Any]:
    """Apply consecutive points of the network to a Keras tensor and return what each of them gives.

    Layers are called ``stem``, ``blockN_expand``, ``blockN_depthwise``, ``blockN_project`` and ``top``, as in the
    trunk's file. The first point takes the image float32 [n, s, s, 3] in 0..1 if it is ``stem``, else the map of the
    point before it.
    """
    given = {}
    for point in points:
        if point == "stem":
            # As in its training: (pixel - 127) / 128 of pixels in 0..255. Not in the kernel: the border is padded
            # with zeros after this, not before.
            x = _layers().Rescaling(255 / 128, -127 / 128, name="input_scale")(x)
            x = _relu6(_layers().Conv2D(STEM_CHANNELS, 3, 2, padding="same", name="stem")(x), "stem")
        elif point == "top":
            x = _relu6(_layers().Conv2D(TOP_CHANNELS, 1, name="top")(x), "top")
        else:
            kernel, stride, expansion, width = BLOCKS[int(point.removeprefix("block"))]
            x = _block(x, point, kernel=kernel, stride=stride, expansion=expansion, width=width)
        given[point] = x
    return given


def _block(x: Any, name: str, *, kernel: int, stride: int, expansion: int, width: int) -> Any:
    """Return an inverted bottleneck: expand, look around, project, and add the input where shapes allow it."""
    inner = x
    if expansion > 1:
        inner = _layers().Conv2D(x.shape[-1] * expansion, 1, name=f"{name}_expand")(inner)
        inner = _relu6(inner, f"{name}_expand")
    inner = _layers().DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise")(inner)
    inner = _relu6(inner, f"{name}_depthwise")
    inner = _layers().Conv2D(width, 1, name=f"{name}_project")(inner)
    return _layers().Add(name=f"{name}_add")([x, inner]) if stride == 1 and x.shape[-1] == width else inner


def _relu6(x: Any, name: str) -> Any:
    return _layers().ReLU(6.0, name=f"{name}_relu")(x)


def _layers() -> Any:
    import keras  # noqa: PLC0415  TensorFlow is slow to import and only trainers need it

    return keras.layers


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """The frozen lower part of a network: image in, maps out. It holds what is shipped, never what a run has learned.

    Attributes:
        cut: the last frozen point.
        taps: earlier points whose maps are handed on too.
    """

    cut: str
    taps: tuple[str, ...] = ()
    file: TrunkFile = FILE

    def __post_init__(self) -> None:
        """Refuse points that do not exist or do not lie below the cut.

        Raises:
            ValueError: which ones.
        """
        below = POINTS[: POINTS.index(self.cut) + 1] if self.cut in POINTS else ()
        if not below or any(tap not in below[:-1] for tap in self.taps):
            raise ValueError(f"cut and taps must be points before each other of {POINTS}: {self.cut}, {self.taps}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The points whose maps come out: taps, then the cut."""
        return (*self.taps, self.cut)

    @property
    def above(self) -> tuple[str, ...]:
        """The points that are not frozen."""
        return POINTS[POINTS.index(self.cut) + 1 :]

    def build(self, input_size: int) -> Any:
        """Return a `keras.Model` from image float32 [n, s, s, 3] in 0..1 to a list of maps, with the shipped weights.

        Raises:
            CheckpointRefused: the trunk's file is missing or is not the one this code was made for.
        """
        import keras  # noqa: PLC0415

        image = keras.Input((input_size, input_size, 3), name="image")
        maps = apply(image, POINTS[: POINTS.index(self.cut) + 1])
        model = keras.Model(image, [maps[point] for point in self.outputs], name=f"lite0-{self.cut}")
        model.trainable = False
        arrays = self.file.read()
        model.set_weights([arrays[variable.path] for variable in model.weights])
        return model


def upper_builder(
    trunk: Trunk, *, last: str = "top", joined: tuple[str, ...] = (), width: int = 0, groups: int = 16
) -> Callable[[int, int], Any]:
    """Return the builder of what is trained above `trunk`, for the registry.

    The network's own points from the cut to `last` follow, starting from their ImageNet weights. Maps of taps, and of
    the points `joined`, are averaged down to the grid of the last map, scaled to unit mean square at each position and
    joined to it. With `width`, a 1 x 1 convolution with group normalisation mixes them. Then comes the Dense layer, at
    each position, that every architecture has.

    Args:
        trunk: what is below.
        last: the last point of the network that is used; below the cut or equal to it, nothing follows.
        joined: the cut, or points between it and the last, whose maps the head is to see too.
        width: channels of the mixing layer; 0 for none.
        groups: of its normalisation.
    """

    def build(input_size: int, classes: int) -> Any:
        import keras  # noqa: PLC0415

        inputs = [
            keras.Input((*grid(input_size, point), channels(point)), name=f"{point}_map") for point in trunk.outputs
        ]
        x = inputs[-1]
        maps = dict(zip(trunk.outputs, inputs, strict=True))
        if last in trunk.above:
            maps |= apply(x, trunk.above[: trunk.above.index(last) + 1])
            x = maps[last]
        if trunk.taps or joined:
            beside = [_scaled(_shrunk(maps[point], x.shape[1])) for point in (*trunk.taps, *joined)]
            x = keras.layers.Concatenate(name="join")([*beside, _scaled(x)])
        if width:
            x = keras.layers.Conv2D(width, 1, use_bias=False, name="mix_conv")(x)
            x = keras.layers.GroupNormalization(groups, name="mix_norm")(x)
            x = keras.layers.Activation("relu", name="mix_relu")(x)
        features = keras.layers.GlobalAveragePooling2D(name="features")(x)
        cam = keras.layers.Dense(classes, name="head")(x)
        logits = keras.layers.GlobalAveragePooling2D(name="logits")(cam)
        return keras.Model(
            inputs if trunk.taps else inputs[0], [logits, cam, features], name=f"lite0-above-{trunk.cut}"
        )

    return build


def channels(point: str) -> int:
    """Return the channels of a point's map."""
    if point in {"stem", "top"}:
        return {"stem": STEM_CHANNELS, "top": TOP_CHANNELS}[point]
    return BLOCKS[int(point.removeprefix("block"))][-1]


def grid(input_size: int, point: str) -> tuple[int, int]:
    """Return height and width of a point's map."""
    side = -(-input_size // 2)
    last = {"stem": 0, "top": len(BLOCKS)}.get(point)
    for _, stride, _, _ in BLOCKS[: int(point.removeprefix("block")) + 1 if last is None else last]:
        side = -(-side // stride)
    return side, side


def _shrunk(x: Any, side: int) -> Any:
    factor = -(-x.shape[1] // side)
    name = f"shrunk_{x.shape[1]}x{x.shape[3]}"  # a counted name would differ between two exports of one model
    return _layers().AveragePooling2D(factor, padding="same", name=name)(x) if factor > 1 else x


def _scaled(x: Any) -> Any:
    """Divide each position's channels by their root mean square, so that maps of all depths weigh alike."""
    import keras  # noqa: PLC0415

    return x * keras.ops.rsqrt(keras.ops.mean(keras.ops.square(x), -1, keepdims=True) + 1e-6)
