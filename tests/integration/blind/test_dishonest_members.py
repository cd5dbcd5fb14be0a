"""Members that lie: the lie is found, the liar is named, and where it can be done without it the round goes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.learning.lineage import Lineage, join_lineages, read_lineage, sign_lineage
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.aggregation.blind import messages as blind
from federated.aggregation.blind.member import BlindMember
from federated.aggregation.blind.seeds import Share
from federated.aggregation.blind.statements import (
    Advert,
    Agreement,
    Dealing,
    Digest,
    Label,
    Upload,
    coin_sha256,
    encoded,
    place,
    seed_sha256,
)
from federated.aggregation.server import ServerState
from federated.checkpoints import seal_state
from federated.messages import Model, PrivacyStatement, Step, Wire
from security.certificates import Certificate
from security.context import Context, Purpose
from security.signing import claims_of, sign
from tests.federation import RUN, Federation
from tests.integration.blind.cloud import Cloud, Hook, fresh, read

EAST, NORTH, SOUTH, UPPER, WEST = (f"{slug}.training" for slug in ("east", "north", "south", "upper", "west"))


def lying(change: Callable[[Wire, bytes], tuple[Wire, bytes]], *liars: str) -> Hook:
    """A hook by which `liars` (south, if none are named) answer otherwise than their nodes would."""
    parties = liars or (SOUTH,)
    return lambda party, body, attachment: change(body, attachment) if party in parties else (body, attachment)


# --- shares --------------------------------------------------------------------------------------------------------


def spoilt_value(share: bytes) -> bytes:
    """A share with one bit turned."""
    return bytes([share[0], share[1] ^ 1]) + share[2:]


def other_salt(share: bytes) -> bytes:
    """A share with another salt."""
    return Share.of(share)._replace(salt=bytes(16)).to_bytes()


def short(share: bytes) -> bytes:
    """A share that is too short."""
    return share[1:]


def empty(_share: bytes) -> bytes:
    """No share at all."""
    return b""


@pytest.mark.parametrize("spoil", [spoilt_value, other_salt, short, empty])
def test_a_corrupted_share_is_found_and_its_holder_is_blamed(cloud: Cloud, spoil: Callable[[bytes], bytes]) -> None:
    def corrupt(body: blind.UnmaskReply, attachment: bytes) -> tuple[Wire, bytes]:
        return body.model_copy(update={"seeds": {**body.seeds, EAST: spoil(body.seeds[EAST])}}), attachment

    cloud.answering[Step.UNMASK] = lying(corrupt)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.UNMASK) == {SOUTH: "share"}


def test_a_share_of_the_wrong_kind_is_not_taken(cloud: Cloud) -> None:
    def swapped(body: blind.UnmaskReply, attachment: bytes) -> tuple[Wire, bytes]:
        seeds = dict(body.seeds)
        return body.model_copy(update={"keys": {EAST: seeds.pop(EAST)}, "seeds": seeds}), attachment

    cloud.answering[Step.UNMASK] = lying(swapped)  # type: ignore[arg-type]
    assert cloud.play() == "finished"
    assert cloud.failures(Step.UNMASK) == {SOUTH: "share"}


def test_shares_that_are_held_back_are_missed_at_once(cloud: Cloud) -> None:
    def fewer(body: blind.UnmaskReply, attachment: bytes) -> tuple[Wire, bytes]:
        seeds = {party: share for party, share in body.seeds.items() if party != EAST}
        return body.model_copy(update={"seeds": seeds}), attachment

    cloud.answering[Step.UNMASK] = lying(fewer)  # type: ignore[arg-type]
    assert cloud.play() == "finished"
    assert cloud.failures(Step.UNMASK) == {SOUTH: "share"}


def boxes_for(*holders: str) -> Hook:
    """South's shares for `holders` are not what it committed to."""

    def spoil(body: blind.DealReply, attachment: bytes) -> tuple[Wire, bytes]:
        boxes = {holder: bytes(len(box)) if holder in holders else box for holder, box in body.boxes.items()}
        return body.model_copy(update={"boxes": boxes}), attachment

    return lying(spoil)  # type: ignore[arg-type]


def test_a_dealer_cannot_shut_out_a_member_by_giving_it_a_wrong_share(cloud: Cloud) -> None:
    cloud.answering[Step.DEAL] = boxes_for(WEST)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.replies(Step.UPLOAD)[WEST].refused == {SOUTH: "share"}
    assert set(cloud.federation.store.models[1].members) == {EAST, NORTH, SOUTH, WEST}


