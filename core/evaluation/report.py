"""An evaluation as JSON and as a table for a terminal."""

import math

from rich.table import Table

from core.evaluation.evaluate import PSEUDO_PATIENTS, Evaluation, percentile
from core.evaluation.external import External
from core.learning.metric_sums import PSEUDO_PATIENT_CELLS
from core.learning.metrics import REPLICATES, SEED, Figure, as_json
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


BASELINE_KEYS = ("accuracy", "balanced_accuracy", "f1", "mcc", "auc")


def to_json(evaluation: Evaluation, external: External | None = None) -> dict[str, object]:
    """Return everything of an evaluation, and of the external images if there are any, as JSON values."""
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
        "gate_refused": evaluation.gate_refused,
        "prediction_sets": {
            "promised": manifest.coverage,
            "coverage": evaluation.coverage.share,
            "by_class": {
                name: None if math.isnan(share) else share
                for name, share in zip(manifest.classes, evaluation.coverage.by_class, strict=True)
            },
            "mean_size": evaluation.coverage.size,
            "single": evaluation.coverage.single,
        },
        "auc_by_modality": as_json(evaluation.by_modality),
        "colour_baseline": as_json(evaluation.baseline, BASELINE_KEYS) if evaluation.baseline else None,
        "external": _external_json(external) if external else None,
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


def to_table(evaluation: Evaluation, external: External | None = None) -> Table:
    """Return the figures as a table, colour alone beside them where it was fitted."""
    table = Table(title=f"{evaluation.images} images of {evaluation.patients} patients", title_justify="left")
    for heading, justify in (
        ("figure", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("colour alone", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for key in KEYS:
        colour = _number(evaluation.baseline[key].value) if evaluation.baseline and key in BASELINE_KEYS else ""
        table.add_row(key, *_row(evaluation.figures[key]), colour)
    for modality, figure in evaluation.by_modality.items():
        table.add_row(f"auc {modality}, any finding", *_row(figure))
    coverage = evaluation.coverage
    table.add_row(
        "prediction sets", _number(coverage.share), f"promised {evaluation.manifest.coverage}, size {coverage.size:.2f}"
    )
    table.add_row("false_alarm_rate", _number(evaluation.false_alarm_rate), "")
    table.caption = (
        "false_alarm_rate: share of all-normal patients for whom the alarm is raised, which happens when more than "
        f"{evaluation.manifest.alarm_rate:.0%} of a patient's images look positive"
    )
    table.caption_justify = "left"
    table.add_row("uncertain", _number(evaluation.uncertain), "")
    table.add_row("gate_refused", _number(evaluation.gate_refused), "")
    p50, p95 = (percentile(evaluation.response_ms, share) for share in (50, 95))
    table.add_row("response_time_ms", f"{p50:.1f}", f"95th percentile {p95:.1f}")
    if external:
        table.add_row(f"external specificity, {external.images} images", *_row(external.specificity))
        for label, (images, share) in external.by_label.items():
            table.add_row(f"  {label}", _number(share), f"{images} images")
        table.add_row("external gate_refused", _number(external.gate_refused), "")
    return table


def _external_json(external: External) -> dict[str, object]:
    return {
        **as_json({"specificity": external.specificity}),
        "images": external.images,
        "by_label": {
            label: {"images": images, "specificity": share} for label, (images, share) in external.by_label.items()
        },
        "gate_refused": external.gate_refused,
    }


def _row(figure: Figure) -> tuple[str, str]:
    return _number(figure.value), f"{_number(figure.low)} - {_number(figure.high)}"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"
