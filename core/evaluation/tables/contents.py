"""What the finished tables of a folder say, in order, as blocks: read from its steps alone, however they are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.evaluation.report import KEYS as METRIC_KEYS
from core.evaluation.tables.blocks import Block, Heading, Sentence, Table
from core.evaluation.tables.figures import between, curve_plots, interval_plots, number
from core.evaluation.tables.intervals import KEYS, TESTED
from core.evaluation.tables.workbook import Workbook
from core.studies import STUDIES

TITLES = {
    "mcc": "MCC",
    "jaccard": "Jaccard",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "kappa",
    "auc": "AUC",
    "dri": "DRI",
    "privacy_preservation": "privacy preservation",
    "data_integrity": "data integrity",
    "access_security": "access security",
    "cloud_efficiency_run": "cloud efficiency, run",
    "cloud_efficiency_diagnosis": "cloud efficiency, diagnosis",
    "latency_reduction": "latency reduction",
}
WAYS = {
    "ours": "ours, sealed, to the stored result",
    "predict": "conventional, Keras predict",
    "call": "conventional, network called directly",
}
NOTICE = "Research use. Not a medical device. Definitions: docs/results.md, “Tables of the papers”."
NOT_MEASURED = "not measured"
_ABBREVIATED = len("mcc")
NO_ATTACKS = "Privacy, integrity and access: not measured, for the attack lab has left no results beside these tables."


def contents(workbook: Workbook) -> list[Block]:
    """Return headings, sentences, tables and plots of a folder whose tables are made."""
    tables, made, asked = workbook.read("tables"), workbook.made(), workbook.question
    response, classes = made["response"], STUDIES[asked["study"]].class_names
    return [
        Sentence(NOTICE, is_notice=True),
        *_metrics(made["metrics"], response),
        *_comparison(tables["comparison"], classes),
        *_ablation(tables["ablation"]),
        *_security(tables["security"], tables["attacks"], response),
        *_origin(asked, tables["environment"], made),
    ]


def _metrics(found: Mapping[str, Any], response: Mapping[str, Any]) -> list[Block]:
    rows = [(_titled(key), number(found[key]["value"]), between(found[key])) for key in METRIC_KEYS]
    rows.append(("False alarm rate", number(found["false_alarm_rate"]), ""))
    ours = response["ways"]["ours"]
    late = f"95th percentile {ours['p95_ms']:.0f} ms"
    rows.append(("Response time, upload to result", f"{ours['p50_ms']:.0f} ms", late))
    caption = f"{found['images']} images of {found['patients']} patients, {response['n']} uploads"
    return [Heading("Table of metrics"), Table(caption, ("Figure", "Value", "95 % interval"), rows)]


def _comparison(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[Block]:
    figures = [(row["method"], *(with_interval(row["figures"][key]) for key in KEYS)) for row in rows]
    tested = [
        (f"{row['method']}, {TITLES[key]}", *difference_cells(row["proposed_minus_it"][key]))
        for row in rows
        if "proposed_minus_it" in row
        for key in TESTED
    ]
    caption, titles = "Mean over the seeds, 95 % interval over patients and seeds", [TITLES[key] for key in KEYS]
    heads = ("method and figure", "difference", "p", "Proposed is")
    return [
        Heading("Comparison of methods"),
        Table(caption, ("method", *titles), figures),
        Table("Proposed minus the other method, paired", heads, tested),
        *interval_plots(rows, {key: TITLES[key] for key in TESTED}),
        *curve_plots(rows, classes),
    ]


def _ablation(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    cells = [
        (
            row["method"],
            *(with_interval(row["figures"][key]) for key in TESTED),
            NOT_MEASURED if row["privacy"] is None else share_text(row["privacy"]),
            *(_minus(row, key) for key in TESTED),
        )
        for row in rows
    ]
    heads = ("what is taken away", "MCC", "AUC", "privacy", "complete minus it, MCC; p", "complete minus it, AUC; p")
    return [Heading("Ablation"), Table("Proposed but for one thing", heads, cells)]


def _minus(row: Mapping[str, Any], key: str) -> str:
    """Return how much better the complete method is; nothing in its own row."""
    return " ".join(difference_cells(row["complete_minus_it"][key])) if "complete_minus_it" in row else ""


def _security(
    figures: Mapping[str, Any], attacks: Sequence[Mapping[str, Any]], response: Mapping[str, Any]
) -> list[Block]:
    rows = [
        (
            TITLES[name],
            NOT_MEASURED if one["measured"] is None else share_text(one["measured"]),
            percent(one["goal"]),
            {None: "", True: "reached", False: "missed"}[one["reached"]],
        )
        for name, one in figures.items()
    ]
    keys = ("attack", "figure", "view", "trials", "successes")
    tried: Block = Sentence(NO_ATTACKS)
    if attacks:
        tried = Table("Attacks that were run", keys, [[one[key] for key in keys] for one in attacks])
    timed = {WAYS[way]: one for way, one in response["ways"].items()}
    return [
        Heading("Security and cloud"),
        Table("Security and cloud", ("figure", "measured", "goal", "outcome"), rows),
        tried,
        _milliseconds(f"Milliseconds of {response['n']} pictures, each by all three ways", timed),
        _milliseconds("Milliseconds of our stages", response["stages"]),
    ]


def _milliseconds(caption: str, timed: Mapping[str, Mapping[str, float]]) -> Table:
    rows = [(name, f"{one['p50_ms']:.1f}", f"{one['p95_ms']:.1f}") for name, one in timed.items()]
    return Table(caption, ("what", "median", "95th percentile"), rows)


def _origin(question: Mapping[str, Any], here: Mapping[str, Any], made: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    asked = [(key.replace("_", " "), value) for key, value in question.items()]
    machine = [
        ("commit", here["commit"]),
        ("made", here["at"]),
        ("processor", f"{here['processor']}, {here['cores']} cores"),
        ("system", here["system"]),
        ("Python", here["python"]),
        ("libraries", ", ".join(f"{name} {version}" for name, version in here["libraries"].items())),
    ]
    steps = [
        (name, f"{own['seconds']:.0f}", f"{own['processor_s']:.0f}", own["commit"][:12], own["at"])
        for name, own in ((name, one["made"]) for name, one in made.items())
    ]
    first = next(one for one in made.values() if "parts" in one and one["seed"] == question["seeds"][0])
    parts = [(part, counts["images"], counts["patients"]) for part, counts in first["parts"].items()]
    return [
        Heading("How this was made"),
        Table("Question", ("what", "value"), asked),
        Table("Machine and code", ("what", "value"), machine),
        Table("Images of the first seed", ("part", "images", "patients"), parts),
        Table(
            "Steps, each kept in steps/NAME.json; processor seconds without those of enclaves and servers",
            ("step", "seconds", "processor seconds", "commit", "finished"),
            steps,
        ),
    ]


def _titled(key: str) -> str:
    """Return a metric's name as a heading: the short ones are abbreviations."""
    return key.upper() if len(key) <= _ABBREVIATED else key.replace("_", " ").capitalize()


def with_interval(figure: Mapping[str, float | None]) -> str:
    """Return a figure with its interval."""
    return f"{number(figure['value'])} ({between(figure)})" if figure["low"] is not None else number(figure["value"])


def difference_cells(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a difference with interval, its p, and the verdict."""
    value = "none" if found["value"] is None else f"{found['value']:+.3f}"
    span = "" if found["low"] is None else f" ({found['low']:+.3f} to {found['high']:+.3f})"
    return value + span, f"{found['p']:.3f}", found["verdict"]


def percent(share: float) -> str:
    """Return a share in per cent with two decimals."""
    return f"{100 * share:.2f} %"


def share_text(share: Mapping[str, Any]) -> str:
    """Return a measured share with what stands behind it."""
    if "trials" in share:
        low, high, counts = percent(share["low"]), percent(share["high"]), f"{share['failed']} of {share['trials']}"
        return f"{percent(share['share'])} ({low} to {high}; {counts})"
    if "against_a_direct_call" in share:
        return f"{percent(share['share'])} (against a direct call {percent(share['against_a_direct_call'])})"
    return percent(share["share"])
