"""A drop-out that the cloud claims falsely, after the upload: what honest nodes then reveal does not open the upload.

The cloud gets the claimed member's mask key, and with it every mask that the member shares with others. Its own mask
and the group mask stay on. Each test has a control: with the one secret that the cloud lacks, the same steps open it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from core.learning.group_key import open_group_key
from core.studies import LEUKEMIA
from federated.aggregation.blind.adding import Adding
from federated.aggregation.blind.intake import Intake
from federated.aggregation.blind.member import BlindMember
from federated.aggregation.blind.payload import update_encoding
from federated.aggregation.blind.seeds import (
    Share,
    ShareContexts,
    adds,
    between,
    group_mask_key,
    mask_info,
    own_mask_key,
    pair_info,
)
from federated.aggregation.blind.statements import Advert, Label, Upload
from federated.messages import Header, Step
from security.errors import SealBroken
from security.keys import KEY_BYTES, NONCE_BYTES
from security.keystream import apply_masks
from security.masking import MaskKey, TransportKey
from tests.federation import RUN, Federation
from tests.integration.blind.cloud import Cloud, fresh, read, words_of

EAST, SOUTH = "east.training", "south.training"
HIGHEST = 400.0
"""Chi-square of 256 kinds of byte above this has a chance below 1e-7 for uniform ones (mean 255, deviation 22.6)."""


@dataclass
class Loot:
    """What the cloud holds after it has claimed that south dropped out.

    Attributes:
        cloud: with all letters.
        key: south's mask key, put together from shares.
        header: place of the attempt.
        secrets: every secret that members revealed or the cloud put together.
        spied: the test's own view of south's part, for controls.
    """

    cloud: Cloud
    key: MaskKey
    header: Header
    secrets: list[bytes]
    spied: BlindMember
    truth: NDArray[Any]

    def advert(self, party: str) -> Advert:
        """A party's public keys."""
        return read(Advert, self.cloud.replies(Step.ADVERTISE)[party].advert)

    def without_pairs(self) -> NDArray[Any]:
        """South's upload without the masks that it shares with others."""
        words = words_of(self.cloud.attachments(Step.UPLOAD)[SOUTH])
        stated = read(Upload, self.cloud.replies(Step.UPLOAD)[SOUTH].upload)
        info = mask_info(LEUKEMIA.code, self.header, Label.UPDATE, stated.base_sha256)
        for other in self.cloud.federation.options.parties:
            if other != SOUTH:
                seed = self.key.agree(self.advert(other).mask_key, info=between(info, SOUTH, other))
                if adds(SOUTH, other):
                    apply_masks(words, minus=[seed])
                else:
                    apply_masks(words, plus=[seed])
        return words

    def group_mask(self) -> bytes:
        """The group mask, as any one member in league with the cloud can tell it."""
        federation = self.cloud.federation
        key = open_group_key(
            self.cloud.authority().group,
            RUN,
            study=LEUKEMIA.code,
            member=federation.identities[EAST],
            trust=federation.keys.trust(),
            at=federation.clock.now(),
        )
        return group_mask_key(key, LEUKEMIA.code, self.header, Label.UPDATE)


@pytest.fixture
def loot(five_hospitals: Federation, monkeypatch: pytest.MonkeyPatch) -> Loot:
    """Play a round in which the cloud leaves south out after it has uploaded, and keep everything."""
    cloud = fresh(five_hospitals)
    settle, open_secrets, mask = Intake.settle, Adding._open_secrets, BlindMember.mask
    opened: list[Adding] = []
    spied: list[tuple[BlindMember, NDArray[Any]]] = []

    def claim(self: Intake) -> list[str]:
        left_out = settle(self)
        if self._label is Label.UPDATE:
            self.survivors.pop(SOUTH)
        return left_out

    def keep(self: Adding) -> None:
        open_secrets(self)
        opened.append(self)

    def spy(self: BlindMember, words: NDArray[Any], **options: Any) -> Any:
        if self._party == SOUTH and self.label is Label.UPDATE:
            spied.append((self, words.copy()))
        return mask(self, words, **options)

    monkeypatch.setattr(Intake, "settle", claim)
    monkeypatch.setattr(Adding, "_open_secrets", keep)
    monkeypatch.setattr(BlindMember, "mask", spy)
    assert cloud.play() == "finished", "members cannot tell a claimed drop-out from a true one"
    adding = opened[0]
    assert set(adding._keys) == {SOUTH}
    revealed = [
        Share.of(share).value
        for step in (Step.UNMASK, Step.FIGURES_UNMASK)
        for reply in cloud.replies(step).values()
        for share in (*reply.seeds.values(), *reply.keys.values())
    ]
    coins = [reply.coin for reply in cloud.replies(Step.REVEAL).values()]
    known = [*revealed, *coins, *adding._seeds.values(), adding._keys[SOUTH].scalar()]
    member, truth = spied[0]
    return Loot(cloud, adding._keys[SOUTH], adding._header, known, member, truth)


