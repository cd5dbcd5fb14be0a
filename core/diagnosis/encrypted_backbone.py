"""A network without its head: one image in, pooled features out, from which nobody reads an answer. LiteRT only."""

import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from core.diagnosis.bundle import ServingModel
from core.diagnosis.encrypted_head import Features, quantised
from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise, preprocess
from core.studies import STUDIES


class Backbone:
    """A loaded backbone. Not for several threads at once: LiteRT's interpreter has one set of buffers."""

    def __init__(self, model: ServingModel, *, features: int, threads: int = 1) -> None:
        """Load the network.

        Raises:
            CheckpointRefused: LiteRT cannot load it, it gives other features than the head takes, or logits too: then
                the head would be in it.
        """
        model.check()
        self.manifest = manifest = model.manifest
        self._study = STUDIES[manifest.study]
        try:
            self._interpreter = Interpreter(model_content=model.litert, num_threads=threads)
            self._runner = self._interpreter.get_signature_runner()
            outputs = self._runner(image=np.zeros((1, manifest.input_size, manifest.input_size, 3), np.float32))
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointRefused("the network cannot be loaded") from error
        if set(outputs) != {"features"} or outputs["features"].shape != (1, features):
            raise CheckpointRefused("a network of features alone expected, as many as its encrypted head takes")

    def features(self, pixels: NDArray[np.uint8]) -> tuple[Features, dict[str, float]]:
        """Return the features of one decoded image uint8 [h, w, 3], RGB, and milliseconds of each stage.

        Raises:
            CheckpointRefused: the features are negative or not finite.
        """
        started = time.perf_counter()
        side, options = self.manifest.input_size, self._study.preprocessing
        image = normalise(preprocess(pixels, side, options)[np.newaxis], options)
        prepared = time.perf_counter()
        found = quantised(self._runner(image=image)["features"][0])
        stages = {"preprocess": (prepared - started) * 1e3, "infer": (time.perf_counter() - prepared) * 1e3}
        return found, stages
