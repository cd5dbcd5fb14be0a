"""A network asked through Keras, one picture at a time, as a server that knows nothing of LiteRT would ask it.

For comparison with serving (`core.diagnosis.predictor`); nothing of the product is served so.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning import architectures
from core.learning.backend import load_keras
from core.learning.weights import Weights, check_weights
from core.studies import Study


class KerasAnswers:
    """One network, its frozen trunk included, with its weights."""

    def __init__(self, weights: Weights, architecture: str, study: Study) -> None:
        """Build it.

        Raises:
            CheckpointRefused: the weights are of another architecture, or a trunk's file is missing or changed.
        """
        load_keras()
        import keras  # noqa: PLC0415

        upper = architectures.build(architecture, input_size=study.input_size, classes=len(study.classes))
        check_weights(weights, {v.path: np.broadcast_to(np.float32(0), tuple(v.shape)) for v in upper.weights})
        upper.set_weights([weights[variable.path] for variable in upper.weights])
        trunk = architectures.find(architecture).trunk
        network = upper
        if trunk is not None:
            below = trunk.build(study.input_size)
            network = keras.Model(below.inputs[0], upper(below.outputs if trunk.taps else below.outputs[0]))
        self._network: Any = keras.Model(network.inputs[0], keras.layers.Softmax()(network.outputs[0]))

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities float32 [n, C] of images float32 [n, s, s, 3] in 0..1, by Keras' ``predict``."""
        return np.asarray(self._network.predict(images, verbose=0), np.float32)

    def call(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same by calling the network, without what ``predict`` does around it."""
        return np.asarray(self._network(images, training=False), np.float32)
