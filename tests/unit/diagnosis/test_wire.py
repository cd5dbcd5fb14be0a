"""Frames, messages, replays, results: what travels between the app and an enclave."""

import socket
import threading
import time
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.diagnosis.hardening import wipe
from core.diagnosis.predictor import Outcome
from core.diagnosis.result import DiagnosisResult
from core.diagnosis.wire import (
    MAX_AGE_S,
    MAX_FRAME,
    REPLIES,
    REQUESTS,
    Code,
    Operation,
    Replays,
    Reply,
    Request,
    receive_frame,
    send_frame,
)

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis


def result(**changed: object) -> DiagnosisResult:
    fields: dict[str, object] = {
        "case_id": "c1",
        "image": 0,
        "images": 1,
        "box": (0, 0, 160),
        "study": "leukemia",
        "checkpoint_id": "k1",
        "weights_sha256": "ab" * 32,
        "probabilities": (0.25, 0.75),
        "label_index": 1,
        "outcome": Outcome.POSITIVE,
        "positive_probability": 0.75,
        "confidence": 0.75,
        "threshold": 0.5,
        "prediction_set": (1, 0),
        "coverage": 0.95,
        "heat_map_png": b"png",
        "cells": (),
        "cells_seen": 0,
        "alarm_threshold": 0.9,
        "alarm_rate": 0.03,
        "false_alarm_bound": 0.05,
        "stages_ms": {"infer": 1.5},
        "answered_by": "north.serving",
        "measurement": "cd" * 32,
        "at": NOW,
    }
    return DiagnosisResult(**{**fields, **changed})  # type: ignore[arg-type]


@given(at=TIMES, p=st.floats(0, 1), outcome=st.sampled_from(Outcome), png=st.binary(max_size=20))
def test_a_result_survives_encoding(at: datetime, p: float, outcome: Outcome, png: bytes) -> None:
    cell = result().findings[0]
    made = result(at=at, positive_probability=p, outcome=outcome, heat_map_png=png, cells=(cell, cell), cells_seen=2)
    again = DiagnosisResult.decode(made.encode())
    assert again == made
    assert isinstance(again.outcome, Outcome)


@given(st.binary(max_size=60))
def test_bytes_that_are_not_a_result_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the text depends on what is wrong
        DiagnosisResult.decode(data)


@given(at=TIMES, sealed=st.binary(max_size=50), crl=st.none() | st.binary(max_size=9), op=st.sampled_from(Operation))
def test_requests_and_replies_survive_encoding(at: datetime, sealed: bytes, crl: bytes | None, op: Operation) -> None:
    request = Request(op=op, party="north.serving", at=at, reply_to=b"der", crl=crl, sealed=sealed, case_id="c")
    assert REQUESTS.decode(REQUESTS.encode(request)) == request
    reply = Reply(code=Code.OK, sealed=sealed, stages_ms={"infer": 0.5}, models=("a", "b"))
    assert REPLIES.decode(REPLIES.encode(reply)) == reply


def test_a_message_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="fields of Request"):
        REQUESTS.decode(REPLIES.encode(Reply(code=Code.OK)))


def test_a_frame_arrives_whole_and_an_end_between_frames_is_no_error() -> None:
    left, right = socket.socketpair()
    with left, right:
        send_frame(left, b"one ", b"frame")
        send_frame(left, b"")
        left.shutdown(socket.SHUT_WR)
        assert receive_frame(right) == b"one frame"
        assert receive_frame(right) == b""
        assert receive_frame(right) is None


def test_a_frame_that_is_too_long_or_cut_off_is_refused() -> None:
    for sent in ((MAX_FRAME + 1).to_bytes(4, "big"), (10).to_bytes(4, "big") + b"short", b"\0\0"):
        left, right = socket.socketpair()
        with left, right:
            left.sendall(sent)
            left.shutdown(socket.SHUT_WR)
            with pytest.raises(ValueError, match="frame"):
                receive_frame(right)


def test_a_frame_that_is_only_announced_takes_no_memory() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(MAX_FRAME.to_bytes(4, "big") + b"that is all")
        left.shutdown(socket.SHUT_WR)
        tracemalloc.start()
        with pytest.raises(ValueError, match="ended too early"):
            receive_frame(right)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**20


def test_a_request_is_new_once_and_only_while_it_is_fresh() -> None:
    replays = Replays()
    assert replays.is_new(b"a", NOW, NOW)
    assert not replays.is_new(b"a", NOW, NOW)
    assert replays.is_new(b"b", NOW, NOW)
    for age in (timedelta(seconds=MAX_AGE_S + 1), -timedelta(seconds=MAX_AGE_S + 1)):
        assert not replays.is_new(b"c", NOW - age, NOW)


def test_an_id_is_remembered_for_as_long_as_its_request_counts_as_fresh() -> None:
    replays = Replays()
    assert replays.is_new(b"a", NOW + timedelta(seconds=50), NOW)
    for seconds in (30, 60, 109):
        assert not replays.is_new(b"a", NOW + timedelta(seconds=50), NOW + timedelta(seconds=seconds))


def test_wiping_overwrites_the_buffer_itself() -> None:
    data, array = bytes(range(100)) + b"", bytearray(b"secret")
    wipe(data, array)
    assert data == bytes(100)
    assert array == bytearray(6)


def test_a_frame_that_comes_or_goes_in_drops_ends_at_its_time_not_at_each_drops() -> None:
    """Each drop comes well within the time, all of them do not."""
    near, far = socket.socketpair()
    ended = threading.Event()

    def drip() -> None:
        far.sendall((100).to_bytes(4, "big"))
        for _ in range(100):
            far.sendall(b"x")
            if ended.wait(0.02):
                return

    def sip() -> None:
        while not ended.wait(0.02):
            with suppress(BlockingIOError):
                far.recv(2**16, socket.MSG_DONTWAIT)

    with near, far:
        for other, act in (
            (drip, lambda: receive_frame(near, until=time.monotonic() + 0.2)),
            (sip, lambda: send_frame(near, bytes(32 * 2**20), until=time.monotonic() + 0.2)),
        ):
            ended.clear()
            thread = threading.Thread(target=other)
            thread.start()
            try:
                with pytest.raises(TimeoutError):
                    act()
            finally:
                ended.set()
                thread.join()
