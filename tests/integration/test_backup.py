"""docs/how-to/backup-and-restore.md, command by command: all is lost, a case opens again, what was erased stays so."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import select

from core.errors import AuditLogBroken, HemaSealError
from core.evaluation.throwaway import serving_installation
from core.imaging.decode import encode_png
from core.imaging.synthetic import STYLES, generate_cell
from core.services import audit, case_reading, cases, demo, erasure
from core.services.accounts import ConsentPurpose, register_patient
from core.services.app import Actor, App
from core.services.datasets import datasets
from core.services.sessions import actor_of
from core.settings import ROOT, Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import User

PAGE = ROOT / "docs" / "how-to" / "backup-and-restore.md"
PASSWORD = "a calm long sentence"

pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed here")


def printed(heading: str) -> list[str]:
    """Return the blocks of commands for SQLite below a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh(?: older)?\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def shell(folder: Path, *blocks: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HEMASEAL_DATA_DIR": "var",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Kept:
    """A folder with ``var``, its backup and the mirror of its vault; who has a case in it, and who erased theirs."""

    folder: Path
    case: str
    erased: Actor
    erased_case: str


def send(app: App, patient: Actor, seed: int) -> str:
    picture = encode_png(generate_cell(np.random.default_rng(seed), blast=True, style=STYLES["north"]))
    return cases.submit(app, patient, files=[picture], study=LEUKEMIA.name).id


def person(app: App, username: str) -> Actor:
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())


def opened(app: App, case_id: str) -> bytes:
    """Return the picture of the demo patient's case, opened by an enclave."""
    patient = person(app, "demo-patient")
    assert case_reading.read_case(app, patient, case_id).result is not None
    return case_reading.view_pictures(app, patient, case_id).original


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Two patients send a picture; a backup is made; one erases everything; the mirror of the vault follows."""
    folder = tmp_path_factory.mktemp("kept")
    backup, mirror = printed("Back up")
    with serving_installation(folder / "var") as app:
        demo.seed_contents(app, lambda _: None)  # as the set-up of the page's commands would
        second = register_patient(
            app,
            username="second-patient",
            password=PASSWORD,
            display_name="Second patient",
            consents=list(ConsentPurpose),
        )
        case, other = send(app, person(app, "demo-patient"), 1), send(app, second, 2)
        shell(folder, backup, mirror)
        erasure.erase(app, second, password=PASSWORD)
        shell(folder, mirror)
        assert len(opened(app, case)) > 1000
    return Kept(folder, case, second, other)


@pytest.fixture
def kept(made: Kept, tmp_path: Path) -> Kept:
    """A copy of this test's own."""
    return replace(made, folder=Path(shutil.copytree(made.folder, tmp_path / "kept")))


@pytest.fixture
def restored(kept: Kept) -> Iterator[App]:
    """Everything but the master key, the backup and the mirror is lost and restored."""
    (kept.folder / "var").rename(kept.folder / "lost")
    (kept.folder / "var").mkdir()
    shutil.copy(kept.folder / "lost" / "master.key", kept.folder / "var")
    shutil.rmtree(kept.folder / "lost")
    shell(kept.folder, *printed("Restore after everything was lost"))
    app = App.start(Settings(data_dir=kept.folder / "var", database_url="", master_key=None))
    yield app
    app.supervisor.stop_all()
    app.engine.dispose()


def test_after_a_loss_of_everything_a_case_opens_and_the_erased_stays_erased(kept: Kept, restored: App) -> None:
    assert len(opened(restored, kept.case)) > 1000
    with pytest.raises(HemaSealError):
        case_reading.read_case(restored, kept.erased, kept.erased_case)
    with read_scope(restored.engine) as session:
        account = session.get_one(User, kept.erased.user_id)
        assert not account.is_active
        assert account.username.startswith("erased-")
    assert audit.verify(restored, person(restored, "demo-authority")).size
    assert datasets(restored, person(restored, "demo-hospital"))[0].sealed_bytes > 0
    assert send(restored, person(restored, "demo-patient"), 3)


def test_an_older_database_is_noticed_and_believed_after_the_steps_of_the_page(kept: Kept) -> None:
    settings = Settings(data_dir=kept.folder / "var", database_url="", master_key=None)
    app = App.start(settings)
    audit.verify(app, person(app, "demo-authority"))
    app.engine.dispose()
    for name in ("hemaseal.db-wal", "hemaseal.db-shm"):
        (kept.folder / "var" / name).unlink(missing_ok=True)
    shutil.copy(kept.folder / "backup" / "database.db", kept.folder / "var" / "hemaseal.db")

    app = App.start(settings)
    with pytest.raises(AuditLogBroken):
        audit.verify(app, person(app, "demo-authority"))
    app.engine.dispose()
    shell(kept.folder, *printed("Put an older database back, with the keys kept"))

    app = App.start(settings)
    assert audit.verify(app, person(app, "demo-authority")).size
    assert len(opened(app, kept.case)) > 1000
    app.supervisor.stop_all()
    app.engine.dispose()
