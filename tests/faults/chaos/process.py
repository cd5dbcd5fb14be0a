"""The app's process as a service manager keeps it: started, started again when it has gone, asked to end."""

import subprocess
import sys
import threading

from core.settings import ROOT
from tests.faults.chaos import diary
from tests.faults.chaos.faults import PROGRAMS
from tests.faults.chaos.place import Place

_END_S = 60.0


class AppProcess:
    """The app's process, whose people's notes are written into the diary as they say them."""

    def __init__(self, place: Place, seed: int) -> None:
        """Start nothing yet."""
        self.starts = 0
        self._place, self._seed = place, seed
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def pid(self) -> int | None:
        """Return its id; None while there is no such process."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, once all that the last one said is written down."""
        if self._pump is not None:
            self._pump.join()
        command = [sys.executable, "-m", PROGRAMS["app"], str(self._place.folder), str(self._seed)]
        with (self._place.folder / "app.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._place.environment(), stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        self._pump = threading.Thread(target=diary.keep, args=(self._process.stdout, self._place.diary))
        self._pump.start()
        self.starts += 1

    def keep_alive(self) -> None:
        """Start it again when it has gone."""
        if self.pid() is None:
            self.start()

    def end(self) -> bool:
        """Ask it to end, and kill it if it does not; returns whether it did. Its worker lives on."""
        ended = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                ended = False
                self._process.kill()
                self._process.wait()
        if self._pump is not None:
            self._pump.join()
        return ended
