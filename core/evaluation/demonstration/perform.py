"""Plays steps of the demonstration one after the other and writes what comes of each into a journal."""

import logging
from collections.abc import Callable, Iterable, Mapping

from core.errors import HemaSealError
from core.evaluation.demonstration.dropping_out import show_drop_out
from core.evaluation.demonstration.hospitals import show_hospitals
from core.evaluation.demonstration.inverting import show_inversion
from core.evaluation.demonstration.journal import EntryKind, Journal, Removed, Say
from core.evaluation.demonstration.modes import show_modes
from core.evaluation.demonstration.outcome import Outcome
from core.evaluation.demonstration.patient import show_booking
from core.evaluation.demonstration.script import StepName
from core.evaluation.demonstration.tampering import show_tampering

log = logging.getLogger(__name__)

PLAYS: Mapping[StepName, Callable[[Say], Outcome]] = {
    StepName.HOSPITALS: show_hospitals,
    StepName.MODES: show_modes,
    StepName.DROP_OUT: show_drop_out,
    StepName.TAMPERING: show_tampering,
    StepName.INVERSION: show_inversion,
    StepName.BOOKING: show_booking,
}


def perform(steps: Iterable[StepName], journal: Journal) -> list[StepName]:
    """Play steps; one that fails does not keep the others from being played. Returns those that failed.

    Raises:
        Removed: the demonstration was reset meanwhile.
    """
    failed = []
    for step in steps:
        journal.write(step, EntryKind.BEGUN)
        try:
            outcome = PLAYS[step](journal.saying(step))
        except Removed:
            raise
        except Exception as error:
            log.exception("%s failed", step)
            text = error.public_text if isinstance(error, HemaSealError) else HemaSealError().public_text
            journal.write(step, EntryKind.FAILED, text)
            failed.append(step)
        else:
            journal.write(step, EntryKind.ENDED, share=1.0, outcome=outcome)
    return failed
