"""What commands at a terminal refuse: they sign somebody in, and then the services decide as for a page."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import col, select

from core.__main__ import main
from core.services.demo import DEMO_PASSWORD
from core.settings import Settings
from core.terminal import PASSWORD
from db.engine import make_engine, read_scope
from db.models import AuditEntry, UserSession
from security.audit import decode_entry
from tests.conftest import Installation


@pytest.fixture
def data_dir(installation: Installation, tmp_path: Path) -> Path:
    """A demo installation of this test's own, without contents."""
    return Path(shutil.copytree(installation.data_dir, tmp_path / "var"))


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what runs ``python -m core`` on the installation, in this process: exit status, and what it complained."""

    def run(*words: str, password: str = DEMO_PASSWORD) -> tuple[int, str]:
        for name, value in {"HEMASEAL_DATA_DIR": str(data_dir), "DATABASE_URL": "", PASSWORD: password}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["core", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code)), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "--as", "demo-hospital"), "ACC-FORBIDDEN"),
        (("promote", "--as", "demo-patient", "--yes"), "ACC-FORBIDDEN"),
        (("promote", "--as", "demo-authority", "--yes"), "APP-NOTFOUND"),
        (("run", "--as", "demo-authority"), "FED-RUN"),
        (("import", "{folder}", "--as", "demo-hospital", "--origin", "public"), "DAT-INDEX"),
        (("import", "{folder}", "--as", "demo-authority", "--origin", "public"), "ACC-FORBIDDEN"),
        (("ask", "{file}", "--as", "demo-doctor"), "ACC-FORBIDDEN"),
        (("ask", "{file}", "--as", "demo-patient"), "IMG-TYPE"),
    ],
)
def test_a_refusal_is_one_line_with_its_code_and_leaves_nobody_signed_in(
    command: Command, data_dir: Path, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    folder, file = tmp_path / "folder", tmp_path / "cell.png"
    folder.mkdir()
    file.write_text("no picture")

    status, said = command(*(word.format(folder=folder, file=file) for word in words))

    assert status == 1
    assert said.count("\n") == 1, said
    assert f"[{code}]" in said
    engine = make_engine(Settings(data_dir=data_dir, database_url="").database)
    with read_scope(engine) as session:
        signed_in = session.exec(select(UserSession)).all()
    engine.dispose()
    assert [row for row in signed_in if row.revoked_at is None] == []
    assert len(signed_in) == 1


def test_a_wrong_password_is_counted_as_on_the_page(command: Command, data_dir: Path) -> None:
    status, said = command("run", "--as", "demo-authority", password="not this one")

    assert status == 1
    assert "[ACC-SIGNIN]" in said
    engine = make_engine(Settings(data_dir=data_dir, database_url="").database)
    with read_scope(engine) as session:
        newest = session.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(1)).one()
    engine.dispose()
    assert decode_entry(newest.entry).action.startswith("sign-in")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("run", "--as", "demo-authority", "--mode", "open"), "blind"),
        (("run", "--as", "demo-authority", "--hospital", "nowhere"), "nowhere"),
        (("run", "--as", "demo-authority", "--study", "none"), "leukemia"),
        (("import", "{folder}", "--as", "demo-hospital", "--share", "2 of 4"), "2/4"),
        (("import", "{folder}", "--as", "demo-hospital", "--share", "2/4", "--divide", "dice"), "dirichlet"),
        (("import", "{folder}", "--as", "demo-hospital", "--origin", "unknown"), "clinical"),
    ],
)
def test_a_wrong_word_is_explained_by_what_would_be_right(
    command: Command, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    status, said = command(*(word.format(folder=tmp_path) for word in words))

    assert status == 2
    assert text in said
