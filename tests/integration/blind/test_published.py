"""Anybody can add a blind sum's published uploads again; whatever was changed is found, and nothing of it opens."""

import hashlib
import itertools
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from core.learning.group_key import open_group_key
from core.learning.orders import COORDINATOR, AggregationMode
from core.studies import LEUKEMIA
from federated.__main__ import commands
from federated.aggregation.blind.payload import decode_update, update_encoding
from federated.aggregation.blind.published import Checked, check_published
from federated.aggregation.blind.record import Record
from federated.aggregation.blind.record_check import PublishedBroken
from federated.aggregation.blind.seeds import group_mask_key, masks_left_over
from federated.aggregation.blind.statements import (
    Advert,
    Agreement,
    Dealing,
    Label,
    Statement,
    Sum,
    Upload,
    survivors_sha256,
)
from federated.board import FileBoard
from federated.messages import Step
from federated.throwaway import ThrowAwayKeys
from security.certificates import Trust
from security.keystream import apply_masks, subtract_multiple
from security.masking import MaskKey
from tests.federation import RUN, Federation
from tests.integration.blind.cloud import FIGURES_STEPS, UPDATE_STEPS, Cloud, Hook, fresh, read

SEVEN = ("east", "inner", "lower", "north", "south", "upper", "west")
DROPPED, DEPARTED = "lower.training", "south.training"
SURVIVORS = tuple(f"{slug}.training" for slug in SEVEN if f"{slug}.training" != DROPPED)
NORTH, WEST = "north.training", "west.training"


class Published:
    """What a round of seven hospitals left, in which one dropped out before its upload and one left after it.

    Attributes:
        federation: all parties, with their keys.
        cloud: who carried the run.
        folder: of the attempt.
        trust: root and revocation list of the run's time.
        models: global weights before and after the round.
    """

    def __init__(self, folder: Path) -> None:
        self.federation = Federation(folder, mode=AggregationMode.BLIND, rounds=1, slugs=SEVEN)
        self.cloud: Cloud = fresh(self.federation)
        self.cloud.boards = lambda attempt, name: FileBoard(folder / "published" / attempt / name)
        steps = (*UPDATE_STEPS, *FIGURES_STEPS)
        left = {DROPPED: steps.index(Step.UPLOAD), DEPARTED: steps.index(Step.HASH)}
        for number, step in enumerate(steps):
            self.cloud.asking[step] = _without({party for party, since in left.items() if number >= since})
        assert self.cloud.play() == "finished", self.federation.store.reason
        (self.folder,) = (folder / "published").iterdir()
        self.trust = self.federation.keys.trust()
        self.models = [self.cloud.weights(0), self.cloud.weights(1)]

    def check(self, folder: Path, trust: Trust | None = None) -> Checked:
        """Check a folder as an auditor does."""
        return check_published(folder, trust or self.trust, self.federation.clock.now())

    def sign(self, folder: Path, party: str, statement: Statement, **place: Any) -> bytes:
        """A statement in a party's name for the place of a folder's sum, or another one."""
        record = record_of(folder)
        header = record.header().model_copy(update=place)
        return statement.sign(self.federation.notary(party), header, Label(record.label))


def _without(parties: set[str]) -> Hook:
    return lambda party, body, attachment: None if party in parties else (body, attachment)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """One round, played once."""
    return Published(tmp_path_factory.mktemp("published"))


@pytest.fixture
def folder(published: Published, tmp_path: Path) -> Path:
    """A copy of the published sum of updates, for a test to change."""
    return shutil.copytree(published.folder / Label.UPDATE, tmp_path / "update")


def record_of(folder: Path) -> Record:
    return Record.from_bytes((folder / "record.cbor").read_bytes())


def rewrite(folder: Path, **changes: Any) -> None:
    """Write the record anew with other fields."""
    (folder / "record.cbor").write_bytes(record_of(folder).model_copy(update=changes).to_bytes())


def flip(path: Path, place: int = 7) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def swap(folder: Path, field: str, party: str, value: bytes | None) -> None:
    """Give a party another entry in a field of the record, or none."""
    entries = {name: entry for name, entry in getattr(record_of(folder), field).items() if name != party}
    rewrite(folder, **{field: entries if value is None else {**entries, party: value}})


def masked(folder: Path, party: str) -> NDArray[Any]:
    """A published upload."""
    return np.fromfile(folder / f"{party}.vector", "<u4")


