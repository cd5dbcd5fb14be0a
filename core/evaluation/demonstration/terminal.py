"""The demonstration in a terminal: speaker notes, figures and tables; pictures and curves are for the page."""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from core.clock import SystemClock
from core.evaluation.demonstration.journal import EntryKind, Journal, read_entries
from core.evaluation.demonstration.outcome import Outcome
from core.evaluation.demonstration.perform import perform
from core.evaluation.demonstration.script import SCENES, StepName


def present(steps: Iterable[StepName]) -> list[StepName]:
    """Play steps and print them; returns those that failed or came out otherwise than the notes tell."""
    console, wrong, began = Console(highlight=False), [], time.monotonic()
    chosen = list(steps)
    with tempfile.TemporaryDirectory(prefix="hemaseal-present-") as folder:
        journal = Journal(Path(folder), clock=SystemClock())
        for number, step in enumerate(chosen, 1):
            scene = SCENES[step]
            console.print(f"\n[bold]{number} of {len(chosen)}: {scene.title}[/bold]")
            for note in scene.notes:
                console.print(f"  {note}", style="italic")
            perform([step], journal)
            last = read_entries(Path(folder), step)[-1]
            if last.kind is EntryKind.ENDED and last.outcome is not None:
                _print(console, last.outcome)
            else:
                console.print(last.text, style="bold red", markup=False)
            if last.outcome is None or not last.outcome.as_told:
                wrong.append(step)
    took, well = time.monotonic() - began, len(chosen) - len(wrong)
    console.print(f"\n{well} of {len(chosen)} steps came out as told, in {took:.0f} s.")
    return wrong


def _print(console: Console, outcome: Outcome) -> None:
    console.print(outcome.headline, style="bold", markup=False)
    for name, value in outcome.facts:
        console.print(f"  {name}: {value}", markup=False)
    for table in outcome.tables:
        drawn = RichTable(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
