"""The authority's page of keys and what stands behind it: shares made once, and the root that comes back with them."""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.__main__ import app as commands
from core.clock import FixedClock
from core.errors import InvalidInput, NotAuthorised, SettingsError
from core.services.app import Actor, App
from core.services.audit import list_entries
from core.services.key_ceremony import make_recovery_shares, recover_root, root
from core.services.members import certificates
from core.settings import Settings
from tests.integration.page_support import draw, words

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def lose_root(settings: Settings) -> None:
    (settings.keys_dir / "authority" / "issue.p8").unlink()


def test_a_lost_root_comes_back_with_enough_shares_and_not_with_fewer(
    app: App, authority: Actor, settings: Settings
) -> None:
    before = root(app, authority)
    assert not before.has_recovery
    lines = make_recovery_shares(app, authority, needed=2, people=3)
    assert root(app, authority).has_recovery
    with pytest.raises(SettingsError):
        recover_root(settings, lines)
    lose_root(settings)
    with pytest.raises(InvalidInput):
        recover_root(settings, lines[:1])
    with pytest.raises(InvalidInput):
        recover_root(settings, [lines[0], lines[1][:-1]])
    assert recover_root(settings, ["", *lines[1:]]) == before.fingerprint
    made = [entry for entry in list_entries(app, authority) if entry.action == "certificate.recovery"]
    assert len(made) == 1
    assert not any(line in str(made) for line in lines)


def test_only_the_authority_makes_shares_or_sees_the_root(app: App, doctor: Actor, patient: Actor) -> None:
    for actor in (doctor, patient):
        with pytest.raises(NotAuthorised):
            root(app, actor)
        with pytest.raises(NotAuthorised):
            make_recovery_shares(app, actor, needed=2, people=3)


def test_a_choice_that_protects_nothing_makes_no_file(app: App, authority: Actor, settings: Settings) -> None:
    with pytest.raises(InvalidInput):
        make_recovery_shares(app, authority, needed=1, people=3)
    assert not (settings.keys_dir / "authority" / "issue.recovery.p8").exists()


def test_certificates_that_end_soon_are_named(app: App, authority: Actor, clock: FixedClock) -> None:
    assert root(app, authority).expiring == ()
    first = min(view.not_after for view in certificates(app, authority) if view.party == "north.serving")
    clock.advance(first - timedelta(days=20) - clock.now())
    assert "north.serving" in root(app, authority).expiring


def test_the_command_reads_the_shares_from_a_file(
    app: App, authority: Actor, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = make_recovery_shares(app, authority, needed=2, people=2)
    file = tmp_path / "shares.txt"
    file.write_text("\n".join(lines) + "\n")
    lose_root(settings)
    monkeypatch.setenv("HEMASEAL_DATA_DIR", str(settings.data_dir))
    result = CliRunner().invoke(commands, ["recover-root", str(file)])
    assert result.exit_code == 0, result.output
    assert root(app, authority).fingerprint in result.output


def test_the_page_shows_the_shares_once_and_the_curve(
    app: App, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages._ui.state.app", lambda: app)
    page = draw(app, "authority/keys", "demo-authority")
    assert not page.exception
    assert "no shares yet" in words(page)
    page.button(key="recovery_make").click().run()
    assert not page.exception
    lines = [code.value for code in page.code]
    assert len(lines) == 5
    lose_root(settings)
    recover_root(settings, lines[2:])
    page.button(key="recovery_done").click().run()
    assert not page.code
    page.segmented_control(key="keys_section").set_value("How two parties agree").run()
    page.slider(key="curve_own").set_value(5).run()
    assert not page.exception
    assert "The hospital sends 5 · G" in words(page)
