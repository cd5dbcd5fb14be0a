"""Faults injected at random steps of real runs, and what became of each.

    python -m benchmarks.faults --faults 200 --seed 0 --json FILE

Each fault has an installation of its own (four hospitals with tiny data sets, two rounds, three tries a round), on
SQLite or MariaDB in turn, with the real worker in a process of its own; only the learner is a small one in NumPy.
Kinds come in turn, 30-second outages once in forty; the point is drawn uniformly from all messages (or writes, or
ledger lines) of an undisturbed run. A worker that has died is started again, as the app does it.

Outcomes, fixed before any code counted them:

- finished: all rounds and the serving model are there, and everything below holds.
- refused: the run ended (failed or paused) with a sentence that says why, and everything below holds.
- broken: something below does not hold.

What must hold: the run ends within 90 s and has no owner left; each finished round that was ever seen is still there,
opens for the authority, is chained to its parent, and, if all members took part, has exactly the weights of the
undisturbed run; no attempt was used before it was stored or after a later one began; no party answered a step of an
attempt twice, and its ledger knows every step it answered; a worker that was followed by another asked nobody any more;
the audit log verifies; no piece of an image, a weight or an update lies in clear in any file of the installation, in
a temporary file, or in the database; and the fault has happened.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from core.learning.orders import AggregationMode
from federated.aggregation.registry import AGGREGATIONS
from tests.environment import mysql_server
from tests.faults.arena import Arena
from tests.faults.drive import Verdict, play, play_undisturbed
from tests.faults.plan import Fault, Kind, draw

WEIGHTS = {AggregationMode.BLIND: 3.0, AggregationMode.SEALED: 1.0}
OUTCOMES = ("finished", "refused", "broken")


def main() -> None:
    """Draw, play, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[kind.name for kind in Kind], help="one kind only")
    parser.add_argument("--sqlite", action="store_true", help="SQLite only")
    parser.add_argument("--json", type=Path, help="file for the outcomes")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hemaseal-faults-") as folder, mysql_server() as url:
        arena = Arena(Path(folder), mysql_url=None if arguments.sqlite else url)
        try:
            only = Kind[arguments.only] if arguments.only else None
            verdicts = run(arena, arguments.faults, arguments.seed, only)
        finally:
            arena.close()
    result = {"faults": arguments.faults, "seed": arguments.seed, "wall_s": time.monotonic() - begun}
    result |= {
        "outcomes": table(verdicts),
        "each": [row(verdict.fault, verdict) for verdict in verdicts if verdict.fault],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


def run(arena: Arena, count: int, seed: int, only: Kind | None) -> list[Verdict]:
    """Play undisturbed runs, then `count` faults; each is printed as it is done."""
    modes = [mode for mode in WEIGHTS if mode in AGGREGATIONS]
    undisturbed = {mode: play_undisturbed(arena, mode) for mode in modes}
    for mode, verdict in undisturbed.items():
        if verdict.outcome != "finished":
            raise SystemExit(f"{mode}: a run without faults does not finish: {verdict.problems} {verdict.ran.reason}")
    faults = draw(
        count,
        seed=seed,
        journals={mode: verdict.journal for mode, verdict in undisturbed.items()},
        weights=[WEIGHTS[mode] for mode in modes],
        mysql=arena.mysql_url is not None,
        only=only,
    )
    verdicts = []
    for fault in faults:
        verdict = play(arena, fault, undisturbed[fault.mode].rounds)
        where = f"{fault.at.what} {fault.at.step} {fault.at.party}".strip() if fault.at.step else f"#{fault.at.order}"
        print(
            f"{fault.number:4} {fault.mode:6} {'mysql ' if fault.mysql else 'sqlite'} {fault.kind:50} {where:40} "
            f"{verdict.outcome:8} {verdict.ran.took_s:5.1f} s {'; '.join(verdict.problems)}",
            flush=True,
        )
        verdicts.append(verdict)
    return verdicts


def table(verdicts: list[Verdict]) -> dict[str, dict[str, int]]:
    """Print and return how many faults of each kind had which outcome."""
    counts = Counter((verdict.fault.kind, verdict.outcome) for verdict in verdicts if verdict.fault)
    rows = {kind: {outcome: counts[kind, outcome] for outcome in OUTCOMES} for kind in Kind}
    rows = {kind: row for kind, row in rows.items() if sum(row.values())}
    total = {outcome: sum(row[outcome] for row in rows.values()) for outcome in OUTCOMES}
    print(f"\n{'fault':52}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for kind, row in [*rows.items(), ("all", total)]:
        print(f"{kind:52}" + "".join(f"{row[outcome]:10}" for outcome in OUTCOMES))
    return {**{kind.value: row for kind, row in rows.items()}, "all": total}


def row(fault: Fault, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON values."""
    return {
        "number": fault.number,
        "kind": fault.kind.value,
        "mode": fault.mode.value,
        "database": "mysql" if fault.mysql else "sqlite",
        "at": {
            "what": fault.at.what.value,
            "round": fault.at.run_round,
            "step": fault.at.step,
            "party": fault.at.party,
            "order": fault.at.order,
        },
        "outcome": verdict.outcome,
        "reason": verdict.ran.reason,
        "problems": verdict.problems,
        "workers": verdict.ran.lived,
        "seconds": round(verdict.ran.took_s, 2),
    }


if __name__ == "__main__":
    main()
