"""Convolutional networks with group normalisation, made to be trained from nothing on two cores."""

from typing import Any

GROUPS = 8
"""Channels are normalised in groups of one image (Wu and He 2018): nothing is shared between images of a batch, so
averaging over hospitals with different data does no harm, unlike batch statistics."""


def groupnorm_small(input_size: int, classes: int) -> Any:
    """Stride-2 stem, then three stages (convolution of stride 2, convolution) with 32, 64 and 128 filters.

    A stride-2 convolution with padding "same" looks half a step to the lower right: output i is centred on input
    2i + 1. Four of them would shift the activation map by 7.5 of 96 pixels. The last one is therefore padded at the
    upper left instead (centred on 2i), which leaves half a pixel.
    """
    import keras  # noqa: PLC0415  TensorFlow is slow to import and only trainers need it

    def block(x: Any, name: str, filters: int, strides: int, padding: str = "same") -> Any:
        x = keras.layers.Conv2D(filters, 3, strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.GroupNormalization(GROUPS, name=f"{name}_norm")(x)
        return keras.layers.Activation("relu", name=f"{name}_relu")(x)

    image = keras.Input((input_size, input_size, 3), name="image")
    x = block(image, "stem", 32, 2)
    for stage, filters in ((1, 32), (2, 64)):
        x = block(x, f"stage{stage}_down", filters, 2)
        x = block(x, f"stage{stage}", filters, 1)
    x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name="stage3_pad")(x)
    x = block(x, "stage3_down", 128, 2, padding="valid")
    x = block(x, "stage3", 128, 1)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    cam = keras.layers.Dense(classes, name="head")(x)
    logits = keras.layers.GlobalAveragePooling2D(name="logits")(cam)
    return keras.Model(image, [logits, cam, features], name="groupnorm-small")
