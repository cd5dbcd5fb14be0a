"""One party's own process: ``python -m federated.transport.flower.party --party north.training …``.

It alone holds the party's keys and data, opens no network port, and answers letters that a process of Flower hands in
at its local socket. Keys, master key and study come from the installation's settings (`core.settings`).
"""

import argparse
import logging
import signal
from pathlib import Path

from core.clock import SystemClock
from core.learning.architectures import DEFAULT_ARCHITECTURE
from core.learning.orders import AGGREGATION
from core.log_lines import begin_log
from core.settings import Settings
from core.studies import STUDIES, Study
from federated import softmax
from federated.answering import Answering
from federated.hosting import DatasetFile, Hosting
from federated.learner import KerasLearner, Learner
from federated.transport.flower.desk import Desk
from security.keys import MasterKey

log = logging.getLogger(__name__)


def learner_for(architecture: str, study: Study) -> Learner:
    """Return the learner of an architecture; the one in NumPy needs no TensorFlow."""
    return softmax.SoftmaxLearner(study) if architecture == softmax.NAME else KerasLearner(architecture, study)


def open_party(arguments: argparse.Namespace, settings: Settings, desk: Desk) -> Answering:
    """Open the party that the command line names with its own keys and, for a hospital's node, its data set.

    Raises:
        SecurityError: its keys do not open, or it knows of no revocation list.
        DatasetRefused: the sealed data set does not open for this party.
        OSError: a file cannot be read.
    """
    study = STUDIES[arguments.study]
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    hosting = Hosting(
        keys_dir=settings.keys_dir,
        master=MasterKey.load(secret=secret, file=settings.master_key_file),
        crl=arguments.crl.read_bytes() if arguments.crl else b"",
        study=study,
        clock=SystemClock(),
    )
    if arguments.party == AGGREGATION:
        return hosting.aggregation()
    return hosting.node(
        arguments.party,
        DatasetFile(id=arguments.dataset, path=arguments.file),
        learner=learner_for(arguments.architecture, study),
        should_stop=desk.given_up,
        progress=lambda done, total: log.debug("step %d of %d", done, total),
    )


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python -m federated.transport.flower.party", description=__doc__)
    made.add_argument("--party", required=True, help="aggregation, or a hospital's <slug>.training")
    made.add_argument("--socket", required=True, type=Path, help="where letters are handed in")
    made.add_argument("--dataset", default="", help="id of the data set, as orders name it")
    made.add_argument("--file", type=Path, help="the sealed data set")
    made.add_argument("--crl", type=Path, help="a revocation list (DER); needed at the first start only")
    made.add_argument("--study", default="leukemia", choices=sorted(STUDIES), help="the study that its rounds are of")
    made.add_argument("--architecture", default=DEFAULT_ARCHITECTURE, help="as orders name it")
    return made


def _arguments() -> argparse.Namespace:
    reader = parser()
    arguments = reader.parse_args()
    if arguments.party != AGGREGATION and not (arguments.dataset and arguments.file):
        reader.error("a hospital's node needs --dataset and --file")
    return arguments


def main() -> None:
    """Serve until told to end."""
    arguments, desk = _arguments(), Desk()
    begin_log()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: desk.ending.set())
    party = open_party(arguments, Settings(), desk)
    log.info("%s answers at %s", party.party, arguments.socket)
    desk.serve(party, arguments.socket)


if __name__ == "__main__":
    main()
