"""The comparison that `make bench` fails by, and what the load benchmark says of its figures."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guard import COMMITTED, TOLERANCE, Verdict, verdicts
from benchmarks.load import Latency, missed
from benchmarks.processes import memory, names, resident

RATIOS = st.floats(1e-6, 1e6)


@given(RATIOS, st.floats(0.01, 10))
def test_a_ratio_fails_exactly_when_it_is_more_than_a_fifth_below_the_committed_one(ratio: float, times: float) -> None:
    found = verdicts({"audit": ratio}, {"audit": ratio * times})[0]
    if abs(times - (1 - TOLERANCE)) > 1e-9:
        assert found.holds == (times > 1 - TOLERANCE)


def test_a_ratio_that_is_missing_on_either_side_fails() -> None:
    found = {one.name: one for one in verdicts({"kept": 1.0, "gone": 1.0}, {"kept": 1.0, "new": 1.0})}
    assert {name: one.holds for name, one in found.items()} == {"kept": True, "gone": False, "new": False}
    assert found["gone"].row == "| gone | 1 | missing |  | **worse** |"


def test_a_row_shows_both_ratios_and_the_change() -> None:
    assert Verdict("respond", 0.1, 0.05).row == "| respond | 0.1 | 0.05 | -50 % | **worse** |"
    assert Verdict("respond", 0.1, 0.12).row == "| respond | 0.1 | 0.12 | +20 % | holds |"


def test_the_committed_ratios_are_of_all_that_is_measured() -> None:
    kept = json.loads(COMMITTED.read_text(encoding="utf-8"))["ratios"]
    assert set(kept) == {"aggregation", "audit", "respond", "training", "vault"}
    assert all(ratio > 0 for ratio in kept.values())


def test_latencies_of_nothing_are_nothing() -> None:
    assert Latency.of([]) == Latency(0, 0.0, 0.0, 0.0, 0.0)
    assert Latency.of([0.1] * 99 + [2.0]) == Latency(100, 0.1, 0.1, 0.119, 2.0)


def test_the_load_benchmark_names_each_bar_that_is_missed() -> None:
    good = {
        "latency": {"upload": {"p95": 1.0}},
        "ended": {"refused": 3, "waiting": 1},
        "lost": 0,
        "doubled": 0,
        "audit_verifies": True,
        "memory": {"begin": 200.0, "grows": 9.0},
    }
    assert missed(good) == []
    bad = {
        "latency": {"upload": {"p95": 1.2}},
        "ended": {"error APP-DATABASE": 2},
        "lost": 1,
        "doubled": 1,
        "audit_verifies": False,
        "memory": {"begin": 200.0, "grows": 11.0},
    }
    assert missed(good | bad) == [
        "upload takes 1.2 s",
        "2 times error APP-DATABASE",
        "1 lost",
        "1 doubled",
        "the audit log does not verify",
        "memory grows by 11.0 MiB",
    ]


def test_the_memory_of_a_process_is_read_and_its_children_are_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = names([os.getpid()])
        assert {os.getpid(), child.pid} <= set(found)
        own = memory(os.getpid())
        assert 0 < resident(child.pid) < own.resident <= own.peak
    finally:
        child.communicate(b"\n")
    with pytest.raises(OSError, match=str(child.pid)):
        memory(child.pid)
