"""A coordinator that does not keep to the protocol: what it asks is refused, and it never gets a model accepted."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.learning.training import TrainingReport
from core.learning.weights import Weights
from federated.aggregation.blind import messages as blind
from federated.aggregation.blind.adding import Adding
from federated.aggregation.blind.intake import Intake
from federated.aggregation.blind.member import BlindMember
from federated.aggregation.blind.statements import Advert, Agreement, Digest, Label, Sum, Upload
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.messages import Attachment, Message, Model, Step, Wire
from federated.softmax import SoftmaxLearner
from federated.store import MemoryRunStore
from security.keystream import apply_masks
from security.masking import MaskKey, TransportKey
from security.point_hash import PRIME, PointHash, draw_point
from tests.federation import Federation
from tests.integration.blind.cloud import Cloud, fresh, read

EAST, NORTH, SOUTH, WEST = (f"{slug}.training" for slug in ("east", "north", "south", "west"))


def believing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the coordinator pass everything on unchecked, as one that is in league with whoever sends it would."""

    def take_agreement(self: Intake, party: str, reply: blind.AgreeReply, _message: Message) -> None:
        self._coins[party] = read(Agreement, reply.agreement).coin

    def settle(self: Intake) -> list[str]:
        self.survivors = {party: upload.sha256 for party, (_, upload, _) in sorted(self._uploads.items())}
        return []

    monkeypatch.setattr(Intake, "take_agreement", take_agreement)
    monkeypatch.setattr(Intake, "settle", settle)
    monkeypatch.setattr(Intake, "take_digest", lambda *_: None)


def nothing_revealed(cloud: Cloud) -> bool:
    """Whether no node has given away a share."""
    return not cloud.replies(Step.UNMASK)


# --- survivor sets -------------------------------------------------------------------------------------------------


def smaller(survivors: dict[str, bytes], _party: str) -> dict[str, bytes]:
    """One fewer than the threshold."""
    return dict(list(survivors.items())[:2])


def without_itself(survivors: dict[str, bytes], party: str) -> dict[str, bytes]:
    """All but the node that is asked."""
    return {other: sha256 for other, sha256 in survivors.items() if other != party}


def another_upload(survivors: dict[str, bytes], party: str) -> dict[str, bytes]:
    """All, but with another upload of the node that is asked."""
    return {**survivors, party: hashlib.sha256(b"another").digest()}


def strangers(survivors: dict[str, bytes], _party: str) -> dict[str, bytes]:
    """All, and somebody whom the order does not name."""
    return {**survivors, "stranger.training": hashlib.sha256(b"upload").digest()}


@pytest.mark.parametrize("change", [smaller, without_itself, another_upload, strangers])
def test_a_set_of_survivors_that_cannot_be_is_signed_by_nobody(
    cloud: Cloud, change: Callable[[dict[str, bytes], str], dict[str, bytes]]
) -> None:
    cloud.asking[Step.AGREE] = lambda party, body, attachment: (
        blind.AgreeRequest(survivors=change(body.survivors, party)),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.AGREE).values()) == {"survivors"}
    assert nothing_revealed(cloud)


