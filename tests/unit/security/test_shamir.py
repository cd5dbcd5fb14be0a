"""Shamir shares and the commitments to them."""

import itertools
import random
import secrets

import pytest
from Crypto.Util.number import isPrime
from hypothesis import given
from hypothesis import strategies as st

from security.errors import ShareBroken
from security.shamir import PRIME, SALT_BYTES, SHARE_BYTES, check, combine, commit, split

SECRET = bytes(range(32))
secret_bytes = st.binary(min_size=32, max_size=32)


@st.composite
def sharings(draw: st.DrawFn) -> tuple[int, list[int]]:
    points = draw(st.lists(st.integers(1, 2**64 - 1) | st.integers(1, 30), min_size=1, max_size=12, unique=True))
    return draw(st.integers(1, len(points))), points


def test_the_field_has_the_smallest_prime_above_2_to_the_256() -> None:
    assert isPrime(PRIME, false_positive_prob=2**-128)
    assert not any(isPrime(number) for number in range(2**256 + 1, PRIME, 2))


@given(secret=secret_bytes, sharing=sharings(), rng=st.randoms(use_true_random=False))
def test_any_threshold_of_shares_gives_the_secret_again(
    secret: bytes, sharing: tuple[int, list[int]], rng: random.Random
) -> None:
    threshold, points = sharing
    shares = split(secret, threshold=threshold, points=points)
    assert list(shares) == points
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}
    chosen = rng.sample(points, rng.randint(threshold, len(points)))
    assert combine({point: shares[point] for point in chosen}, threshold=threshold) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_the_smallest_and_the_largest_secret_survive_sixty_of_eighty(secret: bytes) -> None:
    shares = split(secret, threshold=60, points=range(1, 81))
    chosen = random.Random(1).sample(sorted(shares), 60)
    assert combine({point: shares[point] for point in chosen}, threshold=60) == secret


def test_the_shares_lie_on_one_polynomial_of_the_degree_that_was_asked_for() -> None:
    shares = split(SECRET, threshold=3, points=range(1, 8))
    values = [int.from_bytes(shares[point]) for point in range(1, 8)]
    for _ in range(3):  # at consecutive points the third differences of a parabola vanish
        values = [(after - before) % PRIME for before, after in itertools.pairwise(values)]
    assert values == [0] * 4


def test_fewer_shares_than_the_threshold_fit_every_secret() -> None:
    shares = split(SECRET, threshold=3, points=[1, 2, 3])
    known = {point: shares[point] for point in (1, 2)}
    third = {combine({**known, 3: value.to_bytes(SHARE_BYTES)}, threshold=3) for value in range(1, 30)}
    assert len(third) == 29


def test_the_same_secret_is_never_shared_twice_in_the_same_way() -> None:
    first, second = (split(SECRET, threshold=2, points=[1, 2]) for _ in range(2))
    assert first[1] != second[1]
    assert first[2] != second[2]


def test_too_few_shares_are_refused() -> None:
    shares = split(SECRET, threshold=3, points=range(1, 6))
    with pytest.raises(ShareBroken, match="3 shares needed, got 2"):
        combine({point: shares[point] for point in (1, 4)}, threshold=3)


@pytest.mark.parametrize(
    "share",
    [b"", bytes(32), bytes(34), PRIME.to_bytes(SHARE_BYTES), b"\xff" * SHARE_BYTES],
    ids=["empty", "short", "long", "the prime", "out of range"],
)
def test_a_share_that_is_no_element_of_the_field_is_refused(share: bytes) -> None:
    shares = split(SECRET, threshold=2, points=[1, 2, 3])
    with pytest.raises(ShareBroken, match="malformed"):
        combine({**shares, 3: share}, threshold=2)


@pytest.mark.parametrize("point", [0, -1, 2**64, True, 1.0])
def test_a_share_at_a_point_that_no_share_has_is_refused(point: int) -> None:
    shares = split(SECRET, threshold=2, points=[2, 3])
    with pytest.raises(ShareBroken, match="point"):
        combine({**shares, point: bytes(SHARE_BYTES)}, threshold=2)


def test_shares_whose_secret_would_not_fit_32_bytes_are_refused() -> None:
    with pytest.raises(ShareBroken, match="belong together"):
        combine({1: (PRIME - 1).to_bytes(SHARE_BYTES)}, threshold=1)
    assert combine({1: (2**256 - 1).to_bytes(SHARE_BYTES)}, threshold=1) == b"\xff" * 32


@pytest.mark.parametrize(
    ("secret", "threshold", "points", "reason"),
    [
        (bytes(31), 1, [1], "32 bytes"),
        (bytes(33), 1, [1], "32 bytes"),
        (SECRET, 1, [0], "distinct points"),
        (SECRET, 1, [2**64], "distinct points"),
        (SECRET, 1, [1, 1], "distinct points"),
        (SECRET, 0, [1], "threshold"),
        (SECRET, 2, [1], "threshold"),
        (SECRET, 1, [], "threshold"),
    ],
)
def test_what_cannot_be_shared_is_refused(secret: bytes, threshold: int, points: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        split(secret, threshold=threshold, points=points)


def test_nothing_is_put_together_without_a_threshold() -> None:
    with pytest.raises(ValueError, match="threshold"):
        combine({1: bytes(SHARE_BYTES)}, threshold=0)


@given(share=st.binary(max_size=40), point=st.integers(0, 2**64 - 1), context=st.binary(max_size=40))
def test_a_commitment_holds_for_what_was_committed_to_and_for_nothing_else(
    share: bytes, point: int, context: bytes
) -> None:
    salt = secrets.token_bytes(SALT_BYTES)
    commitment = commit(share, salt=salt, point=point, context=context)
    check(share, commitment, salt=salt, point=point, context=context)
    for other in (
        {"share": share + b"\0"},
        {"salt": bytes(SALT_BYTES)},
        {"salt": salt[:-1]},
        {"point": point ^ 1},
        {"point": -1},
        {"context": context + b"\0"},
        {"commitment": commitment[:-1]},
        {"commitment": b""},
    ):
        changed = {"share": share, "commitment": commitment, "salt": salt, "point": point, "context": context, **other}
        with pytest.raises(ShareBroken, match="committed"):
            check(**changed)  # type: ignore[arg-type]


def test_bytes_that_move_between_context_and_share_change_the_commitment() -> None:
    salt = bytes(SALT_BYTES)
    assert commit(b"bc", salt=salt, point=1, context=b"a") != commit(b"c", salt=salt, point=1, context=b"ab")


def test_a_commitment_needs_its_salt_and_a_point() -> None:
    with pytest.raises(ValueError, match="salt"):
        commit(b"", salt=b"", point=1, context=b"")
    with pytest.raises(ValueError, match="point"):
        commit(b"", salt=bytes(SALT_BYTES), point=-1, context=b"")


def test_a_corrupted_share_gives_another_secret_silently_and_is_found_by_its_commitment() -> None:
    shares = split(SECRET, threshold=2, points=[1, 2])
    salt = secrets.token_bytes(SALT_BYTES)
    commitment = commit(shares[2], salt=salt, point=2, context=b"attempt")
    corrupted = (int.from_bytes(shares[2]) ^ 1).to_bytes(SHARE_BYTES)
    assert combine({**shares, 2: corrupted}, threshold=2) != SECRET
    with pytest.raises(ShareBroken, match="committed"):
        check(corrupted, commitment, salt=salt, point=2, context=b"attempt")
