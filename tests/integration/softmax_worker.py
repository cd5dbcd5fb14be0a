"""A worker process with the NumPy learner, for tests that kill it: ``python -m tests.integration.softmax_worker N``.

Before its N-th local training it prints ``training`` and waits for ever; with N = 0 it never waits. The clock stands
still, so that a lease never ends by itself.
"""

import sys
import threading
from datetime import datetime
from typing import Any

from core.clock import FixedClock
from core.settings import Settings
from core.studies import Study
from federated.learner import Learner
from federated.softmax import SoftmaxLearner
from federated.worker import serve


class WaitingLearner(SoftmaxLearner):
    """Stops before its N-th training."""

    def __init__(self, wait_before: int) -> None:
        """Remember N."""
        super().__init__()
        self._left = wait_before

    def fit(self, *arguments: Any, **options: Any) -> Any:
        """Train, or say so and wait."""
        self._left -= 1
        if self._left == 0:
            print("training", flush=True)  # noqa: T201 - the test reads it
            threading.Event().wait()
        return super().fit(*arguments, **options)


def learner_for(_architecture: str, _study: Study) -> Learner:
    """The learner, whatever the order says."""
    return WaitingLearner(int(sys.argv[1]))


if __name__ == "__main__":
    clock = FixedClock(datetime.fromisoformat(sys.argv[2]))
    sys.exit(0 if serve(Settings(), clock=clock, learner_for=learner_for, idle_exit_s=0) else 3)