def test_nodes_that_were_shown_different_survivors_reveal_nothing(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud would have mask keys of south from some and its own-mask seed from others."""
    believing(monkeypatch)

    def split(party: str, body: blind.AgreeRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party in {EAST, NORTH}:
            body = blind.AgreeRequest(survivors=without_itself(body.survivors, SOUTH))
        return body, attachment

    cloud.asking[Step.AGREE] = split
    assert cloud.play() == "failed"
    assert len(cloud.replies(Step.AGREE)) == 4
    assert set(cloud.refusals(Step.UNMASK).values()) == {"survivors"}
    assert nothing_revealed(cloud)


def test_one_node_that_was_shown_another_set_reveals_nothing_while_the_others_go_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    believing(monkeypatch)

    def other_set(party: str, body: blind.AgreeRequest, attachment: bytes) -> tuple[Wire, bytes]:
        return (
            (blind.AgreeRequest(survivors=without_itself(body.survivors, SOUTH)), attachment)
            if party == WEST
            else (body, attachment)
        )

    def true_signatures(party: str, body: blind.UnmaskRequest, attachment: bytes) -> tuple[Wire, bytes]:
        agreements = {name: reply.agreement for name, reply in cloud.replies(Step.AGREE).items() if name != WEST}
        return blind.UnmaskRequest(agreements=agreements), attachment

    cloud.asking[Step.AGREE] = other_set
    cloud.asking[Step.UNMASK] = true_signatures
    cloud.play()
    assert cloud.refusals(Step.UNMASK) == {WEST: "survivors"}
    kinds: dict[str, set[str]] = {}
    for reply in cloud.replies(Step.UNMASK).values():
        for dealer in reply.seeds:
            kinds.setdefault(dealer, set()).add("seed")
        for dealer in reply.keys:
            kinds.setdefault(dealer, set()).add("key")
    assert all(len(kind) == 1 for kind in kinds.values())


@pytest.mark.parametrize("signers", [(EAST, NORTH), (EAST,), ()])
def test_shares_are_not_revealed_for_a_set_that_too_few_signed(cloud: Cloud, signers: tuple[str, ...]) -> None:
    cloud.asking[Step.UNMASK] = lambda _party, body, attachment: (
        blind.UnmaskRequest(agreements={party: body.agreements[party] for party in signers}),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.UNMASK).values()) == {"survivors"}
    assert nothing_revealed(cloud)


def test_one_members_signature_does_not_count_for_anothers(cloud: Cloud) -> None:
    cloud.asking[Step.UNMASK] = lambda _party, body, attachment: (
        blind.UnmaskRequest(agreements=dict.fromkeys(body.agreements, body.agreements[EAST])),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.UNMASK).values()) == {"member-refused"}
    assert nothing_revealed(cloud)


def test_a_second_request_for_shares_is_refused_whatever_it_says(cloud: Cloud) -> None:
    codes: list[str] = []

    def again(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        header = cloud.carried[-1].header
        claimed = cloud.requests(Step.AGREE)[party].survivors
        others = blind.AgreeRequest(survivors=without_itself(claimed, SOUTH if party != SOUTH else WEST))
        agree = header.model_copy(update={"step": Step.AGREE.value})
        codes.append(cloud.code(agree, others))
        codes.append(cloud.code(header, cloud.requests(Step.UNMASK)[party]))
        return body, attachment

    cloud.answering[Step.UNMASK] = again
    cloud.play()
    assert codes
    assert set(codes) == {"replayed"}


# --- keys ----------------------------------------------------------------------------------------------------------


def keys_of_its_own() -> Advert:
    """Keys whose private halves the cloud knows."""
    return Advert(mask_key=MaskKey.generate().public, transport_key=TransportKey.generate().public)


@pytest.mark.parametrize("signer", ["coordinator", NORTH])
def test_keys_that_the_cloud_puts_in_place_of_a_members_are_refused(cloud: Cloud, signer: str) -> None:
    """Also with the help of another member, who can sign in its own name only."""

    def substituted(party: str, body: blind.DealRequest, attachment: bytes) -> tuple[Wire, bytes]:
        own = cloud.sign(keys_of_its_own(), signer, cloud.header(party, Step.DEAL))
        return blind.DealRequest(adverts={**body.adverts, SOUTH: own}), attachment

    cloud.asking[Step.DEAL] = substituted
    assert cloud.play() == "failed"
    assert {code for party, code in cloud.refusals(Step.DEAL).items() if party != SOUTH} == {"member-refused"}
    assert not {SOUTH} ^ set(cloud.replies(Step.DEAL)), "its own advert a node does not read back"


def test_nodes_that_get_different_adverts_of_a_member_in_league_with_the_cloud_accept_no_model(cloud: Cloud) -> None:
    def two_faced(party: str, body: blind.DealRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party == WEST:
            other = cloud.sign(keys_of_its_own(), SOUTH, cloud.header(party, Step.DEAL))
            body = blind.DealRequest(adverts={**body.adverts, SOUTH: other})
        return body, attachment

    cloud.asking[Step.DEAL] = two_faced
    assert cloud.play() == "failed"
    codes = set(cloud.refusals(Step.APPLY).values())
    assert codes
    assert codes <= {"sum", "update-weight"}, "the number of images is read first: one word in four has good guard bits"
    assert len(cloud.federation.store.models) == 1


def test_a_colluder_that_shows_a_node_anothers_mask_key_as_its_own_does_not_cancel_their_mask(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """North would add the mask that it shares with east and take it off again as the one that it shares with west.

    With south claimed to have dropped out nothing would be left on north's upload but what the cloud and west know.
    """
    open_secrets, mask = Adding._open_secrets, BlindMember.mask
    opened: list[Adding] = []
    spied: list[tuple[BlindMember, NDArray[Any]]] = []

    def keep(self: Adding) -> None:
        open_secrets(self)
        opened.append(self)

    def spy(self: BlindMember, words: NDArray[Any], **options: Any) -> Any:
        if self._party == NORTH:
            spied.append((self, words.copy()))
        return mask(self, words, **options)

    def copied(party: str, body: blind.DealRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party == NORTH:
            anothers, own = (read(Advert, body.adverts[name]) for name in (EAST, WEST))
            posing = Advert(mask_key=anothers.mask_key, transport_key=own.transport_key)
            signed = cloud.sign(posing, WEST, cloud.header(party, Step.DEAL))
            body = blind.DealRequest(adverts={**body.adverts, WEST: signed})
        return body, attachment

    monkeypatch.setattr(Adding, "_open_secrets", keep)
    monkeypatch.setattr(BlindMember, "mask", spy)
    cloud.asking[Step.DEAL] = copied
    cloud.asking[Step.UPLOAD] = lambda party, body, attachment: None if party == SOUTH else (body, attachment)
    assert cloud.play() == "failed", "west's own masks do not cancel: there is no sum, but that is not what it wants"
    member, truth = spied[0]
    term = opened[0]._term(NORTH)
    apply_masks(term, minus=[member.group_mask])
    assert not np.array_equal(term, truth)
    assert abs(np.corrcoef(term.view(np.int32), truth.view(np.int32))[0, 1]) < 6 / np.sqrt(len(term))
    plus, minus = member._pair_masks([EAST, WEST])
    apply_masks(term, plus=minus, minus=plus)
    assert np.array_equal(term, truth), "the control: only the two masks with survivors were on it"


def test_a_node_from_which_a_survivors_dealing_was_kept_does_not_sign(cloud: Cloud) -> None:
    """It would have no mask with that survivor; with enough of that, its upload would stand alone."""

    def withheld(party: str, body: blind.UploadRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party == WEST:
            dealers = {name: pair for name, pair in body.commitments.items() if name != EAST}
            body = body.model_copy(update={"commitments": dealers})
        return body, attachment

    cloud.asking[Step.UPLOAD] = withheld
    assert cloud.play() == "failed"
    assert cloud.refusals(Step.AGREE) == {WEST: "survivors"}
    assert set(cloud.refusals(Step.APPLY).values()) <= {"sum"}
    assert len(cloud.federation.store.models) == 1


@pytest.mark.parametrize("instead", [bytes(64), b"", bytes(32)])
def test_a_node_that_gets_false_commitments_to_its_shares_says_so_and_is_not_shut_out(
    cloud: Cloud, instead: bytes
) -> None:
    """Nobody signs for them towards a holder: with false ones the cloud loses shares that it needs itself."""

    def false(party: str, body: blind.UploadRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party == WEST:
            body = body.model_copy(update={"commitments": {**body.commitments, EAST: instead}})
        return body, attachment

    cloud.asking[Step.UPLOAD] = false
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.replies(Step.UPLOAD)[WEST].refused == {EAST: "share"}
    assert EAST not in cloud.replies(Step.UNMASK)[WEST].seeds


def test_a_dealer_that_never_advertised_is_refused(cloud: Cloud) -> None:
    cloud.asking[Step.UPLOAD] = lambda _party, body, attachment: (
        body.model_copy(update={"commitments": {**body.commitments, "stranger.training": bytes(64)}}),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.UPLOAD).values()) == {"message"}


def test_a_node_that_was_given_too_few_neighbours_uploads_nothing(cloud: Cloud) -> None:
    cloud.asking[Step.UPLOAD] = lambda _party, body, attachment: (
        body.model_copy(update={"commitments": dict([*body.commitments.items()][:1])}),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.UPLOAD).values()) == {"too-few-members"}
    assert not cloud.attachments(Step.UPLOAD)


# --- sums ----------------------------------------------------------------------------------------------------------


Terms = dict[str, NDArray[Any]]


def changed(terms: Terms) -> Terms:
    """One coordinate of one upload, by the smallest step above the guard bits."""
    terms[SOUTH] = terms[SOUTH].copy()
    terms[SOUTH][7] += 4
    return terms


def left_out(terms: Terms) -> Terms:
    """One upload is missing."""
    return {party: words for party, words in terms.items() if party != SOUTH}


def doubled(terms: Terms) -> Terms:
    """One upload counts twice, another one not."""
    return {**terms, SOUTH: terms[NORTH]}


def swapped(terms: Terms) -> Terms:
    """Two coordinates of one upload change places."""
    words = terms[SOUTH].copy()
    words[[3, 4]] = words[[4, 3]]
    return {**terms, SOUTH: words}


def zeroed(terms: Terms) -> Terms:
    """An upload counts as nothing at all."""
    return {**terms, SOUTH: np.zeros_like(terms[SOUTH])}


def adding(monkeypatch: pytest.MonkeyPatch, label: Label, change: Callable[[Terms], Terms]) -> None:
    """Have the coordinator sign the sum of other terms than were uploaded."""
    honest = Adding.add

    def add(self: Adding) -> tuple[bytes, Attachment]:
        statement, attachment = honest(self)
        if self._label is not label:
            return statement, attachment
        terms = change({party: self._term(party) for party in self.survivors})
        some = next(iter(terms.values()))
        total = UnreducedSum(len(some), some.itemsize * 8, len(self._circle.parties))
        for words in terms.values():
            total.add(words)
        attachment = Attachment.of(total.data())
        stated = read(Sum, statement).model_copy(update={"sha256": attachment.sha256})
        return stated.sign(self._notary, self._header, self._label), attachment

    monkeypatch.setattr(Adding, "add", add)


@pytest.mark.parametrize("change", [changed, left_out, doubled, swapped, zeroed])
@pytest.mark.parametrize("label", list(Label))
def test_a_sum_of_anything_but_the_uploads_is_refused_by_all_members(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, label: Label, change: Callable[[Terms], Terms]
) -> None:
    adding(monkeypatch, label, change)
    assert cloud.play() == "failed"
    step = Step.APPLY if label is Label.UPDATE else Step.FIGURES_TALLY
    assert set(cloud.refusals(step).values()) == {"sum"}
    assert not cloud.replies(step)
    assert len(cloud.federation.store.models) == 1
    assert "Hashes that are not" not in cloud.federation.store.reason, "no member lied"


@pytest.mark.parametrize(
    "change", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-4], lambda _data: b""]
)
def test_a_sum_that_is_not_the_one_signed_is_refused_before_anything_is_revealed(
    cloud: Cloud, change: Callable[[bytes], bytes]
) -> None:
    cloud.asking[Step.REVEAL] = lambda _party, body, attachment: (body, change(attachment))
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.REVEAL).values()) == {"sum"}
    assert not cloud.replies(Step.REVEAL)


def test_a_sum_that_was_changed_behind_its_letters_signature_is_refused_before_it_is_applied(cloud: Cloud) -> None:
    """Of a sum no node computes the SHA-256: it holds the vector while the point is drawn, and hashes it there."""
    honest = cloud._carry

    def carry(party: str, letter: bytes) -> bytes | None:
        message = cloud.unpacked(letter, party)
        if party == EAST and message.header.step == Step.REVEAL:
            place = len(letter) - len(message.attachment)
            letter = letter[:place] + bytes([letter[place] ^ 8]) + letter[place + 1 :]
        return honest(party, letter)

    cloud._carry = carry  # type: ignore[method-assign]
    assert cloud.play() == "finished"
    assert EAST in cloud.replies(Step.REVEAL)
    assert cloud.refusals(Step.APPLY) == {EAST: "sum"}


@pytest.mark.parametrize("size", [-4, 4])
def test_a_signed_sum_of_the_wrong_length_is_refused(cloud: Cloud, size: int) -> None:
    def wrong(party: str, body: blind.RevealRequest, attachment: bytes) -> tuple[Wire, bytes]:
        data = attachment + bytes(size) if size > 0 else attachment[:size]
        stated = read(Sum, body.sum).model_copy(update={"sha256": hashlib.sha256(data).digest()})
        header = cloud.header(party, Step.REVEAL)
        return body.model_copy(update={"sum": cloud.sign(stated, "coordinator", header)}), data

    cloud.asking[Step.REVEAL] = wrong
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.REVEAL).values()) == {"update-size"}


def test_different_sums_for_different_members_leave_those_without_a_model_who_got_the_false_one(cloud: Cloud) -> None:
    def false_for_east(party: str, body: blind.RevealRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party != EAST:
            return body, attachment
        data = bytes([attachment[0] ^ 8]) + attachment[1:]
        stated = read(Sum, body.sum).model_copy(update={"sha256": hashlib.sha256(data).digest()})
        return body.model_copy(update={"sum": cloud.sign(stated, "coordinator", cloud.header(party, "reveal"))}), data

    cloud.asking[Step.REVEAL] = false_for_east
    assert cloud.play() == "finished"
    assert cloud.refusals(Step.APPLY) == {EAST: "sum"}


def test_one_changed_coordinate_anywhere_changes_the_hash_in_10000_of_10000_random_trials() -> None:
    rng = np.random.default_rng(20260105)
    found = 0
    for trial in range(10_000):
        length = int(rng.integers(1, 40))
        vectors = rng.integers(0, 2**32, (4, length), dtype=np.uint32)
        total = UnreducedSum(length, 32, 4)
        for words in vectors:
            total.add(words)
        at, by = int(rng.integers(length)), int(rng.integers(1, 2**32))
        total.low[at] = (int(total.low[at]) + by) % 2**32
        point = PointHash(draw_point([trial.to_bytes(8), rng.bytes(32)]), length)
        found += sum(map(point.of, vectors)) % PRIME != point.of_sum(total.low, total.carry)
    assert found == 10_000


# --- the point -----------------------------------------------------------------------------------------------------


def test_coins_that_were_not_committed_to_make_no_point(cloud: Cloud) -> None:
    cloud.asking[Step.HASH] = lambda _party, body, attachment: (
        blind.HashRequest(coins={**body.coins, NORTH: bytes(32)}),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.HASH).values()) == {"sum"}
    assert not cloud.replies(Step.HASH)


@pytest.mark.parametrize("kept", [(EAST, NORTH), ()])
def test_a_point_of_too_few_coins_is_refused(cloud: Cloud, kept: tuple[str, ...]) -> None:
    cloud.asking[Step.HASH] = lambda _party, body, attachment: (
        blind.HashRequest(coins={name: body.coins[name] for name in kept}),
        attachment,
    )
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.HASH).values()) == {"sum"}


def test_a_member_whose_own_coin_was_left_out_does_not_hash(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' coins could have been known to the cloud when it signed the sum that it showed to this one."""
    believing(monkeypatch)
    cloud.asking[Step.HASH] = lambda _party, body, attachment: (
        blind.HashRequest(coins={name: coin for name, coin in body.coins.items() if name != EAST}),
        attachment,
    )
    assert cloud.play() == "finished"
    assert cloud.refusals(Step.HASH) == {EAST: "sum"}


def test_a_point_that_the_cloud_chose_before_it_signed_the_sum_gets_no_sum_accepted(cloud: Cloud) -> None:
    """Everybody is made to hash first, at coins of the cloud's own; then nobody looks at a sum any more."""

    def first(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        coins = {name: hashlib.sha256(name.encode()).digest() for name in (EAST, NORTH, SOUTH, WEST)}
        assert cloud.code(cloud.header(party, Step.HASH), blind.HashRequest(coins=coins)) == ""
        return body, attachment

    cloud.asking[Step.REVEAL] = first
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.REVEAL).values()) == {"message"}
    assert not cloud.replies(Step.REVEAL)


