"""Damaged and hostile files against the decoder, a few hundred of them; the benchmark does ten thousand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.fuzz_decode import PEAK_MB, files
from benchmarks.fuzz_mutations import mutated
from benchmarks.fuzz_seeds import sound_files
from core.imaging.decode import ImageFormat, decode_upload


def test_no_damaged_file_breaks_the_decoder(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fuzz_decode", "--seed", "1", "--count", "300"]
    subprocess.run([*command, "--json", str(found)], check=False, timeout=600, capture_output=True)
    figures = json.loads(found.read_text())
    assert figures["files"] == 300
    assert figures["failed"] == []
    assert figures["over_memory"] == []
    assert figures["peak_mb"] < PEAK_MB
    assert 30 < figures["decoded"] < 270


def test_all_files_that_fuzzing_starts_from_are_sound() -> None:
    for kind, sound in sound_files(0).items():
        for data in sound:
            assert decode_upload(data, max_bytes=2**20, max_pixels=10**6).format is ImageFormat(kind)


def test_a_file_is_damaged_in_the_same_way_by_the_same_seed_and_usually_changed() -> None:
    sound = sound_files(0)
    for kind, originals in sound.items():
        made = [mutated(np.random.default_rng((7, n)), originals, kind) for n in range(20)]
        assert made == [mutated(np.random.default_rng((7, n)), originals, kind) for n in range(20)]
        assert sum(data not in originals for data in made) > 15


def test_hostile_files_come_first() -> None:
    assert next(iter(files(0, 1)))[0] == "png of 60,000 x 60,000"
