"""`make flower-demo` as a whole: a blind round over a real SuperLink with TLS, one process for each hospital."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_blind_round_between_hospitals_of_a_process_each_equals_that_in_one_process_bit_for_bit() -> None:
    command = [sys.executable, "-m", "federated.transport.flower", "--binaries", str(Path(sys.executable).parent)]
    played = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "3 hospitals, mode blind, 1 round(s)" in played.stdout
    assert "the same run in one process ends with the same weights" in played.stdout
    assert "largest difference of a metric: 0.000000" in played.stdout
