"""The worker's process: the product's, with a light learner, a clock that can be wrong, and nodes that can fail.

``python -m tests.faults.chaos.worker FOLDER``, started by the product in place of its own.
"""

import sys
import threading
from pathlib import Path
from unittest.mock import patch

import federated.worker
from core.learning.orders import training_party
from core.log_lines import begin_log
from core.settings import Settings
from tests.faults.chaos.place import SkewedClock, Weather
from tests.faults.machines import Machines, RememberingWorker
from tests.faults.plan import Kind, Note, What
from tests.integration.runs_support import softmax

LATE_S = 2.0


class Trouble:
    """What the weather does to nodes; a `tests.faults.machines.Witness`."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._done: set[object] = set()

    def pass_by(self, note: Note) -> Note:
        """Let a late node wait before it is asked."""
        if note.what is What.ASKED and self._of(note) == "late":
            threading.Event().wait(LATE_S)
        return note

    def strikes(self, note: Note) -> Kind | None:
        """Away for the round, or started again without its memory (once for each fault)."""
        trouble = self._of(note)
        if trouble == "away":
            return Kind.NODE_BACK
        number = self._weather.read().get("number")
        if trouble == "restart" and number not in self._done:
            self._done.add(number)
            return Kind.NODE_RESTART
        return None

    def _of(self, note: Note) -> object:
        said = self._weather.read()
        return said.get("node") if note.party == training_party(str(said.get("slug"))) else None


def main() -> None:
    """Be the worker."""
    weather = Weather(Path(sys.argv[1]) / "weather.json")
    begin_log()
    Machines.saboteur = Trouble(weather)
    patch.object(federated.worker, "InProcessHost", Machines).start()
    patch.object(federated.worker, "Worker", RememberingWorker).start()
    lived = federated.worker.serve(Settings(), clock=SkewedClock(weather, "worker_clock"), learner_for=softmax)
    sys.exit(0 if lived else 3)


if __name__ == "__main__":
    main()
