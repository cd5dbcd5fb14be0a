"""``python -m tests.browser.gated_worker``: the product's worker, whose nodes train when a test lets them.

The file ``trainings`` in the data folder says how many trainings may go on in all; a training before which there is no
place waits, and gives up when its run is paused or aborted, as a long one does.
"""

import threading
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.imaging.squares import Squares
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.settings import Settings
from core.studies import Study
from federated.softmax import SoftmaxLearner
from federated.worker import serve

LOOK_S = 0.05


def let_train(data_dir: Path, count: int) -> None:
    """Say how many trainings may go on, all before counted in."""
    new = data_dir / "trainings.new"
    new.write_text(str(count), encoding="ascii")
    new.replace(data_dir / "trainings")


class GatedLearner(SoftmaxLearner):
    """A `SoftmaxLearner` that waits before it trains."""

    def __init__(self, gate: Path, _architecture: str, study: Study) -> None:
        super().__init__(study)
        self._gate, self._begun, self._lock, self._looks = gate, 0, threading.Lock(), threading.Event()

    def fit(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """Tell that training has begun and wait for a place, then train."""
        while not self._takes_place():
            progress(0, options.epochs, float("nan"))  # again and again: the worker writes down the newest now and then
            if should_stop():
                return weights, TrainingReport(images=len(labels), steps=0, loss=float("nan"), stopped=True)
            self._looks.wait(LOOK_S)
        return super().fit(weights, images, labels, options, should_stop=should_stop, progress=progress)

    def _takes_place(self) -> bool:
        with self._lock:
            if self._begun >= int(self._gate.read_text(encoding="ascii")):
                return False
            self._begun += 1
            return True


if __name__ == "__main__":
    settings = Settings()
    serve(settings, learner_for=partial(GatedLearner, settings.data_dir / "trainings"))