# --- digests and departed members ----------------------------------------------------------------------------------


def test_a_false_digest_of_a_member_is_refused(cloud: Cloud) -> None:
    def lied(party: str, body: blind.ApplyRequest, attachment: bytes) -> tuple[Wire, bytes]:
        stated = read(Digest, body.digests[SOUTH])
        forged = cloud.sign(stated, "coordinator", cloud.header(party, Step.APPLY))
        return body.model_copy(update={"digests": {**body.digests, SOUTH: forged}}), attachment

    cloud.asking[Step.APPLY] = lied
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.APPLY).values()) == {"member-refused"}


def test_a_missing_digest_is_refused(cloud: Cloud) -> None:
    def missing(party: str, body: blind.ApplyRequest, attachment: bytes) -> tuple[Wire, bytes]:
        digests = {name: digest for name, digest in body.digests.items() if name != SOUTH}
        return body.model_copy(update={"digests": digests}), attachment

    cloud.asking[Step.APPLY] = missing
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.APPLY).values()) == {"sum"}


def gone_after_upload(cloud: Cloud) -> None:
    """South is not heard of again once it has signed the survivors."""
    for step in (Step.UNMASK, Step.REVEAL, Step.HASH, Step.APPLY):
        cloud.asking[step] = lambda party, body, attachment: None if party == SOUTH else (body, attachment)


