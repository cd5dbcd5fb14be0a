"""Checkpoints as files: sealed for one authority and one run, or in clear on purpose."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import (
    load_checkpoint,
    open_model,
    read_file,
    seal_model,
    write_clear,
    write_sealed,
)
from core.errors import CheckpointRefused, SettingsError
from core.settings import Settings
from security.authority import CertificateAuthority
from security.certificates import Trust
from security.identity import Identity
from security.keys import KeyStore, MasterKey
from tests.serving import RUN

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NODE = "north.training"


@dataclass(frozen=True)
class Parties:
    """An authority and two parties, as settings hold them."""

    settings: Settings
    trust: Trust
    identities: dict[str, Identity]


@pytest.fixture(scope="module")
def enrol(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Parties]:
    """Make a new installation's keys."""

    def make(name: str) -> Parties:
        settings = Settings(data_dir=tmp_path_factory.mktemp(name), master_key=None)
        master = MasterKey.load(secret=None, file=settings.master_key_file, create=True)
        store = KeyStore(settings.keys_dir, "authority", master)
        authority = CertificateAuthority.create(store, NOW)
        identities = {
            party: Identity.enrol(KeyStore(settings.keys_dir, party, master), authority, now=NOW)
            for party in ("authority", NODE, "north.serving")
        }
        return Parties(settings, Trust(authority.root), identities)

    return make


@pytest.fixture(scope="module")
def parties(enrol: Callable[[str], Parties]) -> Parties:
    """The installation of these tests."""
    return enrol("own")


def sealed_for(parties: Parties, model: ServingModel, recipient: str = "authority") -> bytes:
    identities = parties.identities
    return seal_model(model, sender=identities[NODE], recipients=[identities[recipient].sealing_certificate])


def test_a_sealed_file_opens_with_the_authoritys_key(
    parties: Parties, serving_model: ServingModel, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.sealed"
    write_sealed(path, sealed_for(parties, serving_model), study="leukemia", run=RUN, round_number=1, sender=NODE)
    assert load_checkpoint(path, settings=parties.settings, at=NOW) == serving_model
    assert serving_model.litert[:4000] not in path.read_bytes()


def test_a_file_in_clear_opens_without_any_key(serving_model: ServingModel, tmp_path: Path) -> None:
    write_clear(tmp_path / "clear.model", serving_model)
    nowhere = Settings(data_dir=tmp_path / "nothing", master_key=None)
    assert load_checkpoint(tmp_path / "clear.model", settings=nowhere, at=NOW) == serving_model


def test_a_changed_byte_anywhere_is_refused(parties: Parties, serving_model: ServingModel, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.sealed"
    write_sealed(path, sealed_for(parties, serving_model), study="leukemia", run=RUN, round_number=1, sender=NODE)
    good = path.read_bytes()
    for position in range(0, len(good), len(good) // 60):
        changed = bytearray(good)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CheckpointRefused):
            load_checkpoint(path, settings=parties.settings, at=NOW)


def test_a_file_that_claims_another_run_round_study_or_sender_is_refused(
    parties: Parties, serving_model: ServingModel, tmp_path: Path
) -> None:
    sealed = sealed_for(parties, serving_model)
    path = tmp_path / "checkpoint.sealed"
    claims = [("leukemia", "other-run", 1, NODE), ("leukemia", RUN, 2, NODE), ("other", RUN, 1, NODE)]
    for study, run, number, sender in [*claims, ("leukemia", RUN, 1, "north.serving")]:
        write_sealed(path, sealed, study=study, run=run, round_number=number, sender=sender)
        with pytest.raises(CheckpointRefused):
            load_checkpoint(path, settings=parties.settings, at=NOW)


def test_a_model_sealed_for_another_run_is_refused_even_if_its_seal_is_sound(
    parties: Parties, serving_model: ServingModel
) -> None:
    sealed = sealed_for(parties, serving_model, "north.serving")
    opening = {
        "recipient": parties.identities["north.serving"],
        "trust": parties.trust,
        "study": "leukemia",
        "sender": NODE,
        "at": NOW,
    }
    assert open_model(sealed, run=RUN, **opening) == serving_model  # type: ignore[arg-type]
    with pytest.raises(CheckpointRefused):
        open_model(sealed, run="other-run", **opening)  # type: ignore[arg-type]


def test_another_authority_cannot_open_it(
    parties: Parties, enrol: Callable[[str], Parties], serving_model: ServingModel, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.sealed"
    write_sealed(path, sealed_for(parties, serving_model), study="leukemia", run=RUN, round_number=1, sender=NODE)
    with pytest.raises(CheckpointRefused):
        load_checkpoint(path, settings=enrol("other").settings, at=NOW)
    with pytest.raises(SettingsError, match="authority"):
        load_checkpoint(path, settings=Settings(data_dir=tmp_path / "nothing", master_key=None), at=NOW)


def test_a_file_that_is_missing_or_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for name in ("text", "missing"):
        with pytest.raises(CheckpointRefused, match=name):
            read_file(tmp_path / name)