def redealt(cloud: Cloud, **changes: Any) -> Hook:
    """South's dealing says something else than its node's."""

    def spoil(body: blind.DealReply, attachment: bytes) -> tuple[Wire, bytes]:
        dealing = read(Dealing, body.dealing).model_copy(update=changes)
        signed = cloud.sign(dealing, SOUTH, cloud.header(SOUTH, Step.DEAL))
        return body.model_copy(update={"dealing": signed}), attachment

    return lying(spoil)  # type: ignore[arg-type]


def reboxed(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Hook:
    """South's boxes are others."""

    def spoil(body: blind.DealReply, attachment: bytes) -> tuple[Wire, bytes]:
        return body.model_copy(update={"boxes": change(body.boxes)}), attachment

    return lying(spoil)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "hook",
    [
        lambda cloud: redealt(cloud, holders=[], commitments=b""),
        lambda cloud: redealt(cloud, commitments=b"short"),
        lambda cloud: redealt(cloud, holders=[WEST] * 4),
        lambda _cloud: reboxed(lambda boxes: boxes | {WEST: bytes(2**20)}),
        lambda _cloud: reboxed(lambda boxes: boxes | {"x" * 2**20: boxes[WEST]}),
        lambda _cloud: reboxed(lambda boxes: {EAST: boxes[EAST]}),
    ],
    ids=["to nobody", "short", "one holder only", "a huge box", "a box for nobody", "boxes missing"],
)
def test_a_dealing_of_another_shape_is_left_out_so_that_it_neither_stops_the_round_nor_drowns_a_member(
    cloud: Cloud, hook: Callable[[Cloud], Hook]
) -> None:
    """Of two dealers, each with a box of half the longest message, one member's letter would be too long to be read."""
    cloud.answering[Step.DEAL] = hook(cloud)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.DEAL) == {SOUTH: "share"}
    assert set(cloud.federation.store.models[1].members) == {EAST, NORTH, WEST}


def test_a_dealer_whose_shares_too_many_find_wrong_is_blamed(cloud: Cloud) -> None:
    cloud.answering[Step.DEAL] = boxes_for(EAST, NORTH, WEST)
    assert cloud.play() == "failed"
    assert cloud.failures(Step.DEAL) == {SOUTH: "share"}
    assert cloud.federation.store.reason == "Too few shares came back to take the masks of south.training off."


@pytest.mark.parametrize("secret", ["seed", "key"])
def test_a_dealer_whose_shares_are_those_it_committed_to_but_of_another_secret_is_blamed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    honest = BlindMember._share_out

    def other_scalar(self: BlindMember, holders: list[str]) -> object:
        if self._party != SOUTH:
            return honest(self, holders)
        kept, self._mask_key = self._mask_key, type(self._mask_key).generate()
        dealt = honest(self, holders)
        self._mask_key = kept
        return dealt

    def other_seed(seed: bytes, context: Context) -> bytes:
        return seed_sha256(bytes(32) if context.sender == SOUTH else seed, context)

    if secret == "seed":
        monkeypatch.setattr("federated.aggregation.blind.member.seed_sha256", other_seed)
    else:  # then it matters when south drops out
        monkeypatch.setattr(BlindMember, "_share_out", other_scalar)
        cloud.asking[Step.UPLOAD] = lambda party, body, attachment: None if party == SOUTH else (body, attachment)
    assert cloud.play() == "failed"
    assert cloud.federation.store.reason == "The shares that south.training dealt do not fit together."


def test_a_member_whose_own_mask_is_of_another_seed_than_it_dealt_stops_the_round_and_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = BlindMember.mask

    def mask(self: BlindMember, *arguments: Any, **options: Any) -> Any:
        if self._party == SOUTH:
            self._seed = bytes(32)
        return honest(self, *arguments, **options)

    monkeypatch.setattr(BlindMember, "mask", mask)
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.APPLY).values()) == {"sum"}
    assert cloud.failures(Step.HASH) == {SOUTH: "sum"}


