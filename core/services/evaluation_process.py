"""The process that does what an evaluation was ordered to do: apart from the app's, and found again by its folder."""

from pathlib import Path

from core.clock import Clock
from core.evaluation.ordered import STOP, Order, ask
from core.services import processes
from core.settings import Settings

LOG_NAME = "log.txt"


def launch(settings: Settings, folder: Path, order: Order | None, *, clock: Clock) -> None:
    """Begin a folder with an order, or, without one, go on with what was ordered there. Does not wait for it."""
    ask(folder, order, clock=clock)
    processes.start(settings, ["core.evaluation.perform_order", str(folder.resolve())], log=folder / LOG_NAME)


def stop(folder: Path) -> None:
    """Ask the process of a folder to end; what it has finished stays."""
    (folder / STOP).touch()
