"""What the cloud has after a whole run in mode `blind`, every letter of it: no update, no sum, no model, no figures."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.imaging.datasets import Part
from core.learning.group_key import open_group_key
from core.studies import LEUKEMIA
from federated.aggregation.blind.adding import Adding
from federated.aggregation.blind.member import BlindMember
from federated.aggregation.blind.payload import decode_update, figures_encoding, update_encoding
from federated.aggregation.blind.seeds import Share, group_mask_key
from federated.aggregation.blind.statements import Label
from federated.failures import Refused
from federated.messages import Attachment, Step
from security.keystream import subtract_multiple
from tests.federation import RUN, Federation
from tests.integration.blind.cloud import Cloud, fresh
from tests.secrets_search import pieces

EAST = "east.training"


class Run:
    """A finished run of five hospitals: what the cloud saw, and what a test may know beside."""

    def __init__(self, federation: Federation, patch: pytest.MonkeyPatch) -> None:
        self.sums: dict[Label, tuple[Adding, NDArray[Any]]] = {}
        self.vectors: dict[tuple[Label, str], NDArray[Any]] = {}
        self.cloud = fresh(federation)
        add, mask = Adding.add, BlindMember.mask

        def keep(adding: Adding) -> tuple[bytes, Attachment]:
            statement, attachment = add(adding)
            size = 8 if adding._label is Label.FIGURES else 4
            length = len(self.vectors[adding._label, EAST])
            self.sums[adding._label] = adding, np.frombuffer(attachment.data, f"<u{size}", length)
            return statement, attachment

        def spy(member: BlindMember, words: NDArray[Any], **options: Any) -> Any:
            self.vectors[member.label, member._party] = words.copy()
            return mask(member, words, **options)

        patch.setattr(Adding, "add", keep)
        patch.setattr(BlindMember, "mask", spy)
        assert self.cloud.play() == "finished"
        held = [part for one in self.cloud.carried for part in (one.letter, one.answer)]
        held += [model.wire.sealed + model.wire.lineage for model in federation.store.models]
        held += [event.sealed or b"" for _, event in federation.store.events]
        held += [repr(event).encode() for _, event in federation.store.events]
        self.held = b"\0".join(held)


@pytest.fixture(scope="module")
def run(five_hospitals: Federation) -> Iterator[Run]:
    """Play it once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        yield Run(five_hospitals, patch)


def guard_of(cloud: Cloud, label: Label) -> int:
    """How many low bits of each word are zero."""
    options = cloud.federation.options
    if label is Label.UPDATE:
        return update_encoding(options, cloud.circle()).guard
    return figures_encoding(options, cloud.circle().figures, classes=len(LEUKEMIA.classes)).guard


def zero_guards(words: NDArray[Any], guard: int) -> float:
    """Share of words whose guard bits are zero."""
    return float(np.mean(words & words.dtype.type((1 << guard) - 1) == 0))


@pytest.mark.parametrize("label", list(Label))
def test_the_cloud_cannot_read_the_sum_with_anything_that_it_holds_and_a_member_can(run: Run, label: Label) -> None:
    """Five survivors, so five group masks are on the sum, and no bit of it is free of them."""
    cloud = run.cloud
    adding, low = run.sums[label]
    guard = guard_of(cloud, label)
    assert zero_guards(low, guard) < 0.5
    briefing = cloud.authority()
    known = [
        bytes(32),
        hashlib.sha256(briefing.order).digest(),
        hashlib.sha256(briefing.group).digest(),
        cloud.circle().seed,
        *(briefing.group[at : at + 32] for at in range(0, len(briefing.group) - 32, 16)),
        *adding._seeds.values(),
        *(reply.coin for reply in cloud.replies(Step.REVEAL).values()),
        *(
            Share.of(share).value[-32:]
            for reply in cloud.replies(Step.UNMASK).values()
            for share in reply.seeds.values()
        ),
    ]
    for secret in known:
        for key in (secret, group_mask_key(secret, LEUKEMIA.code, adding._header, label)):
            for times in (1, len(adding.survivors)):
                words = low.copy()
                subtract_multiple(words, key, times)
                assert zero_guards(words, guard) < 0.5
    federation = cloud.federation
    group = open_group_key(
        briefing.group,
        RUN,
        study=LEUKEMIA.code,
        member=federation.identities[EAST],
        trust=federation.keys.trust(),
        at=federation.clock.now(),
    )
    words = low.copy()
    subtract_multiple(words, group_mask_key(group, LEUKEMIA.code, adding._header, label), len(adding.survivors))
    assert zero_guards(words, guard) == 1, "the control: the group key opens it"
    total = sum(vector for (of, _), vector in run.vectors.items() if of is label)
    assert np.array_equal(words, np.asarray(total, low.dtype))


def test_a_sum_with_its_group_masks_on_is_refused_by_whoever_reads_it_as_a_model(run: Run) -> None:
    _, low = run.sums[Label.UPDATE]
    options = run.cloud.federation.options
    with pytest.raises(Refused):
        decode_update(low, run.cloud.weights(0), options=options, circle=run.cloud.circle())


def test_no_image_weight_update_or_figure_of_a_member_is_in_anything_that_went_through_the_cloud(run: Run) -> None:
    cloud, federation = run.cloud, run.cloud.federation
    before, after = cloud.weights(0), cloud.weights(1)
    secret: list[bytes] = [array.tobytes() for weights in (before, after) for array in weights.values()]
    secret += [(after[name] - before[name]).tobytes() for name in before]
    for slug, data in federation.data.items():
        secret.append(np.asarray(data.images).tobytes()[:20_000])
        part = data.part(Part.VALIDATION)
        sums = federation.learner.evaluate(after, part.images, part.labels)
        secret += [sums.tobytes(), sums.astype(np.float32).tobytes()]
        for label in Label:
            words = run.vectors[label, f"{slug}.training"]
            secret += [words.tobytes(), words.astype(words.dtype.newbyteorder(">")).tobytes()]
    found = [piece for one in secret for piece in pieces(one) if piece in run.held]
    assert found == []
    assert sum(1 for one in secret for _ in pieces(one)) > 500, "the search looks for something"
    upload = cloud.attachments(Step.UPLOAD)[EAST]
    assert all(piece in run.held for piece in pieces(upload)), "and finds what is there"


def test_the_group_key_is_in_nothing_that_went_through_the_cloud(run: Run) -> None:
    federation = run.cloud.federation
    group = open_group_key(
        run.cloud.authority().group,
        RUN,
        study=LEUKEMIA.code,
        member=federation.identities[EAST],
        trust=federation.keys.trust(),
        at=federation.clock.now(),
    )
    assert group not in run.held
    assert group.hex().encode() not in run.held
