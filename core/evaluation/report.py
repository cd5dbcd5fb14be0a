"""An evaluation as JSON and as a table for a terminal."""

import math

from rich.table import Table

from core.evaluation.evaluate import PSEUDO_PATIENTS, Evaluation, percentile
from core.learning.metric_sums import PSEUDO_PATIENT_CELLS
from core.learning.metrics import REPLICATES, SEED, as_json
from core.studies import STUDIES

KEYS = (
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "detection_rate",
    "mcc",
    "jaccard",
    "balanced_accuracy",
    "kappa",
    "auc",
    "dri",
    "ece",
)


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """Return everything of an evaluation as JSON values."""
    manifest = evaluation.manifest
    study = STUDIES[manifest.study]
    averaging = "positive class" if len(study.classes) == 2 else "macro"  # noqa: PLR2004  two classes
    return {
        **as_json(evaluation.figures, KEYS),
        "averaging": averaging,
        "bootstrap": {"replicates": REPLICATES, "seed": SEED, "over": "patients"},
        "confusion_matrix": {"classes": list(manifest.classes), "counts": evaluation.confusion.tolist()},
        "images": evaluation.images,
        "patients": evaluation.patients,
        "positive_patients": evaluation.positive_patients,
        "uncertain": evaluation.uncertain,
        "rejected": [list(item) for item in evaluation.rejected],
        "alarm_rate": manifest.alarm_rate,
        "false_alarm_rate": None if math.isnan(evaluation.false_alarm_rate) else evaluation.false_alarm_rate,
        "pseudo_patients": {"draws": PSEUDO_PATIENTS, "cells": PSEUDO_PATIENT_CELLS, "seed": SEED},
        "response_time_ms": {
            "p50": percentile(evaluation.response_ms, 50),
            "p95": percentile(evaluation.response_ms, 95),
        },
        "study": manifest.study,
        "checkpoint": {
            "run": manifest.run_id,
            "round": manifest.round,
            "weights_sha256": manifest.weights_sha256,
            "litert_sha256": manifest.litert_sha256,
            "preprocessing": manifest.preprocessing,
            "temperature": manifest.temperature,
            "threshold": manifest.threshold,
            "uncertain_low": manifest.uncertain_low,
            "uncertain_high": manifest.uncertain_high,
            "alarm_threshold": manifest.alarm_threshold,
        },
    }


def to_table(evaluation: Evaluation) -> Table:
    """Return the figures as a table."""
    table = Table(title=f"{evaluation.images} images of {evaluation.patients} patients", title_justify="left")
    for heading, justify in (("figure", "left"), ("value", "right"), ("95 % interval", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for key in KEYS:
        figure = evaluation.figures[key]
        table.add_row(key, _number(figure.value), f"{_number(figure.low)} - {_number(figure.high)}")
    table.add_row("false_alarm_rate", _number(evaluation.false_alarm_rate), "")
    table.caption = (
        "false_alarm_rate: share of all-normal patients for whom the alarm is raised, which happens when more than "
        f"{evaluation.manifest.alarm_rate:.0%} of a patient's images look positive"
    )
    table.caption_justify = "left"
    table.add_row("uncertain", _number(evaluation.uncertain), "")
    p50, p95 = (percentile(evaluation.response_ms, share) for share in (50, 95))
    table.add_row("response_time_ms", f"{p50:.1f}", f"95th percentile {p95:.1f}")
    return table


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"
