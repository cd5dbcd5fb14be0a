"""From answers and measurements to the tables: comparison, ablation, security and cloud, as JSON values."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.evaluation.attacks.result import PRIVATE_VIEWS, Attacked, Figure
from core.evaluation.held_out import joined
from core.evaluation.tables.attacks import Withstood, withstood
from core.evaluation.tables.curves import curves_of
from core.evaluation.tables.intervals import TESTED, Difference, difference, drawn, with_intervals
from core.evaluation.tables.methods import ABLATED, Method
from core.learning.metrics import Floats, Judged, as_json
from core.studies import Study

GOALS = {
    "privacy_preservation": 0.9831,
    "data_integrity": 1.0,
    "access_security": 1.0,
    "cloud_efficiency_run": 0.9794,
    "cloud_efficiency_diagnosis": 0.9794,
    "latency_reduction": 0.245,
}
_READABLE = frozenset({Method.WITHOUT_ENCRYPTION, Method.WITHOUT_CLOUD_LAYER})


def comparison(judged: Mapping[Method, Sequence[Judged]], study: Study, *, replicates: int) -> list[dict[str, Any]]:
    """Return a row for each method: figures, difference of the proposed one to it, and the points of its plots."""
    values = {method: drawn(of_seeds, study, replicates=replicates) for method, of_seeds in judged.items()}
    rows = []
    for method, of_seeds in judged.items():
        row: dict[str, Any] = {"method": method.value, "figures": as_json(with_intervals(values[method]))}
        if method is not Method.PROPOSED:
            row["proposed_minus_it"] = _differences(values[Method.PROPOSED], values[method])
        rows.append(row | {"curves": curves_of(joined(of_seeds), study)})
    return rows


def ablation(
    judged: Callable[[Method], Sequence[Judged]], attacks: Sequence[Attacked], study: Study, *, replicates: int
) -> list[dict[str, Any]]:
    """Return a row for each thing that is taken away, and one for the complete method."""
    values = {method: drawn(judged(method), study, replicates=replicates) for method in ABLATED}
    rows = []
    for method, own in values.items():
        views = PRIVATE_VIEWS["plain" if method in _READABLE else "as used"]
        row: dict[str, Any] = {
            "method": "complete" if method is Method.PROPOSED else method.value,
            "figures": as_json(with_intervals(own), TESTED),
            "privacy": _share(withstood(attacks, Figure.PRIVACY, views)),
        }
        if method is not Method.PROPOSED:
            row["complete_minus_it"] = _differences(values[Method.PROPOSED], own)
        rows.append(row)
    return rows


def security(
    attacks: Sequence[Attacked], runs: Sequence[Mapping[str, Any]], response: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return each figure of the security and cloud table with its goal; those of attacks may be missing (None)."""
    shares: dict[str, dict[str, Any] | None] = {
        "privacy_preservation": _share(withstood(attacks, Figure.PRIVACY, PRIVATE_VIEWS["as used"])),
        "data_integrity": _share(withstood(attacks, Figure.INTEGRITY)),
        "access_security": _share(withstood(attacks, Figure.ACCESS)),
        "cloud_efficiency_run": {
            "share": float(np.mean([run["useful_share"] for run in runs])),
            "each": [run["useful_share"] for run in runs],
            "cryptography": float(np.mean([run["cryptography_s"] / run["run_s"] for run in runs])),
        },
        "cloud_efficiency_diagnosis": {"share": response["useful_share"], "uploads": response["n"]},
        "latency_reduction": {
            "share": response["latency_reduction"]["predict"],
            "against_a_direct_call": response["latency_reduction"]["call"],
            "uploads": response["n"],
        },
    }
    return {
        name: {"goal": goal, "measured": share, "reached": None if share is None else share["share"] >= goal}
        for name, goal in GOALS.items()
        for share in [shares[name]]
    }


def _differences(ours: Mapping[str, Floats], theirs: Mapping[str, Floats]) -> dict[str, dict[str, Any]]:
    return {key: _difference(difference(ours[key], theirs[key])) for key in TESTED}


def _difference(found: Difference) -> dict[str, Any]:
    values = {key: None if math.isnan(value) else value for key, value in asdict(found.figure).items()}
    return {**values, "p": found.p, "verdict": found.verdict.value}


def _share(found: Withstood | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
