"""axe-core for the tests: taken from npm once, and only if it is the very package whose hash is written down."""

import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import environment


def npm_that_gives(script: bytes) -> object:
    """Return a stand-in for `subprocess.run` that packs a package with this script where npm would."""

    def run(command: Sequence[str], *, cwd: str, **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[1] == "pack"
        with tarfile.open(Path(cwd) / f"axe-core-{environment.AXE_VERSION}.tgz", "w:gz") as archive:
            member = tarfile.TarInfo("package/axe.min.js")
            member.size = len(script)
            archive.addfile(member, io.BytesIO(script))
        return subprocess.CompletedProcess(command, 0)

    return run


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the script in which there is none yet."""
    place = tmp_path / "axe-core" / "axe.min.js"
    monkeypatch.setattr(environment, "AXE", place)
    return place


def test_another_package_than_the_one_written_down_is_refused(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.environment.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("tests.environment.subprocess.run", npm_that_gives(b"window.stolen = true"))
    with pytest.raises(SystemExit, match="is not the one whose hash"):
        environment.find_axe()
    assert not nowhere.exists()


def test_without_npm_there_is_none(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.environment.shutil.which", lambda _name: None)
    assert environment.find_axe() is None
    assert not nowhere.exists()


def test_one_that_is_there_is_not_fetched_again(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere.parent.mkdir()
    nowhere.write_text("axe", encoding="utf-8")
    monkeypatch.setattr("tests.environment.subprocess.run", pytest.fail)
    assert environment.find_axe() == nowhere
