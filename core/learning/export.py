"""From trained weights to a LiteRT model in memory. Needs TensorFlow; nothing is written to disk."""

import numpy as np

from core.errors import CheckpointRefused
from core.learning.architectures import build
from core.learning.backend import load_keras
from core.learning.weights import Weights, check_weights
from core.studies import Study

TOLERANCE = 1e-4
_OUTPUTS = ("logits", "cam", "features")


def export_litert(weights: Weights, architecture: str, study: Study) -> bytes:
    """Convert `weights` to a LiteRT flatbuffer for one image and check it against Keras.

    The signature ``serving_default`` takes ``image`` float32 [1, s, s, 3] in 0..1 and returns ``logits`` [1, classes],
    ``cam`` [1, h, w, classes] and ``features`` [1, f]. The weights become constants of the graph, so that no
    variables and no files are involved.

    Raises:
        CheckpointRefused: the weights do not fit the architecture, or LiteRT's answers differ from Keras' by more
            than `TOLERANCE` (relative to the largest value).
    """
    load_keras()
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("export needs Keras on TensorFlow; set KERAS_BACKEND=tensorflow")
    side = study.input_size
    model = build(architecture, input_size=side, classes=len(study.classes))
    check_weights(weights, {v.path: np.broadcast_to(np.float32(0), tuple(v.shape)) for v in model.weights})
    if model.non_trainable_variables:
        raise RuntimeError("an architecture with state besides its weights cannot be exported")
    constants = [tf.constant(weights[variable.path]) for variable in model.trainable_variables]

    def serve(image: object) -> dict[str, object]:
        outputs, _state = model.stateless_call(constants, [], image, training=False)
        return dict(zip(_OUTPUTS, outputs, strict=True))

    function = tf.function(serve, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec([1, side, side, 3], tf.float32, name="image"))
    flatbuffer = bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())
    image = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    _check(flatbuffer, image, {name: value.numpy() for name, value in serve(tf.constant(image)).items()})  # type: ignore[attr-defined]
    return flatbuffer


def _check(flatbuffer: bytes, image: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    got = Interpreter(model_content=flatbuffer, num_threads=1).get_signature_runner()(image=image)
    for name, value in expected.items():
        difference = np.abs(got[name] - value).max() / max(1.0, np.abs(value).max())
        if not difference <= TOLERANCE:
            raise CheckpointRefused(f"LiteRT and Keras differ by {difference:.1e} in {name}")
