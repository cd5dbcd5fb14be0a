"""A frozen trunk as a function of pictures: in LiteRT, as in serving and several times as fast as Keras on a processor.

Where Keras' backend is not TensorFlow there is nothing to convert with, and Keras itself runs the trunk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.architectures import Trunk

Floats = NDArray[np.float32]
Runner = Callable[[Floats], list[Floats]]
"""From float32 [n, s, s, 3] in 0..1 to the trunk's maps, each float32 [n, h, w, c]."""
KERAS_BATCH = 32


def runner(trunk: Trunk, input_size: int, *, jit: bool) -> Runner:
    """Return the trunk's function.

    Args:
        trunk: what to run.
        input_size: side of the pictures in pixels.
        jit: compile it with XLA, where Keras runs it.

    Raises:
        CheckpointRefused: the trunk's file is missing or changed.
    """
    import keras  # noqa: PLC0415

    model = trunk.build(input_size)
    return _in_litert(model) if keras.backend.backend() == "tensorflow" else _in_keras(model, jit=jit)


def _in_keras(model: Any, *, jit: bool) -> Runner:
    model.compile(jit_compile=jit)

    def run(pictures: Floats) -> list[Floats]:
        full = -(-len(pictures) // KERAS_BATCH) * KERAS_BATCH  # another size would be compiled anew
        given = model.predict(np.resize(pictures, (full, *pictures.shape[1:])), batch_size=KERAS_BATCH, verbose=0)
        return [np.asarray(maps)[: len(pictures)] for maps in (given if isinstance(given, list) else [given])]

    return run


def _in_litert(model: Any) -> Runner:
    """Pictures go one by one: larger batches leave the caches of a processor and are slower."""
    import tensorflow as tf  # noqa: PLC0415
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    frozen = [tf.constant(variable.value) for variable in model.weights]

    def maps_of(picture: Any) -> dict[str, Any]:
        maps, _state = model.stateless_call([], frozen, picture, training=False)
        return {f"map_{number}": value for number, value in enumerate(maps if isinstance(maps, list) else [maps])}

    function = tf.function(maps_of, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec([1, *model.input_shape[1:]], tf.float32, name="picture"))
    converted = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
    signature = Interpreter(model_content=bytes(converted), num_threads=1).get_signature_runner()

    def run(pictures: Floats) -> list[Floats]:
        each = [signature(picture=picture[np.newaxis]) for picture in pictures]
        return [np.concatenate([maps[f"map_{number}"] for maps in each]) for number in range(len(each[0]))]

    return run
