"""An installation at work while its parts die, hang, lose their disk, their database and the time.

    python -m benchmarks.chaos --json FILE [--minutes 30] [--seed 0] [--database mysql+pymysql://…/EMPTY_SCHEMA]

Definitions, fixed before the first run. *At work*: a demo installation of four hospitals. Four patients upload one
picture after the other, write, book and cancel; a doctor of each hospital signs what is most urgent, books and cancels;
the authority orders blind runs of two rounds, one after the other. All of them use the services in one process, the
*app*, which starts enclaves (LiteRT, the shipped model) and the federated worker, as the product does. Only the
worker's learner is a light one (softmax on tiny data sets), and its module is the tests', so that nodes can fail.

*Faults* are drawn from the seed: kinds in turns, one begins each 1 to 7 s and lasts 2 to 20 s, so that some meet. App,
worker or an enclave: killed (SIGKILL; the app is started again when the fault ends, the others by the product) or
hanging (SIGSTOP, SIGCONT). App's or worker's clock wrong by a minute, two hours or two days, either way. A node away,
late by 2 s at each step, or started again without its memory. The database away: on SQLite another holds the write
lock; on MySQL every connection to the schema is killed, over and over. The disk full: the installation's file system
(in memory) has no byte free; where mounting is not permitted, writes fail with EFBIG. A fault that finds nothing to
hit is counted as *missed*. The same seed gives the same faults; how they meet what people do differs each time.

*Invariants*. People note what they do before, and what they are told after, in a diary outside the installation, each
line on the disk before the next. Looked at every 5 s (the disk each minute) and at the end:

- no accepted upload is lost; at the end each case is opened by an enclave and shows the very picture sent, none twice.
  A patient sends a picture again only if it was refused (a refusal says that nothing was stored), or, when the answer
  was lost with the app, if it is not among the cases;
- no slot is booked twice, no patient is booked twice at a time, a confirmed booking stands, a cancelled one does not;
- a signed review is there, no case has two;
- the audit log verifies from its first entry to its signed head;
- no file and no row holds a picture, the uploaded file, a message, a note or a patient's name in clear;
- a run that has ended is whole, or says why not in words; at the end none is left under way;
- nobody met an error that the program did not foresee: what is refused is refused in words;
- after the last fault every patient's next upload is answered within 30 s, and a run that is ordered then is finished
  within 90 s; every case that waited is answered, with a result whose seals hold.

What does not hold is a *violation*, printed with seed, time and the newest faults. The bar is none.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.processes import end_tidily
from tests.faults.chaos.outcome import Outcome
from tests.faults.chaos.place import furnished
from tests.faults.chaos.play import Play
from tests.faults.chaos.schedule import draw


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="How long faults go on.")] = 30.0,
    seed: int = 0,
    database: Annotated[str, typer.Option(help="An empty MySQL schema; without it a SQLite file.")] = "",
) -> None:
    """Draw the faults, let them come, print what came of it; the status is 1 if anything did not hold."""
    end_tidily()  # and the disk is taken away
    faults = draw(seed, minutes * 60)
    with (
        tempfile.TemporaryDirectory(prefix="hemaseal-chaos-", ignore_cleanup_errors=True) as name,
        furnished(Path(name), database_url=database, own_disk=True) as place,
    ):
        print(
            f"seed {seed}: {len(faults)} faults in {minutes:g} min; a disk of its own: {place.is_own_disk}", flush=True
        )
        outcome = Play(place, seed, faults, say=lambda line: print(line, flush=True)).run()
        own_disk = place.is_own_disk
    answer: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "engine": "mysql" if database else "sqlite",
        "own_disk": own_disk,
        "seed": seed,
        "minutes": minutes,
        "faults": [str(fault) for fault in faults],
        **vars(outcome),
        "violations": [asdict(one) for one in outcome.violations],
    }
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    show(outcome)
    raise typer.Exit(1 if outcome.violations else 0)


def show(outcome: Outcome) -> None:
    """Print the figures."""
    for title, counts in (
        ("faults", outcome.happened),
        ("missed", outcome.missed),
        ("diary", outcome.noted),
        ("refusals", outcome.refusals),
        ("runs", outcome.runs),
    ):
        print(f"{title}: {_listed(counts)}")
    print(f"{outcome.cases} cases, {outcome.log_entries} log entries, {outcome.looks} looks, {outcome.starts} starts")
    print(f"after the last fault: answers after {outcome.answered_s} s, a run after {outcome.finished_s} s")
    print(f"{len(outcome.violations)} violations")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    typer.run(main)
