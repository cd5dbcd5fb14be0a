"""Convolutional networks with group normalisation, made to be trained from nothing on two cores."""

from typing import Any

GROUPS = 8
"""Channels are normalised in groups of one image (Wu and He 2018): nothing is shared between images of a batch, so
averaging over hospitals with different data does no harm, unlike batch statistics."""
LAST_STAGE = 3


def groupnorm_small(input_size: int, classes: int) -> Any:
    """Stride-2 stem, then three stages (convolution of stride 2, convolution) with 32, 64 and 128 filters: a chain.

    Its fourth halving is `shrunk_upwards`.
    """
    import keras  # noqa: PLC0415  TensorFlow is slow to import and only trainers need it

    image = keras.Input((input_size, input_size, 3), name="image")
    x = normed(image, "stem", 32, 2)
    for stage, filters in ((1, 32), (2, 64)):
        x = normed(x, f"stage{stage}_down", filters, 2)
        x = normed(x, f"stage{stage}", filters, 1)
    x = shrunk_upwards(x, "stage3", 128)
    x = normed(x, "stage3", 128, 1)
    return with_head(image, x, classes, "groupnorm-small")


def residual_small(input_size: int, classes: int) -> Any:
    """Stride-2 stem and three stages of two residual blocks with 40, 80 and 128 filters (He et al. 2016), 1.0 million.

    A stage begins with a halving that is no residual; the last normalisation of each residual branch starts with gain
    zero (Goyal et al. 2017). The fourth halving is `shrunk_upwards`. Four times the work of `groupnorm-small`.
    """
    import keras  # noqa: PLC0415

    image = keras.Input((input_size, input_size, 3), name="image")
    x = normed(image, "stem", 32, 2)
    for stage, filters in ((1, 40), (2, 80), (LAST_STAGE, 128)):
        name = f"stage{stage}"
        x = shrunk_upwards(x, name, filters) if stage == LAST_STAGE else normed(x, f"{name}_down", filters, 2)
        for block in ("a", "b"):
            inner = normed(x, f"{name}{block}_first", filters, 1)
            inner = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}{block}_conv")(inner)
            inner = keras.layers.GroupNormalization(GROUPS, name=f"{name}{block}_last_norm")(inner)
            x = keras.layers.Add(name=f"{name}{block}_add")([x, inner])
            x = keras.layers.Activation("relu", name=f"{name}{block}_relu")(x)
    return with_head(image, x, classes, "residual-small")


def normed(x: Any, name: str, filters: int, strides: int, padding: str = "same") -> Any:
    """Return convolution 3 x 3, normalisation and rectifier after `x`."""
    import keras  # noqa: PLC0415

    x = keras.layers.Conv2D(filters, 3, strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.GroupNormalization(GROUPS, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def shrunk_upwards(x: Any, name: str, filters: int) -> Any:
    """Halve a map so that four halvings leave the activation map in its place.

    A stride-2 convolution with padding "same" looks half a step to the lower right: output i is centred on input
    2i + 1. Four of them would shift the map by 7.5 of 96 pixels. This one is padded at the upper left instead
    (centred on 2i), which leaves half a pixel.
    """
    import keras  # noqa: PLC0415

    x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)
    return normed(x, f"{name}_down", filters, 2, padding="valid")


def with_head(image: Any, x: Any, classes: int, name: str) -> Any:
    """Return the model from `image` to (logits, cam, features) of the last map `x`, with a linear head called head."""
    import keras  # noqa: PLC0415

    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    cam = keras.layers.Dense(classes, name="head")(x)
    logits = keras.layers.GlobalAveragePooling2D(name="logits")(cam)
    return keras.Model(image, [logits, cam, features], name=name)