def test_a_member_that_left_after_its_upload_is_hashed_by_the_others(cloud: Cloud) -> None:
    gone_after_upload(cloud)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert set(cloud.requests(Step.APPLY)[EAST].departed) == {SOUTH}
    assert SOUTH in cloud.federation.store.models[1].members


@pytest.mark.parametrize("how", ["upload", "upload and sum", "seed", "statement", "nothing attached"])
def test_what_is_changed_about_a_departed_member_is_found(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    gone_after_upload(cloud)
    if how == "upload and sum":
        adding(monkeypatch, Label.UPDATE, changed)

    def doctored(party: str, body: blind.ApplyRequest, attachment: bytes) -> tuple[Wire, bytes] | None:
        if party == SOUTH:
            return None
        left = body.departed[SOUTH]
        if how == "seed":
            left = left.model_copy(update={"seed": bytes(32)})
        elif how == "statement":
            stated = read(Upload, left.upload).model_copy(update={"sha256": hashlib.sha256(b"").digest()})
            left = left.model_copy(update={"upload": cloud.sign(stated, NORTH, cloud.header(party, Step.APPLY))})
        elif how == "nothing attached":
            attachment = b""
        else:
            words = np.frombuffer(attachment, np.uint32).copy()
            words[7] += 4
            attachment = words.tobytes()
        return body.model_copy(update={"departed": {SOUTH: left}}), attachment

    cloud.asking[Step.APPLY] = doctored
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.APPLY).values()) <= {"sum", "member-refused"}
    assert len(cloud.refusals(Step.APPLY)) == 3


