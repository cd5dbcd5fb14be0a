"""The screen of ``tables``: how many steps are done, and how far the present one is."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Screen:
    """Draws on standard error, so that standard output stays free. A context manager."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._steps = self._bars.add_task("tables", total=None)
        self._inside = self._bars.add_task("", total=None, visible=False)
        self._what = ""

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Leave the last state on the screen."""
        self._bars.stop()

    def begun(self, step: str, done: int, total: int) -> None:
        """Show that a step begins."""
        self._bars.update(self._steps, description=step, completed=done, total=total)
        self._bars.update(self._inside, visible=False)
        self._what = ""

    def say(self, what: str, done: int, total: int) -> None:
        """Show how far the step is."""
        if what != self._what:
            self._what = what
            self._bars.reset(self._inside, description=f"  {what}", total=total, visible=True)
        self._bars.update(self._inside, completed=done, total=total)