# --- statements ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["mask_key", "transport_key"])
@pytest.mark.parametrize("key", [b"\4" + bytes(64), b"\2" + bytes(64), "north's"])
def test_keys_that_are_none_or_another_members_are_not_passed_on(cloud: Cloud, field: str, key: bytes | str) -> None:
    """Whoever was given them could not go on."""

    def unusable(body: blind.AdvertiseReply, attachment: bytes) -> tuple[Wire, bytes]:
        stated = read(Advert, body.advert)
        taken = (
            key if isinstance(key, bytes) else getattr(read(Advert, cloud.replies("advertise")[NORTH].advert), field)
        )
        signed = cloud.sign(stated.model_copy(update={field: taken}), SOUTH, cloud.header(SOUTH, Step.ADVERTISE))
        return body.model_copy(update={"advert": signed}), attachment

    cloud.answering[Step.ADVERTISE] = lying(unusable)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.ADVERTISE) == {SOUTH: "message"}


def test_an_upload_that_claims_another_base_is_left_out(cloud: Cloud) -> None:
    def claimed(body: blind.UploadReply, attachment: bytes) -> tuple[Wire, bytes]:
        stated = read(Upload, body.upload).model_copy(update={"base_sha256": "0" * 64})
        signed = cloud.sign(stated, SOUTH, cloud.header(SOUTH, Step.UPLOAD))
        return body.model_copy(update={"upload": signed}), attachment

    cloud.answering[Step.UPLOAD] = lying(claimed)  # type: ignore[arg-type]
    assert cloud.play() == "finished"
    assert cloud.failures(Step.UPLOAD) == {SOUTH: "update-shape"}


def test_a_random_value_that_was_not_committed_to_is_not_passed_on(cloud: Cloud) -> None:
    cloud.answering[Step.REVEAL] = lying(lambda _body, attachment: (blind.RevealReply(coin=bytes(32)), attachment))
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.REVEAL) == {SOUTH: "sum"}


def test_a_random_value_of_another_length_is_not_passed_on_though_it_was_committed_to(cloud: Cloud) -> None:
    """It is sent to everybody, so a long one would fill everybody's letters."""
    long = bytes(2**20)

    def committed(body: blind.AgreeReply, attachment: bytes) -> tuple[Wire, bytes]:
        header = cloud.header(SOUTH, Step.AGREE)
        coin = coin_sha256(long, place(LEUKEMIA.code, SOUTH, header, Label.UPDATE, "coin"))
        agreement = read(Agreement, body.agreement).model_copy(update={"coin": coin})
        return blind.AgreeReply(agreement=cloud.sign(agreement, SOUTH, header)), attachment

    def revealed(_body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        return blind.RevealReply.model_construct(coin=long), attachment

    cloud.answering[Step.AGREE] = lying(committed)  # type: ignore[arg-type]
    cloud.answering[Step.REVEAL] = lying(revealed)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.REVEAL) == {SOUTH: "message"}
    assert all(SOUTH not in request.coins for request in cloud.requests(Step.HASH).values())


PRIVACY = PrivacyStatement(epsilon=1.0, delta=1e-5, unit="patient", noise_multiplier=1.0)


def test_an_upload_that_states_another_privacy_than_was_ordered_is_left_out_and_the_round_goes_on(cloud: Cloud) -> None:
    """Members refuse the whole sum for it."""

    def stated(body: blind.UploadReply, attachment: bytes) -> tuple[Wire, bytes]:
        upload = read(Upload, body.upload).model_copy(update={"privacy": PRIVACY})
        signed = cloud.sign(upload, SOUTH, cloud.header(SOUTH, Step.UPLOAD))
        return body.model_copy(update={"upload": signed}), attachment

    cloud.answering[Step.UPLOAD] = lying(stated)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.UPLOAD) == {SOUTH: "order"}


def test_a_hash_that_states_another_privacy_than_its_upload_is_not_taken_and_its_member_counts_as_departed(
    cloud: Cloud,
) -> None:
    def stated(body: blind.HashReply, attachment: bytes) -> tuple[Wire, bytes]:
        digest = read(Digest, body.digest).model_copy(update={"privacy": PRIVACY})
        return blind.HashReply(digest=cloud.sign(digest, SOUTH, cloud.header(SOUTH, Step.HASH))), attachment

    cloud.answering[Step.HASH] = lying(stated)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.HASH) == {SOUTH: "sum"}
    assert SOUTH in cloud.federation.store.models[1].members


