"""The process that plays steps of the demonstration: asked for by the authority's page, apart from the app's process.

What it writes lies in one folder of the installation; removing that folder resets the demonstration and ends it.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from core.clock import Clock
from core.evaluation.demonstration.journal import ASKED_NAME, EntryKind, Journal, is_held
from core.evaluation.demonstration.script import StepName
from core.services import processes
from core.settings import Settings

FOLDER_NAME = "presentation"
LOG_NAME = "presentation.log"
START_S = 60.0


def folder_of(settings: Settings) -> Path:
    """Return where the demonstration of an installation is written."""
    return settings.run_dir / FOLDER_NAME


def is_playing(settings: Settings) -> bool:
    """Tell whether a process plays, or was asked for moments ago."""
    folder = folder_of(settings)
    try:
        asked = time.time() - (folder / ASKED_NAME).stat().st_mtime < START_S
    except OSError:
        asked = False
    return asked or is_held(folder)


def launch(settings: Settings, steps: Sequence[StepName], *, clock: Clock) -> None:
    """Start a process that plays steps, whose former results are removed. Does not wait for it."""
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / ASKED_NAME).touch()
    journal = Journal(folder, clock=clock)
    for step in steps:
        journal.forget(step)
        journal.write(step, EntryKind.ASKED)
    words = ["core", "present", *steps, "--events", str(folder.resolve())]
    processes.start(settings, words, log=settings.run_dir / LOG_NAME)


def clear(settings: Settings) -> None:
    """Remove what was written; a process that plays ends at its next line."""
    shutil.rmtree(folder_of(settings), ignore_errors=True)
