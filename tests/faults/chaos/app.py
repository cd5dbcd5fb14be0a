"""The app's process: its services, and people who use them. It can be killed at any moment and started again.

``python -m tests.faults.chaos.app FOLDER SEED``; what people note goes to standard output.
"""

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from core.log_lines import begin_log
from core.services import processes
from core.services.app import App
from core.settings import Settings
from tests.faults.chaos import diary
from tests.faults.chaos.diary import Did, Line
from tests.faults.chaos.people import Authority, Doctor, Patient, Person
from tests.faults.chaos.place import PATIENTS, SkewedClock, Weather

DOCTORS = ("demo-doctor", "demo-doctor-east", "demo-doctor-south", "demo-doctor-west")
_START = processes.start


def main() -> None:
    """Be the app until told to end."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    begin_log()
    before = diary.read(folder / "diary.jsonl")

    def start(settings: Settings, words: Sequence[str], *, log: Path) -> None:
        assert words == ["federated.worker"], words
        _START(settings, ["tests.faults.chaos.worker", str(folder)], log=log)

    patch.object(processes, "start", start).start()
    app = App.start(Settings(), clock=SkewedClock(Weather(folder / "weather.json"), "app_clock"))
    diary.say(Line(Did.HERE, "app"))
    seeds = [seed, len(before)]
    people: list[Person] = [
        *(Patient(app, name, [*seeds, number], before) for number, name in enumerate(PATIENTS)),
        *(Doctor(app, name, [*seeds, 100 + number]) for number, name in enumerate(DOCTORS)),
        Authority(app, "demo-authority", [*seeds, 200]),
    ]
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threads = [threading.Thread(target=one.work, args=(ending,), name=one.username) for one in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.supervisor.stop_all()


if __name__ == "__main__":
    main()
