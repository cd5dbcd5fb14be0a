"""A small evaluation as a data folder keeps it: random answers, written and reckoned by the product's own code."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.evaluation.attacks import lab
from core.evaluation.attacks.bench import QUICK
from core.evaluation.report import KEYS
from core.evaluation.tables.attacks import read_attacks
from core.evaluation.tables.environment import environment
from core.evaluation.tables.methods import ABLATED, COMPARED, Method
from core.evaluation.tables.report import write_report
from core.evaluation.tables.summaries import ablation, comparison, security
from core.evaluation.tables.workbook import Workbook
from core.imaging.synthetic import generate_mixed_dataset
from core.learning.metrics import Judged, as_json, figures
from core.studies import LEUKEMIA

ATTACKS = ("stored-images", "objects")
_REPLICATES = 20
_MADE = {"commit": "0" * 40, "at": "2026-01-07T09:00:00+00:00", "seconds": 1.0, "processor_s": 1.0}


def keep_evaluation(folder: Path, cells: Path) -> None:
    """Write tables and two attacks into a folder.

    Args:
        folder: of the evaluation.
        cells: where synthetic cells are drawn for the attacks, if none are there yet.
    """
    if not cells.exists():
        generate_mixed_dataset(cells, cells=120, seed=4)
    few = replace(QUICK, pictures=100, stored=12, objects=12, logs=12)
    lab.run(cells, LEUKEMIA, folder, profile=few, seed=0, only=ATTACKS, say=lambda *_: None)
    _keep_tables(folder)


def _keep_tables(folder: Path) -> None:
    question = {"study": LEUKEMIA.name, "data": "cells", "data_sha256": "ab" * 32, "profile": "tiny", "seeds": [0]}
    workbook = Workbook(folder, question)
    judged = {method: _judged(place) for place, method in enumerate(Method)}
    metrics: dict[str, Any] = {**as_json(figures(judged[Method.PROPOSED], LEUKEMIA, alarm_rate=1.0), KEYS)}
    workbook.write("metrics", metrics | {"images": 60, "patients": 12, "false_alarm_rate": 0.05, "made": _MADE})
    times = {"p50_ms": 50.0, "p95_ms": 90.0}
    response = {
        "n": 4,
        "ways": dict.fromkeys(("ours", "predict", "call"), times),
        "stages": {"enclave.infer": times},
        "useful_share": 0.2,
        "latency_reduction": {"predict": 0.3, "call": -0.5},
    }
    workbook.write("response", response | {"made": _MADE})
    run = {"useful_share": 0.97, "cryptography_s": 1.0, "run_s": 50.0}
    counts = {"images": 20, "patients": 4}
    parts = dict.fromkeys(("training", "validation", "test"), counts)
    for method in Method:
        step = {"method": method.value, "seed": 0, "parts": parts, "made": _MADE}
        workbook.write(method.step(0), step | (run if method is Method.PROPOSED else {}))
    attacks = read_attacks(folder)
    tables = {
        "comparison": comparison({one: [judged[one]] for one in COMPARED}, LEUKEMIA, replicates=_REPLICATES),
        "ablation": ablation(lambda one: [judged[one]], attacks, LEUKEMIA, replicates=_REPLICATES),
        "security": security(attacks, [run], response),
        "attacks": [attack.to_json() for attack in attacks],
        "environment": environment() | {"commit": _MADE["commit"], "at": _MADE["at"]},
    }
    assert set(ABLATED) <= judged.keys()
    workbook.write("tables", tables)
    write_report(workbook)


def _judged(seed: int) -> Judged:
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], 30)
    ones = np.clip(0.3 * labels + 0.7 * rng.random(60), 0, 1)
    return Judged(
        labels=labels,
        predicted=(ones > 0.5).astype(np.int64),
        probabilities=np.stack([1 - ones, ones], axis=1),
        alarming=np.zeros(60, bool),
        patients=tuple(f"p{number // 5}" for number in range(60)),
    )
