"""Enrolling this machine's party: ``python -m federated.enrolment request``, ``install``, ``rewrap`` and ``finish``.

``request`` asks for certificates of the keys in use, with ``--new-keys`` of new ones, which count from ``install`` on.
Data sets of before stay open with the former keys, which only open; ``rewrap`` brings a data set to the new ones, and
``finish`` destroys the former ones (`security.enrolment`, `security.rollover`).
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from core.clock import SystemClock
from core.imaging.archive import rewrap_dataset
from core.settings import Mode, Settings
from core.studies import STUDIES
from federated.newest_list import FILE_NAME, NewestList
from security.authority import ROOT_FILE
from security.certificates import Certificate, Trust
from security.enrolment import Request, install
from security.errors import SecurityError
from security.identity import Identity, load_root
from security.keys import KeyStore, MasterKey
from security.private_files import write_private
from security.rollover import destroy_former


def _store(party: str) -> KeyStore:
    """The party's key folder in this installation; the demo's master key file is made if there is none."""
    settings = Settings()
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    master = MasterKey.load(secret=secret, file=settings.master_key_file, create=settings.mode is Mode.DEMO)
    return KeyStore(settings.keys_dir, party, master)


def _request(options: argparse.Namespace) -> str:
    request = Request.make(_store(options.party), new_keys=options.new_keys)
    options.file.write_bytes(request.data)
    return f"request of {request.party}, fingerprint {request.fingerprint}"


def _install(options: argparse.Namespace) -> str:
    store = _store(options.party)
    former = load_root(store) if (store.folder / ROOT_FILE).exists() else None
    trust = install(options.file.read_bytes(), store, root_fingerprint=options.root, now=SystemClock().now())
    if former is not None and former.fingerprint != trust.root.fingerprint:  # its lists say nothing of this root
        (store.folder / FILE_NAME).unlink(missing_ok=True)
    NewestList(trust.root, store.folder).take(trust.crl_der or b"")
    return f"{options.party} is enrolled"


def _rewrap(options: argparse.Namespace) -> str:
    store, at = _store(options.party), SystemClock().now()
    trust = NewestList(load_root(store), store.folder).known()
    sealed_under = Trust(Certificate.from_pem(options.former_root.read_bytes())) if options.former_root else trust
    again = rewrap_dataset(
        options.file.read_bytes(),
        node=Identity.load(store),
        sealed_under=sealed_under,
        trust=trust,
        study=STUDIES[options.study],
        dataset_id=options.dataset,
        at=at,
    )
    write_private(options.file, again)
    return f"{options.file} is for the keys in use, vouched for by {options.party}"


def _finish(options: argparse.Namespace) -> str:
    destroy_former(_store(options.party))
    return f"the former keys of {options.party} are destroyed"


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; ``act`` of what it reads is the function to call with it."""
    made = argparse.ArgumentParser(prog="python -m federated.enrolment", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    acts: dict[str, tuple[str, str, Callable[[argparse.Namespace], str]]] = {
        "request": ("make keys and a request", "the request to write", _request),
        "install": ("take over the certificates", "the certificates that came", _install),
        "rewrap": ("bring a data set to the keys in use", "the sealed data set", _rewrap),
        "finish": ("destroy the former keys, once all data sets are rewrapped", "", _finish),
    }
    for name, (what, file, act) in acts.items():
        command = commands.add_parser(name, help=what)
        command.set_defaults(act=act)
        command.add_argument(
            "--party", required=True, help="a hospital's <slug>.training or <slug>.serving, or aggregation"
        )
        if file:
            command.add_argument("file", type=Path, help=file)
        if name == "request":
            command.add_argument(
                "--new-keys", action="store_true", help="ask for new keys; those in use stay meanwhile"
            )
        if name == "install":
            command.add_argument("--root", required=True, help="fingerprint of the root, as the authority says")
        if name == "rewrap":
            command.add_argument("--dataset", required=True, help="id of the data set")
            command.add_argument("--study", required=True, choices=sorted(STUDIES), help="its study")
            command.add_argument("--former-root", type=Path, help="the root of before, where that was exchanged (PEM)")
    return made


def main() -> None:
    """Run a command."""
    options = parser().parse_args()
    try:
        print(options.act(options))  # noqa: T201
    except (SecurityError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
