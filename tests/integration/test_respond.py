"""The timing of uploads, once through with real enclaves."""

import json
from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.evaluation.respond import respond
from core.imaging.synthetic import generate_mixed_dataset


def test_it_times_every_stage_of_real_uploads(tmp_path: Path) -> None:
    generate_mixed_dataset(tmp_path / "cells", cells=8, seed=1)
    times = respond(tmp_path / "cells", 4)
    assert times.n == 4
    assert times.engine == "sqlite"
    assert times.cold_ms > 0
    assert {"decode", "gate", "encode", "route", "seal", "store", "enclave", "enclave.infer", "record"} <= set(
        times.stages
    )
    assert 0 < times.p50_ms <= times.p95_ms
    assert json.loads(json.dumps(times.to_json()))["stages"]["enclave"]["p50_ms"] > 0


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        respond(tmp_path, 4)