def test_a_member_that_lies_about_its_own_hash_stops_the_round_and_is_named(cloud: Cloud) -> None:
    def lie(body: blind.HashReply, attachment: bytes) -> tuple[Wire, bytes]:
        stated = read(Digest, body.digest)
        false = Digest(point=stated.point, digest=encoded(int.from_bytes(stated.digest) ^ 1))
        return blind.HashReply(digest=cloud.sign(false, SOUTH, cloud.header(SOUTH, Step.HASH))), attachment

    cloud.answering[Step.HASH] = lying(lie)  # type: ignore[arg-type]
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.APPLY).values()) == {"sum"}
    assert cloud.failures(Step.HASH) == {SOUTH: "sum"}
    assert cloud.federation.store.reason.endswith("Hashes that are not of what was uploaded: south.training.")


def test_a_hash_at_another_point_is_not_taken_and_the_liar_counts_as_departed(cloud: Cloud) -> None:
    def elsewhere(body: blind.HashReply, attachment: bytes) -> tuple[Wire, bytes]:
        stated = read(Digest, body.digest).model_copy(update={"point": encoded(5)})
        return blind.HashReply(digest=cloud.sign(stated, SOUTH, cloud.header(SOUTH, Step.HASH))), attachment

    cloud.answering[Step.HASH] = lying(elsewhere)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.HASH) == {SOUTH: "sum"}


def test_one_member_that_claims_an_earlier_attempt_shuts_nobody_out(cloud: Cloud) -> None:
    cloud.answering[Step.ADVERTISE] = lying(
        lambda body, attachment: (body.model_copy(update={"settled": [EAST, NORTH, SOUTH]}), attachment)
    )
    assert cloud.play() == "finished"
    assert set(cloud.federation.store.models[1].members) == {EAST, NORTH, SOUTH, WEST}


def test_a_member_that_claims_a_settled_set_that_the_round_does_not_ask_is_left_out(cloud: Cloud) -> None:
    cloud.answering[Step.ADVERTISE] = lying(
        lambda body, attachment: (body.model_copy(update={"settled": [EAST, "x" * 2**20]}), attachment)
    )
    assert cloud.play() == "finished"
    assert cloud.failures(Step.ADVERTISE) == {SOUTH: "message"}


# --- models and lineages -------------------------------------------------------------------------------------------


def restated(cloud: Cloud, signer: str, reply: blind.LineageReply, **changes: object) -> bytes:
    """A lineage like the one in a reply, but for `changes`, signed by a member."""
    federation = cloud.federation
    lineage = read_one(federation, reply)
    return sign_lineage(replace(lineage, **changes), signer=federation.identities[signer])  # type: ignore[arg-type]


def read_one(federation: Federation, reply: blind.LineageReply) -> Lineage:
    """What a single member stated."""
    values = json.loads(claims_of(reply.lineage)[1])
    return Lineage(**{**values, "members": tuple(values["members"])})


@pytest.mark.parametrize(
    "changes", [{"metrics": {}}, {"members": (SOUTH,)}, {"parent": ""}, {"round": 2}, {"weights_sha256": "0" * 64}]
)
def test_a_member_that_signs_another_lineage_is_left_out(cloud: Cloud, changes: dict[str, object]) -> None:
    def other(body: blind.LineageReply, attachment: bytes) -> tuple[Wire, bytes]:
        return body.model_copy(update={"lineage": restated(cloud, SOUTH, body, **changes)}), attachment

    cloud.answering[Step.FIGURES_TALLY] = lying(other)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    wire = cloud.federation.store.models[1].wire
    trust, now = cloud.federation.keys.trust(), cloud.federation.clock.now()
    lineage = read_lineage(wire.lineage, study=LEUKEMIA.code, weights_sha256=wire.weights_sha256, trust=trust, at=now)
    assert (lineage.round, len(lineage.members), len(lineage.metrics) > 3) == (1, 4, True)


def test_a_lineage_whose_signature_does_not_hold_is_not_joined_with_the_others(cloud: Cloud) -> None:
    """It would have made the stored model unreadable for everybody."""

    def broken(body: blind.LineageReply, attachment: bytes) -> tuple[Wire, bytes]:
        return body.model_copy(update={"lineage": restated(cloud, EAST, body)}), attachment

    for step in (Step.BEGIN, Step.FIGURES_TALLY):
        cloud.answering[step] = lying(broken)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.FIGURES_TALLY) == cloud.failures(Step.BEGIN) == {SOUTH: "checkpoint"}