def sign_sum(published: Published, folder: Path, low: NDArray[Any], carry: NDArray[Any]) -> None:
    """Publish another sum, properly signed: what a coordinator that lies would do."""
    data = low.tobytes() + carry.tobytes()
    (folder / "sum.vector").write_bytes(data)
    stated = Sum(sha256=hashlib.sha256(data).digest(), survivors=survivors_sha256(record_of(folder).survivors))
    rewrite(folder, sum=published.sign(folder, COORDINATOR, stated))


def whole_sum(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """The published sum: words and carries, writable."""
    data, length = (folder / "sum.vector").read_bytes(), len(masked(folder, NORTH))
    return np.frombuffer(data, "<u4", length).copy(), np.frombuffer(data, "u1", offset=4 * length).copy()


@pytest.mark.parametrize("label", Label)
def test_what_a_round_published_proves_itself(published: Published, label: Label) -> None:
    checked = published.check(published.folder / label)
    here = {DROPPED, DEPARTED} if label is Label.FIGURES else {DROPPED}
    assert checked.members == tuple(party for party in published.federation.options.parties if party not in here)
    assert checked.dropped == ((DROPPED,) if label is Label.UPDATE else ())
    assert (checked.run, checked.round, checked.label, checked.study) == (RUN, 1, label, LEUKEMIA.code)
    assert checked.attempt == published.folder.name
    assert checked.sha256 == hashlib.sha256((published.folder / label / "sum.vector").read_bytes()).hexdigest()
    assert checked.words == len(masked(published.folder / label, NORTH)) // (2 if label is Label.FIGURES else 1)


def test_an_upload_that_no_sum_could_take_may_lie_in_the_folder(published: Published, folder: Path) -> None:
    _add_upload(published, folder, DROPPED, words=3)
    assert DROPPED not in published.check(folder).members


def _add_upload(published: Published, folder: Path, party: str, *, words: int, attempt: str = "") -> None:
    """Publish an upload in a party's name, signed by it, made from the weights of the others'."""
    vector = np.arange(words, dtype="<u4").tobytes()
    base = read(Upload, (folder / f"{NORTH}.statement").read_bytes()).base_sha256
    upload = Upload(sha256=hashlib.sha256(vector).digest(), words=words, base_sha256=base)
    place = {"attempt": attempt} if attempt else {}
    (folder / f"{party}.statement").write_bytes(published.sign(folder, party, upload, **place))
    (folder / f"{party}.vector").write_bytes(vector)


def _vector(_published: Published, folder: Path) -> None:
    flip(folder / f"{WEST}.vector")


def _statement(_published: Published, folder: Path) -> None:
    flip(folder / f"{WEST}.statement", place=-1)


def _shorter(_published: Published, folder: Path) -> None:
    path = folder / f"{WEST}.vector"
    path.write_bytes(path.read_bytes()[:-4])


def _no_upload(_published: Published, folder: Path) -> None:
    (folder / f"{WEST}.vector").unlink()
    (folder / f"{WEST}.statement").unlink()


def _no_vector(_published: Published, folder: Path) -> None:
    (folder / f"{WEST}.vector").unlink()


def _upload_twice(_published: Published, folder: Path) -> None:
    for kind in ("statement", "vector"):
        shutil.copy(folder / f"{NORTH}.{kind}", folder / f"{WEST}.{kind}")


def _upload_added_twice(published: Published, folder: Path) -> None:
    low, carry = whole_sum(folder)
    term = masked(folder, NORTH)
    low += term
    carry += low < term
    sign_sum(published, folder, low, carry)


def _upload_left_out(published: Published, folder: Path) -> None:
    _add_upload(published, folder, DROPPED, words=len(masked(folder, NORTH)))


def _upload_of_another_attempt(published: Published, folder: Path) -> None:
    _add_upload(published, folder, WEST, words=len(masked(folder, NORTH)), attempt="another")


def _another_upload_of_this_attempt(published: Published, folder: Path) -> None:
    _add_upload(published, folder, WEST, words=len(masked(folder, NORTH)))


def _stranger(published: Published, folder: Path) -> None:
    _add_upload(published, folder, "aggregation", words=len(masked(folder, NORTH)))


def _odd_file(_published: Published, folder: Path) -> None:
    (folder / "notes.txt").write_text("nothing", encoding="utf-8")


def _sum_file(_published: Published, folder: Path) -> None:
    flip(folder / "sum.vector")


def _sum_off_by_one(published: Published, folder: Path) -> None:
    low, carry = whole_sum(folder)
    low[-1] += 1
    sign_sum(published, folder, low, carry)


def _carry_off_by_one(published: Published, folder: Path) -> None:
    low, carry = whole_sum(folder)
    carry[0] ^= 1
    sign_sum(published, folder, low, carry)


def _no_sum(_published: Published, folder: Path) -> None:
    (folder / "sum.vector").unlink()


def _sum_over_others(published: Published, folder: Path) -> None:
    stated = Sum(sha256=hashlib.sha256((folder / "sum.vector").read_bytes()).digest(), survivors=bytes(32))
    rewrite(folder, sum=published.sign(folder, COORDINATOR, stated))


def _sum_by_a_member(published: Published, folder: Path) -> None:
    stated = read(Sum, record_of(folder).sum)
    rewrite(folder, sum=published.sign(folder, NORTH, stated))


def _seed(_published: Published, folder: Path) -> None:
    swap(folder, "seeds", WEST, bytes(32))


def _no_seed(_published: Published, folder: Path) -> None:
    swap(folder, "seeds", WEST, None)


def _seed_of_who_dropped_out(_published: Published, folder: Path) -> None:
    swap(folder, "seeds", DROPPED, bytes(32))


def _mask_key(_published: Published, folder: Path) -> None:
    swap(folder, "mask_keys", DROPPED, MaskKey.generate().scalar())


def _mask_key_out_of_range(_published: Published, folder: Path) -> None:
    swap(folder, "mask_keys", DROPPED, bytes(32))


def _no_mask_key(_published: Published, folder: Path) -> None:
    swap(folder, "mask_keys", DROPPED, None)


def _mask_key_of_a_survivor(_published: Published, folder: Path) -> None:
    swap(folder, "mask_keys", WEST, MaskKey.generate().scalar())


def _advert(published: Published, folder: Path) -> None:
    advert = Advert(mask_key=MaskKey.generate().public, transport_key=MaskKey.generate().public)
    swap(folder, "adverts", DROPPED, published.sign(folder, DROPPED, advert))


def _advert_of_another(_published: Published, folder: Path) -> None:
    swap(folder, "adverts", WEST, record_of(folder).adverts[NORTH])


def _no_advert(_published: Published, folder: Path) -> None:
    swap(folder, "adverts", WEST, None)


def _advert_of_a_stranger(_published: Published, folder: Path) -> None:
    swap(folder, "adverts", "aggregation", record_of(folder).adverts[NORTH])


def _dealing_to_nobody(published: Published, folder: Path) -> None:
    seed = read(Dealing, record_of(folder).dealings[WEST]).seed
    swap(folder, "dealings", WEST, published.sign(folder, WEST, Dealing.to({}, seed=seed)))


def _no_dealing(_published: Published, folder: Path) -> None:
    swap(folder, "dealings", WEST, None)


def _no_survivor(_published: Published, folder: Path) -> None:
    swap(folder, "survivors", WEST, None)


def _too_few_survivors(_published: Published, folder: Path) -> None:
    record = record_of(folder)
    few = SURVIVORS[:4]
    rewrite(
        folder,
        survivors={party: record.survivors[party] for party in few},
        seeds={party: record.seeds[party] for party in few},
    )


def _too_few_agreements(_published: Published, folder: Path) -> None:
    rewrite(folder, agreements=dict(list(record_of(folder).agreements.items())[:4]))


def _agreement_to_others(published: Published, folder: Path) -> None:
    agreement = read(Agreement, record_of(folder).agreements[WEST]).model_copy(update={"survivors": bytes(32)})
    swap(folder, "agreements", WEST, published.sign(folder, WEST, agreement))


def _order(published: Published, folder: Path) -> None:
    order = bytearray(record_of(folder).order)
    order[-1] ^= 1
    rewrite(folder, order=bytes(order))


def _order_of_another_run(published: Published, folder: Path) -> None:
    rewrite(folder, order=published.federation.order("f" * 32))


def _later_round(_published: Published, folder: Path) -> None:
    rewrite(folder, round=2)


def _other_attempt(_published: Published, folder: Path) -> None:
    rewrite(folder, attempt="another")


def _other_label(_published: Published, folder: Path) -> None:
    rewrite(folder, label=Label.FIGURES.value)


def _record(_published: Published, folder: Path) -> None:
    flip(folder / "record.cbor", place=0)


def _no_record(_published: Published, folder: Path) -> None:
    (folder / "record.cbor").unlink()


Change = Callable[[Published, Path], None]
CHANGES: tuple[tuple[Change, str, str], ...] = (
    (_vector, WEST, "its upload is not the one that it signed"),
    (_statement, WEST, "its signed upload does not hold"),
    (_shorter, WEST, "its upload is not as long as it signed"),
    (_no_upload, WEST, "the file is missing"),
    (_no_vector, WEST, "the file is missing"),
    (_upload_twice, WEST, "its signed upload does not hold"),
    (_upload_added_twice, COORDINATOR, "is not the sum of the uploads"),
    (_upload_left_out, DROPPED, "its upload was left out of the sum"),
    (_upload_of_another_attempt, WEST, "its signed upload does not hold"),
    (_another_upload_of_this_attempt, WEST, "its upload is not the one that the members agreed to"),
    (_stranger, COORDINATOR, "aggregation.statement does not belong to this sum"),
    (_odd_file, COORDINATOR, "notes.txt does not belong to this sum"),
    (_sum_file, COORDINATOR, "the published sum is not the one that it signed"),
    (_sum_off_by_one, COORDINATOR, "is not the sum of the uploads"),
    (_carry_off_by_one, COORDINATOR, "is not the sum of the uploads"),
    (_no_sum, COORDINATOR, "the file is missing"),
    (_sum_over_others, COORDINATOR, "signed a sum over other survivors"),
    (_sum_by_a_member, COORDINATOR, "its signed sum does not hold"),
    (_seed, WEST, "its seed is missing, or not the one"),
    (_no_seed, WEST, "its seed is missing, or not the one"),
    (_seed_of_who_dropped_out, DROPPED, "its seed was revealed, but it did not upload"),
    (_mask_key, DROPPED, "its mask key is not the one that it advertised"),
    (_mask_key_out_of_range, DROPPED, "its mask key cannot be read"),
    (_no_mask_key, DROPPED, "its mask key is missing"),
    (_mask_key_of_a_survivor, WEST, "its mask key was revealed, but it did not drop out"),
    (_advert, DROPPED, "its mask key is not the one that it advertised"),
    (_advert_of_another, WEST, "its signed advert does not hold"),
    (_no_advert, WEST, "dealt without having advertised"),
    (_advert_of_a_stranger, "aggregation", "was not asked in this round"),
    (_dealing_to_nobody, WEST, "committed to too few shares"),
    (_no_dealing, WEST, "uploaded without having dealt"),
    (_no_survivor, "east.training", "agreed to other survivors"),
    (_too_few_survivors, COORDINATOR, "added the uploads of too few members"),
    (_too_few_agreements, COORDINATOR, "too few of the committee agreed"),
    (_agreement_to_others, WEST, "agreed to other survivors"),
    (_order, "authority", "the order does not hold"),
    (_order_of_another_run, "authority", "the order does not hold"),
    (_later_round, "authority", "ordered no such blind round"),
    (_other_attempt, "east.training", "its signed advert does not hold"),
    (_other_label, "east.training", "its signed advert does not hold"),
    (_record, COORDINATOR, "the record cannot be read"),
    (_no_record, COORDINATOR, "the file is missing"),
)


@pytest.mark.parametrize(("change", "party", "what"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_single_change_is_found_and_its_owner_named(
    published: Published, folder: Path, change: Change, party: str, what: str
) -> None:
    published.check(folder)
    change(published, folder)
    with pytest.raises(PublishedBroken) as broken:
        published.check(folder)
    assert broken.value.party == party
    assert what in broken.value.what


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_any_file_is_found(published: Published, folder: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    whole = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)
    try:
        with pytest.raises(PublishedBroken):
            published.check(folder)
    finally:
        path.write_bytes(whole)


def test_what_an_authority_of_the_same_name_did_not_certify_counts_for_nothing(
    published: Published, folder: Path, tmp_path: Path
) -> None:
    other = ThrowAwayKeys(tmp_path / "other", clock=published.federation.clock)
    with pytest.raises(PublishedBroken, match="not issued by this authority") as broken:
        published.check(folder, other.trust())
    assert broken.value.party == "authority"


def test_a_revoked_members_part_counts_for_nothing(published: Published, folder: Path) -> None:
    keys = published.federation.keys
    keys.revoke([published.federation.identities[WEST]])
    with pytest.raises(PublishedBroken, match="revoked") as broken:
        published.check(folder, keys.trust())
    assert broken.value.party == WEST
    published.check(folder)


def test_the_command_needs_root_and_list_alone_and_says_whose_item_is_wrong(
    published: Published, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.clock.SystemClock", lambda: published.federation.clock)
    root, crl = tmp_path / "root.pem", tmp_path / "list.der"
    root.write_bytes(published.trust.root.pem)
    crl.write_bytes(published.trust.crl_der or b"")
    command = ["verify", str(folder), "--root", str(root), "--crl", str(crl)]
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    assert "the sum of 6 uploads" in result.output
    assert f"round 1, run {RUN}" in result.output
    assert f"Dropped out before uploading: {DROPPED}" in result.output
    flip(folder / f"{WEST}.vector")
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 1
    assert f"NOT VERIFIED: {WEST}: its upload is not the one that it signed." in result.output


class Reader:
    """Somebody who tries to read with everything that lies in the folder."""

    def __init__(self, published: Published) -> None:
        self.folder = published.folder / Label.UPDATE
        self.record = record_of(self.folder)
        self.encoding = update_encoding(published.federation.options, published.cloud.circle())
        self.guard = np.uint32((1 << self.encoding.guard) - 1)
        adverts = {party: read(Advert, advert) for party, advert in self.record.adverts.items()}
        gone = {party: MaskKey.from_scalar(scalar) for party, scalar in self.record.mask_keys.items()}
        base = read(Upload, (self.folder / f"{NORTH}.statement").read_bytes()).base_sha256
        self.terms: dict[str, NDArray[Any]] = {}
        for party in SURVIVORS:
            plus, minus = masks_left_over(
                party,
                self.record.seeds[party],
                adverts[party].mask_key,
                gone,
                study=LEUKEMIA.code,
                header=self.record.header(),
                label=Label.UPDATE,
                base_sha256=base,
            )
            self.terms[party] = masked(self.folder, party)
            apply_masks(self.terms[party], plus=minus, minus=plus)

    def looks_random(self, words: NDArray[Any], *, known: int = 0) -> bool:
        """Whether guard bits, zero in every sum of updates, are as in random words with `known` zero bits below."""
        expected = 1 - 2.0 ** (known - self.encoding.guard)
        share = np.count_nonzero(words & self.guard) / len(words)
        return bool(abs(share - expected) < 6 * math.sqrt(expected * (1 - expected) / len(words)))

    def sum_of(self, parties: Iterable[str]) -> NDArray[Any]:
        """The sum of some survivors' terms, mod 2^32."""
        return np.add.reduce([self.terms[party] for party in parties], dtype=np.uint32)


PARTS = [chosen for count in range(1, len(SURVIVORS)) for chosen in itertools.combinations(SURVIVORS, count)]
"""All sets of survivors but the empty and the whole one."""


def group_mask(published: Published) -> bytes:
    """The key of the group mask, as a member derives it."""
    key = open_group_key(
        published.cloud.authority().group,
        RUN,
        study=LEUKEMIA.code,
        member=published.federation.identities[NORTH],
        trust=published.trust,
        at=published.federation.clock.now(),
    )
    return group_mask_key(key, LEUKEMIA.code, record_of(published.folder / Label.UPDATE).header(), Label.UPDATE)


def test_all_that_is_published_opens_no_upload_no_term_and_no_sum_of_terms(published: Published) -> None:
    reader = Reader(published)
    for party in SURVIVORS:
        assert reader.looks_random(masked(reader.folder, party))
    for chosen in PARTS:
        assert reader.looks_random(reader.sum_of(chosen))
    whole, _ = whole_sum(reader.folder)
    np.testing.assert_array_equal(reader.sum_of(SURVIVORS), whole)
    assert reader.looks_random(whole, known=1)  # six times the group mask are even


def test_the_only_multiple_of_the_sum_that_bears_no_group_mask_is_nothing(published: Published) -> None:
    whole, _ = whole_sum(published.folder / Label.UPDATE)
    assert not (whole << np.uint32(31)).any()
    assert (whole << np.uint32(30)).any()


def test_with_the_group_key_the_sum_opens_and_still_no_part_of_it(published: Published) -> None:
    reader, key = Reader(published), group_mask(published)
    for chosen in PARTS:
        words = reader.sum_of(chosen)
        subtract_multiple(words, key, len(chosen))
        assert reader.looks_random(words)
    words = reader.sum_of(SURVIVORS)
    subtract_multiple(words, key, len(SURVIVORS))
    assert not (words & reader.guard).any()
    federation = published.federation
    like = federation.learner.initial(0)
    mean, images = decode_update(words, like, options=federation.options, circle=published.cloud.circle())
    assert images == sum(federation.options.member(party).images for party in SURVIVORS)
    before, applied = published.models
    for name, change in mean.items():
        np.testing.assert_allclose(applied[name], before[name] + change, atol=1e-6)