# --- checkpoints ---------------------------------------------------------------------------------------------------


class Wavering(SoftmaxLearner):
    """Trains a little differently each time, as real training does."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(3)

    def fit(self, weights: Weights, *arguments: Any, **options: Any) -> tuple[Weights, TrainingReport]:
        """Train, and add noise."""
        new, report = super().fit(weights, *arguments, **options)
        noisy = {name: array + self.rng.normal(0, 0.01, array.shape).astype(np.float32) for name, array in new.items()}
        return noisy, report


@pytest.fixture
def forked(federation_of: Callable[..., Federation]) -> tuple[Cloud, Model]:
    """A cloud after round 1, and another model of round 1, as well signed: of an attempt that was also finished."""
    federation = federation_of(rounds=2)
    federation.learner = Wavering()
    cloud = fresh(federation)
    cloud.asking[Step.ADVERTISE] = lambda _party, body, attachment: (
        None if len(federation.store.models) == 2 else (body, attachment)
    )
    assert cloud.play() == "failed"
    other = federation.store.models[1].wire
    federation.store = MemoryRunStore(clock=federation.clock, models=federation.store.models[:1])
    assert cloud.play() == "failed"
    assert federation.store.models[1].wire.weights_sha256 != other.weights_sha256
    cloud.asking.clear()
    return cloud, other


def handing(cloud: Cloud, other: Model, parties: set[str]) -> None:
    """Give some nodes the other model."""

    def hand(party: str, body: blind.UploadRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party in parties:
            return body.model_copy(update={"model": other.model_copy(update={"sealed": b""})}), other.sealed
        return body, attachment

    cloud.asking[Step.UPLOAD] = hand


def test_an_honest_coordinator_leaves_out_whoever_trained_from_another_checkpoint(forked: tuple[Cloud, Model]) -> None:
    cloud, other = forked
    handing(cloud, other, {WEST})
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.UPLOAD) == {WEST: "update-shape"}
    assert cloud.federation.store.models[2].members == (EAST, NORTH, SOUTH)


@pytest.mark.parametrize("parties", [{WEST}, {EAST, WEST}])
def test_updates_from_different_checkpoints_never_become_a_model(
    forked: tuple[Cloud, Model], monkeypatch: pytest.MonkeyPatch, parties: set[str]
) -> None:
    """Masks are bound to the checkpoint, so those of nodes that have different ones do not cancel."""
    cloud, other = forked
    believing(monkeypatch)
    handing(cloud, other, parties)
    assert cloud.play() == "failed"
    assert len(cloud.replies(Step.AGREE)) == 4, "nobody can tell before the sum"
    assert len(cloud.refusals(Step.APPLY)) == 4
    assert set(cloud.refusals(Step.APPLY).values()) <= {"sum", "update-weight"}, "masks are still on the sum"
    assert len(cloud.federation.store.models) == 2


@pytest.mark.parametrize("stated", [0, 1])
def test_a_checkpoint_of_an_earlier_round_is_refused(forked: tuple[Cloud, Model], stated: int) -> None:
    cloud, _ = forked
    model = cloud.federation.store.models[0].wire.model_copy(update={"round": stated})
    handing(cloud, model, {WEST})
    assert cloud.play() == "finished"
    assert cloud.refusals(Step.UPLOAD) == {WEST: "checkpoint"}