def test_a_lineage_that_is_nested_too_deeply_to_be_read_is_its_members_failure_and_not_the_runs(cloud: Cloud) -> None:
    def nested(body: blind.LineageReply, attachment: bytes) -> tuple[Wire, bytes]:
        where = Context(purpose=Purpose.LINEAGE, study=LEUKEMIA.code, sender=SOUTH, object_id=body.weights_sha256)
        signed = sign(b"[" * 100_000, signer=cloud.federation.identities[SOUTH], context=where)
        return body.model_copy(update={"lineage": signed}), attachment

    cloud.answering[Step.FIGURES_TALLY] = lying(nested)  # type: ignore[arg-type]
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.FIGURES_TALLY) == {SOUTH: "checkpoint"}


def other_weights(cloud: Cloud) -> Weights:
    """Weights that no round made."""
    return cloud.federation.learner.initial(99)


@pytest.mark.parametrize(("liars", "ending"), [({EAST}, "finished"), ({EAST, NORTH, SOUTH, WEST}, "failed")])
def test_a_sealed_model_is_opened_by_a_second_member_before_it_counts(
    federation_of: Callable[..., Federation], liars: set[str], ending: str
) -> None:
    """Members that are asked to seal the model of round 1 seal another one."""
    federation = federation_of(rounds=2)
    cloud = fresh(federation)

    def another(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        if cloud.carried[-1].header.round == 0 or party not in liars:
            return body, attachment
        recipients = [Certificate(der) for der in cloud.authority().certificates]
        sealed, _ = seal_state(
            federation.notary(party),
            ServerState(weights=other_weights(cloud)),
            run=RUN,
            round_number=cloud.carried[-1].header.round,
            recipients=[one for one in recipients if one.party in federation.options.parties],
        )
        return body, sealed

    cloud.answering[Step.SEAL] = another
    assert cloud.play() == ending, federation.store.reason
    assert set(cloud.refusals(Step.OPEN).values()) == {"checkpoint"}
    assert (federation.store.served is None) == (ending == "failed")


def forged(cloud: Cloud, signers: tuple[str, ...], sealer: str, **changes: object) -> Model:
    """A model of round 0 that only `signers` vouch for."""
    federation = cloud.federation
    reply = cloud.replies(Step.BEGIN)[EAST]
    state = ServerState(weights=other_weights(cloud))
    recipients = [federation.keys.certificate(party) for party in federation.options.parties]
    sealed, sha256 = seal_state(federation.notary(sealer), state, run=RUN, round_number=0, recipients=recipients)
    lineage = replace(read_one(federation, reply), weights_sha256=sha256, **changes)  # type: ignore[arg-type]
    signed = [sign_lineage(lineage, signer=federation.identities[party]) for party in signers]
    wire = join_lineages(signed) if len(signed) > 1 else signed[0]
    return Model(run=RUN, round=0, sealed=sealed, weights_sha256=sha256, lineage=wire)


@pytest.mark.parametrize(
    ("signers", "changes"),
    [
        ((EAST, NORTH, SOUTH), {"members": (EAST, NORTH, SOUTH)}),
        ((EAST, NORTH, SOUTH), {}),
        (("aggregation",), {"mode": "sealed"}),
        (("authority",), {"mode": "import"}),
    ],
    ids=["members are who signed", "too few signed", "aggregation party", "import"],
)
def test_a_model_that_too_few_or_others_vouch_for_is_refused(
    five_hospitals: Federation, signers: tuple[str, ...], changes: dict[str, object]
) -> None:
    """Three of five in league with the cloud state a lineage in which three are enough."""
    cloud = fresh(five_hospitals)

    def hand(party: str, body: blind.UploadRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party != WEST:
            return body, attachment
        model = forged(cloud, signers, signers[0], **changes)
        return body.model_copy(update={"model": model.model_copy(update={"sealed": b""})}), model.sealed

    cloud.asking[Step.UPLOAD] = hand
    assert cloud.play() == "finished", five_hospitals.store.reason
    assert cloud.refusals(Step.UPLOAD) == {WEST: "checkpoint"}


def test_a_model_that_enough_members_vouch_for_is_taken_so_the_refusals_above_mean_something(
    five_hospitals: Federation,
) -> None:
    cloud = fresh(five_hospitals)

    def hand(party: str, body: blind.UploadRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if party != WEST:
            return body, attachment
        model = forged(cloud, (EAST, NORTH, SOUTH, UPPER), EAST)
        return body.model_copy(update={"model": model.model_copy(update={"sealed": b""})}), model.sealed

    cloud.asking[Step.UPLOAD] = hand
    assert cloud.play() == "finished"
    assert not cloud.refusals(Step.UPLOAD)
    assert WEST not in five_hospitals.store.models[1].members
