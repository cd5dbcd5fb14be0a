"""The screen of ``simulate``: progress bars while it runs, one table at the end."""

import math
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.learning.orders import slug_of
from core.learning.run_events import EventKind, FailureCode
from federated.store import Event


class Screen:
    """Draws on standard error, so that standard output stays free. A context manager."""

    def __init__(self, rounds: int) -> None:
        """Prepare the bars.

        Args:
            rounds: how many there will be.
        """
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._rounds = self._bars.add_task("rounds", total=rounds)
        self._others: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Leave the last state on the screen."""
        self._bars.stop()

    def reading(self, what: str, done: int, total: int) -> None:
        """Show how many images have been read."""
        self._show(what, done, total)

    def training(self, party: str, done: int, total: int) -> None:
        """Show a node's training steps."""
        self._show(f"{slug_of(party)} trains", done, total)

    def event(self, event: Event) -> None:
        """Show finished rounds and failures as lines of their own."""
        if event.kind is EventKind.ROUND_FINISHED and event.round > 0:
            metrics = event.payload["metrics"]
            self._bars.update(self._rounds, completed=event.round)
            shown = {"AUC": metrics.get("auc", math.nan), **{name: metrics[name] for name in ("accuracy", "loss")}}
            figures = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            self._console.print(f"round {event.round}: {figures}")
        elif event.kind is EventKind.FAILED:
            text = FailureCode(event.payload["code"]).text
            self._console.print(f"round {event.round}: {event.party} at {event.payload['step']}: {text}")

    def summary(self, result: dict[str, Any], out: Path) -> None:
        """Show the figures of `result.json` that people ask for first."""
        table = Table(title="Validation, patients not trained on")
        for name in ("round", "AUC", "accuracy", "loss", "training s", "cryptography s"):
            table.add_column(name, justify="right")
        for one in result["rounds"]:
            metrics = one["metrics"]
            table.add_row(
                str(one["round"]),
                f"{metrics['auc']:.4f}",
                f"{metrics['accuracy']:.4f}",
                f"{metrics['loss']:.4f}",
                f"{one['training_s']:.1f}",
                f"{one['cryptography_s']:.3f}",
            )
        self._console.print(table)
        self._console.print(
            f"{result['wall_s']:.0f} s in all, {result['training_s']:.0f} s of training, "
            f"cryptography {100 * result['cryptography_share']:.2f} % of the run. Written to {out}"
        )

    def _show(self, what: str, done: int, total: int) -> None:
        if what not in self._others:
            self._others[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._others[what], completed=done, total=total)
