"""What stands for machines: hospitals', a process on loopback each, with its own key folder alone; and the app's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.evaluation.throwaway import SHIPPED_MODEL
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services.app import Actor, App
from core.services.case_records import CaseView
from core.services.cases import submit
from core.settings import ROOT, Settings
from tests.conftest import Installation
from tests.integration.clinic import hospital_id


class Machine:
    """A hospital's machine. Killed and started again it listens at the same port."""

    def __init__(self, installation: Installation, folder: Path, party: str) -> None:
        """Put the party's key folder there, and start nothing yet."""
        self.party, self.port = party, 0
        self._folder = folder
        shutil.copytree(installation.data_dir / "keys" / party, folder / "keys" / party)
        shutil.copy(installation.data_dir / "master.key", folder / "master.key")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Where its enclave listens."""
        return f"127.0.0.1:{self.port}"

    def keep(self, name: str, data: bytes) -> None:
        """Put a file into its key folder."""
        (self._folder / "keys" / self.party / name).write_bytes(data)

    def start(self) -> None:
        """Start the enclave and wait until it listens."""
        with (self._folder / "enclave.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        with self._process.stdout as out:
            said = out.readline().decode()
        assert said.startswith("ready at "), (self._folder / "enclave.log").read_text()
        self.port = int(said.rpartition(":")[2])

    def refusal(self, **environment: str) -> str:
        """Return what an enclave says that does not start with more in its environment."""
        done = subprocess.run(
            self._command,
            cwd=ROOT,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        return done.stderr

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "core.diagnosis.enclave", "--party", self.party, "--listen", self.place]

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HEMASEAL_DATA_DIR": str(self._folder)}

    @property
    def is_up(self) -> bool:
        """Whether the enclave runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the enclave without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def app_with(app: App, *machines: Machine, **changes: object) -> App:
    """Return the application whose enclaves of north are on these machines; it has none of north's keys itself."""
    shutil.rmtree(app.settings.keys_dir / "north.serving", ignore_errors=True)
    named = ",".join(f"{machine.party}={machine.place}" for machine in machines)
    return replace(app, settings=app.settings.model_copy(update={"enclaves": named, **changes}))


def shipped_model(installation: Installation) -> ServingModel:
    """Return the shipped model."""
    settings = Settings(data_dir=installation.data_dir, database_url="", master_key=None)
    return load_checkpoint(SHIPPED_MODEL, settings=settings, at=FixedClock().now())


def upload(app: App, patient: Actor, *, prefer: str | None = "north") -> CaseView:
    """Send a synthetic cell."""
    picture = encode_png(generate_cell(np.random.default_rng(7), blast=True, style=STYLES["north"]))
    preferred = hospital_id(app, prefer) if prefer else None
    return submit(app, patient, files=[picture], study="leukemia", preferred=preferred)


@contextmanager
def machines(installation: Installation, folder: Path, *parties: str) -> Iterator[list[Machine]]:
    """Machines of these parties, started; all end with the block."""
    made = [Machine(installation, folder / str(number), party) for number, party in enumerate(parties)]
    try:
        for machine in made:
            machine.start()
        yield made
    finally:
        for machine in made:
            machine.kill()
