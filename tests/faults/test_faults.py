"""A few faults of each sort, played for real; ``python -m benchmarks.faults`` plays hundreds."""

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from core.clock import SystemClock
from core.learning.orders import AggregationMode
from db.blobs import put_blob
from db.engine import make_engine, session_scope
from tests.conftest import MYSQL_URL
from tests.faults.arena import Arena
from tests.faults.drive import Verdict, play, play_undisturbed
from tests.faults.invariants import Ran, check
from tests.faults.plan import Kind, Note, What, draw
from tests.federation import tiny_data

SEED = 3
ON_SQLITE = (
    Kind.KILLED_TWICE,
    Kind.KILLED_IN_COMMIT,
    Kind.KILLED_AFTER_COMMIT,
    Kind.MACHINE_RESTART,
    Kind.STALLED,
    Kind.NODE_RESTART,
    Kind.NODE_HANGS,
    Kind.TWO_AWAY,
    Kind.LEDGER_TORN,
    Kind.DISK_FULL,
)
ON_MYSQL = (Kind.LOST_REPLY, Kind.DATABASE_LATE)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    arena = Arena(tmp_path_factory.mktemp("faults"), mysql_url=_server())
    yield arena
    arena.close()


@pytest.fixture(scope="module")
def undisturbed(arena: Arena) -> Verdict:
    verdict = play_undisturbed(arena, AggregationMode.BLIND)
    assert (verdict.problems, verdict.outcome) == ([], "finished")
    return verdict


def _server() -> str | None:
    engine = create_engine(MYSQL_URL, connect_args={"connect_timeout": 3})
    try:
        engine.connect().close()
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()
    return MYSQL_URL


def _play(arena: Arena, undisturbed: Verdict, kind: Kind) -> Verdict:
    journals = {AggregationMode.BLIND: undisturbed.journal}
    (fault,) = draw(1, seed=SEED, journals=journals, weights=[1.0], mysql=kind in ON_MYSQL, only=kind)
    return play(arena, fault, undisturbed.rounds)


@pytest.mark.parametrize("kind", ON_SQLITE, ids=lambda kind: kind.name.lower())
def test_a_fault_ends_in_a_finished_run_or_a_clear_refusal(arena: Arena, undisturbed: Verdict, kind: Kind) -> None:
    verdict = _play(arena, undisturbed, kind)
    assert verdict.problems == []
    assert verdict.outcome == ("refused" if kind is Kind.TWO_AWAY else "finished"), verdict.ran.reason


@pytest.mark.mysql
@pytest.mark.parametrize("kind", ON_MYSQL, ids=lambda kind: kind.name.lower())
def test_a_run_outlives_its_mysql_server(arena: Arena, undisturbed: Verdict, kind: Kind) -> None:
    if arena.mysql_url is None:
        pytest.skip("no MySQL answers: outages of a server left out")
    verdict = _play(arena, undisturbed, kind)
    assert (verdict.problems, verdict.outcome) == ([], "finished")


def test_the_checks_find_what_does_not_hold(arena: Arena, undisturbed: Verdict) -> None:
    """An unfinished run, a lost round, an unknown attempt, an answer that no ledger knows, and an image in clear."""
    with arena.ground(AggregationMode.BLIND, mysql=False) as ground:
        engine = make_engine(ground.direct_url)
        with session_scope(engine) as session:
            put_blob(session, np.asarray(tiny_data(0).images).tobytes(), "image", SystemClock())
        engine.dispose()
        party = undisturbed.journal[-1].party or "east.training"
        journal = [
            Note(what=What.SENT, attempt="a", pid=1),
            *(Note(what=What.ASKED, attempt="a", pid=pid) for pid in (1, 2, 1)),
            Note(what=What.ANSWERED, attempt="a", step="train", party=party, reply=True),
            Note(what=What.ANSWERED, attempt="a", step="train", party=party, reply=True),
        ]
        problems = check(ground, Ran(seen={0: "lost"}), journal, undisturbed=undisturbed.rounds)
    said = "\n".join(problems)
    for part in ("is queued", "lost", "without having been stored", "took turns", "does not know 1", "lie in clear"):
        assert part in said
    assert len(problems) == 6
