"""A hospital brings its own data set to new keys: it needs nobody for that, and vouches to nobody but itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetRefused
from core.imaging.archive import Archive, open_dataset, rewrap_dataset, seal_dataset
from core.studies import LEUKEMIA
from security.certificates import Trust
from security.errors import SealBroken
from security.identity import Identity
from security.rollover import destroy_former, prepare, take_over
from tests.federation import tiny_data
from tests.unit.security.conftest import NOW, World, build_world

PARTY = "north.training"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"))


def test_a_data_set_opens_by_the_former_key_then_by_the_new_one_alone_also_after_the_app_was_revoked(
    world: World, tmp_path: Path
) -> None:
    store = world.store(PARTY)
    which: dict[str, Any] = {"study": LEUKEMIA, "dataset_id": "d" * 32}
    archive = Archive(tiny_data(0), "synthetic")
    file, renewed = tmp_path / "first", tmp_path / "renewed"
    seal_dataset(file, archive, sender=world["app"], recipient=world[PARTY].sealing_certificate, **which)
    sealed = file.read_bytes()
    prepare(store, world.authority, now=NOW, days=100, new_keys=True)
    take_over(store)
    node = Identity.load(store)
    assert len(open_dataset(file, node=node, trust=world.trust, at=NOW, **which).arrays)

    again = rewrap_dataset(sealed, node=node, sealed_under=world.trust, trust=world.trust, at=NOW, **which)
    renewed.write_bytes(again)
    assert again[-1000:] == sealed[-1000:]
    destroy_former(store)
    node = Identity.load(store)
    entries = [(world["app"].signing_certificate.serial, NOW, "keyCompromise")]
    trust: Trust = world.trust.with_crl(world.authority.revocation_list(entries, number=5, now=NOW))
    for known in (world.trust, trust):
        assert len(open_dataset(renewed, node=node, trust=known, at=NOW + timedelta(days=50), **which).arrays)
    with pytest.raises(DatasetRefused):  # the former object, by the new key
        open_dataset(file, node=node, trust=world.trust, at=NOW, **which)
    with pytest.raises(DatasetRefused):  # the new object, by the former key
        open_dataset(renewed, node=world[PARTY], trust=world.trust, at=NOW, **which)
    with pytest.raises(SealBroken):  # what does not hold is not vouched for
        rewrap_dataset(sealed, node=world[PARTY], sealed_under=trust, trust=trust, at=NOW, **which)
