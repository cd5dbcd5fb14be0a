"""Enrolling this machine's party: ``python -m federated.enrolment request`` and ``install`` (`security.enrolment`)."""

import argparse
import sys
from pathlib import Path

from core.clock import SystemClock
from core.settings import Mode, Settings
from federated.newest_list import NewestList
from security.enrolment import Request, install
from security.errors import SecurityError
from security.keys import KeyStore, MasterKey


def _store(party: str) -> KeyStore:
    """The party's key folder in this installation; the demo's master key file is made if there is none."""
    settings = Settings()
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    master = MasterKey.load(secret=secret, file=settings.master_key_file, create=settings.mode is Mode.DEMO)
    return KeyStore(settings.keys_dir, party, master)


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m federated.enrolment", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("request", "make keys and a request"), ("install", "take over the certificates")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--party", required=True, help="a hospital's <slug>.training, or aggregation")
        command.add_argument("file", type=Path, help="the request to write, or the certificates that came")
        if name == "install":
            command.add_argument("--root", required=True, help="fingerprint of the root, as the authority says")
    arguments = parser.parse_args()
    try:
        store = _store(arguments.party)
        if arguments.command == "request":
            request = Request.make(store)
            arguments.file.write_bytes(request.data)
            print(f"request of {request.party}, fingerprint {request.fingerprint}")  # noqa: T201
        else:
            now = SystemClock().now()
            trust = install(arguments.file.read_bytes(), store, root_fingerprint=arguments.root, now=now)
            NewestList(trust.root, store.folder).take(trust.crl_der or b"")
            print(f"{arguments.party} is enrolled")  # noqa: T201
    except (SecurityError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
