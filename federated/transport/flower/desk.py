"""A party's desk: takes letters from the local socket, one at a time, and hands out the party's answers."""

import logging
import threading
from pathlib import Path

from core.learning.run_events import FailureCode
from federated.answering import Answering
from federated.failures import code_of
from federated.transport.flower.lines import Line, LineEnded, Listener, Parcel

log = logging.getLogger(__name__)

_WAIT_S = 0.5


class Desk:
    """Where one party receives its letters.

    Attributes:
        ending: set to end `serve`.
    """

    def __init__(self) -> None:
        self.ending = threading.Event()
        self._line: Line | None = None

    def given_up(self) -> bool:
        """Whether nobody waits for the answer in hand: its carrier hung up, or the desk shall close."""
        return self.ending.is_set() or (self._line is not None and self._line.has_ended())

    def serve(self, party: Answering, path: Path) -> None:
        """Answer letters until `ending` is set.

        Raises:
            OSError: there can be no socket at `path`.
        """
        with Listener(path) as listener:
            while not self.ending.is_set():
                line = listener.accept(wait_s=_WAIT_S)
                if line is not None:
                    with line:
                        self._line = line
                        self._answer(party, line)
                    self._line = None

    def _answer(self, party: Answering, line: Line) -> None:
        try:
            parcel = line.receive()
            line.send(_answer_to(parcel, party))
        except LineEnded:
            log.info("%s: nobody waits for the answer any more", party.party)


def _answer_to(parcel: Parcel, party: Answering) -> Parcel:
    if parcel.party != party.party:
        return Parcel(party=party.party, failure=FailureCode.MESSAGE.value)
    try:
        return Parcel(party=party.party, data=party.answer(parcel.data))
    except Exception as error:  # a party that fails is a delivery, whatever failed
        code = code_of(error)
        log.info("%s does not answer: %s", party.party, code, exc_info=code is FailureCode.CRASHED)
        return Parcel(party=party.party, failure=code.value)
