"""Processes on loopback that stand for hospitals' machines: an enclave as a service, with its own key folder alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.settings import ROOT
from tests.conftest import Installation


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
