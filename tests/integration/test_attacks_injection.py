"""SQL in every text that any service takes, and files whose names lead elsewhere: nothing comes of it."""

import inspect
import io
import tempfile
import types
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from core.errors import DatabaseUnavailable, DatasetRefused, HemaSealError, SignInFailed
from core.evaluation.demonstration.script import StepName
from core.services import presentation_process, worker_process
from core.services.accounts import (
    ConsentPurpose,
    Profile,
    Role,
    change_profile,
    check_password,
    profile,
    redeem_code,
    session_actor,
)
from core.services.app import Actor, App
from core.services.datasets import import_zip
from core.services.reviews import Decision
from core.services.weekly_pattern import WeeklyPattern
from core.services.worklist import Narrowing, WorklistFilter, worklist
from db.models import Provenance
from tests.conftest import Installation
from tests.integration.acts import ACTS, title
from tests.integration.world import World, build_world, stored

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE user_account; --",
    '" OR ""="',
    "\\' UNION SELECT password_hash FROM user_account -- ",
    "%",
    "x\0y",
    "~nobody-of-this-machine/x",
    "😀" * 20,
)
DAY = date(2026, 12, 7)
OUTSIDE = Path(tempfile.gettempdir()) / "escaped.png"


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of this file's own."""
    made = build_world(installation, tmp_path_factory.mktemp("injection") / "data")
    yield made
    made.app.engine.dispose()


def samples(text: str) -> Mapping[Any, object]:
    """Return an argument of each kind that is not a text itself."""
    return {
        int: 1,
        int | None: 1,
        float: 1.0,
        bool: True,
        bytes: text.encode(),
        Profile: Profile(text, text, text),
        Role: Role.AUTHORITY,
        WeeklyPattern: WeeklyPattern(
            weekday=0, start_minute=540, end_minute=600, minutes=30, capacity=1, zone=text, first_day=DAY
        ),
        date: DAY,
        Decision: Decision.AGREE,
        Provenance: Provenance.PUBLIC,
        ConsentPurpose: ConsentPurpose.FALLBACK_HOSPITAL,
        BinaryIO: io.BytesIO(text.encode()),
        Sequence[bytes]: [text.encode()],
        Sequence[StepName]: [StepName.HOSPITALS],
        Sequence[tuple[datetime, datetime]]: [],
    }


def arguments(service: Callable[..., object], text: str) -> dict[str, object]:
    """Return arguments beside app and actor: `text` wherever a text goes, and what must be there beside it."""
    kinds, given = typing.get_type_hints(service, localns={"App": App}), samples(text)
    made: dict[str, object] = {}
    for name, parameter in inspect.signature(service).parameters.items():
        kind = kinds[name]
        if str in (kind, *typing.get_args(kind)):
            alone = typing.get_origin(kind) in {None, typing.Union, types.UnionType}
            made[name] = text if alone else [text]
        elif parameter.default is parameter.empty and kind not in {App, Actor}:
            made[name] = given[kind] if kind in given else next(iter(kind))  # any value of an enum
    return made


@pytest.mark.parametrize("text", SQL, ids=range(len(SQL)))
def test_sql_in_any_text_of_any_service_is_text(world: World, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(worker_process, "ensure_running", lambda _settings: False)
    monkeypatch.setattr(presentation_process, "launch", lambda *_, **__: None)
    before = stored(world.app)
    tried = 0
    for service, act in ACTS.items():
        made = arguments(service, text)
        if not made:
            continue
        tried += 1
        person = next(person for name, person in world.people.items() if act.may(name, person))
        outcome: type[HemaSealError] | None = None
        try:
            service(world.app, person, **made)
        except HemaSealError as error:
            outcome = type(error)
        assert outcome is not DatabaseUnavailable, title(service)
    assert tried > 40
    after = stored(world.app)
    assert after.keys() == before.keys()
    accounts = [{row[0] for row in tables["user_account"]} for tables in (before, after)]
    assert accounts[0] <= accounts[1]
    assert len(after["clinical_case"]) == len(before["clinical_case"])


@pytest.mark.parametrize("text", SQL, ids=range(len(SQL)))
def test_sql_opens_no_list_and_no_session(world: World, text: str) -> None:
    doctor = world.people["doctor"]
    assert worklist(world.app, doctor, only=WorklistFilter.ALL, narrowed=Narrowing(search=text)) == []
    with pytest.raises(SignInFailed):
        check_password(world.app, text, text)
    for act in (redeem_code, session_actor):
        with pytest.raises(HemaSealError):
            act(world.app, text)


def test_a_name_that_is_sql_comes_back_as_it_was_typed(world: World) -> None:
    person = world.people["other-patient"]
    change_profile(world.app, person, Profile(SQL[1]))
    assert profile(world.app, person).display_name == SQL[1]


@pytest.mark.parametrize(
    "names",
    [
        ["../../escaped.png", "index.csv"],
        [str(OUTSIDE), "index.csv"],
        ["..\\..\\escaped.png", "index.csv"],
        ["normal/../../../escaped.png", "leukemic/0.png"],
        ["normal/\x00escaped.png", "leukemic/0.png"],
        ["C:\\escaped.png", "index.csv"],
    ],
)
def test_a_zip_whose_names_lead_elsewhere_writes_no_file(world: World, names: list[str]) -> None:
    folder = world.app.settings.data_dir.parent
    before = {path for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DatasetRefused):
        import_zip(world.app, world.people["hospital"], file=_zipped(names), provenance=Provenance.PUBLIC)
    left = {path for path in folder.rglob("*") if path.is_file()} - before
    assert [path for path in left if "escaped" in path.name] == []
    assert not OUTSIDE.exists()


def test_a_link_in_a_zip_is_not_followed(world: World) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("normal/0.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(world.app.settings.master_key_file))
        archive.writestr("leukemic/0.png", b"no picture")
    with pytest.raises(DatasetRefused) as caught:
        import_zip(world.app, world.people["hospital"], file=buffer, provenance=Provenance.PUBLIC)
    assert world.app.settings.master_key_file.read_text(encoding="ascii").strip() not in str(caught.value)


def _zipped(names: list[str]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"path,label,modality,site,patient\n" + name.encode() + b",normal,SMEAR,one,p1\n")
    return buffer