def looks_uniform(words: NDArray[Any], guard: int) -> bool:
    """Whether bytes are as even as random ones and no more guard bits are zero than chance leaves."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    zero = int(np.count_nonzero(words & ((1 << guard) - 1) == 0))
    chance = len(words) / 2**guard
    return bool(((counts - expected) ** 2 / expected).sum() < HIGHEST) and abs(zero - chance) < 6 * np.sqrt(chance)


def test_what_remains_of_the_upload_of_a_falsely_claimed_drop_out_is_uniform(loot: Loot) -> None:
    guard = update_encoding(loot.cloud.federation.options, loot.cloud.circle()).guard
    rest = loot.without_pairs()
    assert looks_uniform(rest, guard)
    assert abs(np.corrcoef(rest.view(np.int32), loot.truth.view(np.int32))[0, 1]) < 6 / np.sqrt(len(rest))

    apply_masks(rest, minus=[loot.group_mask()])
    assert looks_uniform(rest, guard), "nor with the help of a member that tells the group key"

    seed = own_mask_key(loot.spied._seed, LEUKEMIA.code, SOUTH, loot.header, Label.UPDATE)
    apply_masks(rest, minus=[seed])
    assert np.array_equal(rest, loot.truth), "the control: the own-mask seed is all that was missing"
    assert not looks_uniform(rest, guard)


def test_none_of_the_secrets_that_the_cloud_then_holds_is_the_missing_mask(loot: Loot) -> None:
    guard = update_encoding(loot.cloud.federation.options, loot.cloud.circle()).guard
    rest = loot.without_pairs()
    apply_masks(rest, minus=[loot.group_mask()])
    for secret in loot.secrets:
        for key in (secret[-32:], own_mask_key(secret, LEUKEMIA.code, SOUTH, loot.header, Label.UPDATE)):
            tried = rest.copy()
            apply_masks(tried, minus=[key])
            assert looks_uniform(tried, guard)


def test_nobody_revealed_a_share_of_the_claimed_members_seed(loot: Loot) -> None:
    for reply in loot.cloud.replies(Step.UNMASK).values():
        assert SOUTH in reply.keys
        assert SOUTH not in reply.seeds
    assert SOUTH not in loot.cloud.replies(Step.UNMASK)


def test_the_shares_that_went_through_the_cloud_open_with_nothing_that_it_holds(loot: Loot) -> None:
    """The transport key is another one than the mask key, and is never shared."""
    dealt = loot.cloud.replies(Step.DEAL)
    info = pair_info(LEUKEMIA.code, loot.header, Label.UPDATE)
    scalar = ec.derive_private_key(int.from_bytes(loot.key.scalar()), ec.SECP256R1())
    posing = TransportKey(scalar)
    boxes = [(SOUTH, holder, box) for holder, box in dealt[SOUTH].boxes.items()]
    boxes += [(dealer, SOUTH, reply.boxes[SOUTH]) for dealer, reply in dealt.items() if SOUTH in reply.boxes]
    assert len(boxes) == 8
    contexts = ShareContexts(LEUKEMIA.code, loot.header, Label.UPDATE)
    for dealer, holder, box in boxes:
        context = contexts.of(dealer, holder)
        other = holder if dealer == SOUTH else dealer
        for key in (loot.advert(other).transport_key, loot.advert(other).mask_key):
            for side in (posing.box(key, info=between(info, dealer, holder)), TransportKey(scalar).box(key, info=b"")):
                with pytest.raises(SealBroken):
                    side.open(box, context=context)
        for secret in [*loot.secrets, loot.group_mask()]:
            with pytest.raises(InvalidTag):
                AESGCM(secret[-KEY_BYTES:]).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
    context = contexts.of(EAST, SOUTH)
    opened = loot.spied._boxes[EAST].open(dealt[EAST].boxes[SOUTH], context=context)
    assert loot.spied._held[EAST][1].value in opened, "the control: with south's transport key they open"
