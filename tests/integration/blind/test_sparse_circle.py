"""Forty members on a ring of small neighbourhoods, with a small committee: nothing assumes the complete graph."""

from collections.abc import Iterator

import numpy as np
import pytest

from core.imaging.datasets import Part
from core.learning import lineage
from core.learning.orders import AggregationMode
from federated.aggregation.blind import circle as circles
from federated.aggregation.blind.graph import Plan, plan
from federated.aggregation.blind.statements import Upload
from federated.messages import Step, Wire
from tests.federation import Federation
from tests.integration.blind.cloud import Cloud, fresh, read

FORTY = tuple(f"h{number:02}" for number in range(40))
DEGREE, THRESHOLD, COMMITTEE, SIGNERS = 10, 8, 9, 7


def sparse(members: int) -> Plan:
    """A small degree, whatever it would hold against."""
    if members != len(FORTY):
        return plan(members)
    return Plan(
        members=members,
        degree=DEGREE,
        share_threshold=THRESHOLD,
        colluders=0.05,
        drop_outs=0.05,
        security_bits=1,
        complete=False,
    )


@pytest.fixture(scope="module")
def forty_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Forty hospitals, ten neighbours each, nine in the committee."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circles, "plan", sparse)
        patch.setattr(lineage, "EVERYBODY", COMMITTEE)
        patch.setattr(lineage, "COMMITTEE", COMMITTEE)
        patch.setattr(lineage, "COMMITTEE_SIGNERS", SIGNERS)
        circles._circle.cache_clear()
        yield Federation(tmp_path_factory.mktemp("forty"), mode=AggregationMode.BLIND, rounds=1, slugs=FORTY)
    circles._circle.cache_clear()


@pytest.fixture
def cloud(forty_hospitals: Federation) -> Cloud:
    """A cloud over the forty."""
    return fresh(forty_hospitals)


def leaving(cloud: Cloud, when: dict[str, Step]) -> None:
    """Have parties go away for good, each at its step."""
    order = (Step.ADVERTISE, Step.DEAL, Step.UPLOAD, Step.AGREE, Step.UNMASK, Step.REVEAL, Step.HASH, Step.APPLY)
    for step in order:

        def hook(party: str, body: Wire, attachment: bytes, step: Step = step) -> tuple[Wire, bytes] | None:
            gone = party in when and order.index(step) >= order.index(when[party])
            return None if gone else (body, attachment)

        cloud.asking[step] = hook


def test_nobody_hears_of_more_than_its_neighbours_and_the_committee(cloud: Cloud) -> None:
    assert cloud.play() == "finished", cloud.federation.store.reason
    circle = cloud.circle()
    assert {len(around) for around in circle.neighbours.values()} == {DEGREE}
    for party, request in cloud.requests(Step.UPLOAD).items():
        assert set(request.commitments) == set(request.boxes) == set(circle.neighbours[party])
    for request in cloud.requests(Step.UNMASK).values():
        assert set(request.agreements) <= set(circle.committee)
        assert len(request.agreements) >= circle.committee_needed
    for step in (Step.REVEAL, Step.APPLY, Step.FIGURES_UPLOAD, Step.FIGURES_TALLY):
        assert set(cloud.requests(step)) == set(circle.committee)
    assert set(cloud.requests(Step.HASH)) == set(circle.parties)
    assert len(cloud.federation.store.models[1].members) == 40
    signers = set(lineage.signers_of(cloud.federation.store.models[1].wire.lineage))
    assert signers <= set(circle.committee)
    assert len(signers) >= SIGNERS


def test_the_model_is_the_weighted_mean_of_all_members_updates(cloud: Cloud) -> None:
    assert cloud.play() == "finished"
    federation, before, after = cloud.federation, cloud.weights(0), cloud.weights(1)
    total, images = {name: np.zeros(array.shape) for name, array in before.items()}, 0
    for data in federation.data.values():
        part = data.part(Part.TRAINING)
        training = federation.options.training.for_round(1, 1, seed=0)
        new, report = federation.learner.fit(
            before, part.images, part.labels, training, should_stop=lambda: False, progress=lambda *_: None
        )
        images += report.images
        for name in total:
            total[name] += report.images * (new[name] - before[name]).astype(np.float64)
    for name, array in total.items():
        assert np.abs(after[name] - (before[name] + array / images)).max() < 1e-4


def test_members_that_drop_out_or_depart_on_the_ring_are_survived(cloud: Cloud) -> None:
    circle = cloud.circle()
    outside = [party for party in circle.parties if party not in circle.committee]
    ring = [outside[number] for number in (0, 7, 14, 21)]
    leaving(cloud, dict(zip(ring, (Step.ADVERTISE, Step.UPLOAD, Step.AGREE, Step.HASH), strict=True)))
    assert cloud.play() == "finished", cloud.federation.store.reason
    members = set(cloud.federation.store.models[1].members)
    assert members == set(circle.parties) - set(ring[:2])
    assert set(next(iter(cloud.requests(Step.APPLY).values())).departed) == set(ring[2:])


def test_committee_members_that_depart_are_survived_down_to_two_thirds(cloud: Cloud) -> None:
    first, second = cloud.circle().committee[:2]
    leaving(cloud, {first: Step.UNMASK, second: Step.HASH})
    assert cloud.play() == "finished", cloud.federation.store.reason
    cloud = fresh(cloud.federation)
    leaving(cloud, dict.fromkeys(cloud.circle().committee[:3], Step.REVEAL))
    assert cloud.play() == "failed"
    assert cloud.federation.store.reason.startswith(
        "Round 1: 6 of 9 members finished the step 'reveal' and 7 are needed."
    )


def test_a_neighbourhood_that_lost_too_many_ends_the_round(cloud: Cloud) -> None:
    circle = cloud.circle()
    middle = next(party for party in circle.parties if not circle.closed(party) & set(circle.committee[:1]))
    gone = sorted(circle.neighbours[middle])[: DEGREE + 1 - THRESHOLD + 1]
    leaving(cloud, dict.fromkeys(gone, Step.UPLOAD))
    assert cloud.play() == "failed"
    assert len(cloud.federation.store.models) == 1
    assert "survivors" in set(cloud.refusals(Step.AGREE).values()) or "masks of" in cloud.federation.store.reason


def test_signatures_of_neighbours_outside_the_committee_do_not_open_a_set(cloud: Cloud) -> None:
    circle = cloud.circle()
    outside = {party for party in circle.parties if party not in circle.committee}

    def others(_party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        agreed = cloud.replies(Step.AGREE)
        agreements = {party: agreed[party].agreement for party in sorted(outside)}
        return body.model_copy(update={"agreements": agreements}), attachment

    cloud.asking[Step.UNMASK] = others
    assert cloud.play() == "failed"
    assert set(cloud.refusals(Step.UNMASK).values()) == {"survivors"}
    assert not cloud.replies(Step.UNMASK)


def test_every_upload_has_the_same_shape_and_base(cloud: Cloud) -> None:
    assert cloud.play() == "finished"
    stated = {party: read(Upload, reply.upload) for party, reply in cloud.replies(Step.UPLOAD).items()}
    assert len({(upload.words, upload.base_sha256) for upload in stated.values()}) == 1
