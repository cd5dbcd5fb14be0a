"""Damaged and hostile files against the one door through which pictures come in.

    python -m benchmarks.fuzz_decode --count 10000 --seed 0 --json FILE

What is counted, fixed before the code. File number i is drawn from the generator seeded with (seed, i): one of the five
kinds (PNG, JPEG, TIFF, BMP, DICOM, in turn), one of that kind's sound files, one to four kinds of damage
(`benchmarks.fuzz_mutations`). The hostile files of `benchmarks.fuzz_seeds` come first, undamaged, and count. Each file
goes to `decode_upload` with the limits of the application (20 MiB, 40 megapixels), in a child process; `--workers`
children take turns. A file ends in one of these ways:

- decoded: pixels came back, uint8[h, w, 3], within the limits;
- refused: one of the three named errors (ImageTypeRefused, ImageTooLarge, ImageBroken) was raised;
- unnamed: anything else was raised or returned;
- crashed: the child process ended;
- hung: no answer within 5 seconds of processor time of the child and of what it started, or within a minute of the
  clock (the child is killed). Processor time, since the figure must not depend on what else the machine does.

Peak memory of a file is the highest resident set of the child while it worked on it (VmHWM of Linux, reset before the
file), together with that of the process in which the child has DICOM decoded. It counts the interpreter and the
libraries, about 130 MB. Decoding processes that died of a DICOM file are counted as well: they are contained by design,
the file is refused.

Bars: 0 unnamed, 0 crashed, 0 hung, every peak under 500 MB.
"""

import json
import multiprocessing
import os
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.fuzz_mutations import mutated
from benchmarks.fuzz_seeds import hostile_files, sound_files
from core.errors import ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging import decode
from core.settings import Settings

PEAK_MB = 500
SECONDS = 5.0
CLOCK_SECONDS = 60.0
POLL_SECONDS = 0.5
NAMED = (ImageTypeRefused, ImageTooLarge, ImageBroken)
CONTAINED = "decoding process ended"


@dataclass(frozen=True)
class Trial:
    """What came of one file; seconds are of processor time."""

    name: str
    kind: str
    outcome: str
    peak_mb: float
    seconds: float


def files(seed: int, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, kind and bytes of `count` files: the hostile ones, then damaged ones."""
    hostile = hostile_files()
    for name, make in list(hostile.items())[:count]:
        yield name, name.split()[0].rstrip(",").upper(), make()
    sound = sound_files(seed)
    kinds = list(sound)
    for number in range(count - min(count, len(hostile))):
        kind = kinds[number % len(kinds)]
        yield f"{seed}/{number}", kind, mutated(np.random.default_rng((seed, number)), sound[kind], kind)


def run(seed: int, count: int, *, workers: int = 2) -> list[Trial]:
    """Put the files to the decoder and return what came of each, in their order."""
    pool = [_Child() for _ in range(workers)]
    free = list(pool)
    try:
        with ThreadPoolExecutor(workers) as threads:

            def trial(item: tuple[str, str, bytes]) -> Trial:
                child = free.pop()
                try:
                    return child.trial(*item)
                finally:
                    free.append(child)

            return list(threads.map(trial, files(seed, count)))
    finally:
        for child in pool:
            child.stop()


class _Child:
    """A process that decodes one file after the other, started again when it ended."""

    def __init__(self) -> None:
        self._process: Any = None
        self._line: Connection | None = None

    def trial(self, name: str, kind: str, data: bytes) -> Trial:
        line = self._running()
        started = time.monotonic()
        peak = spent = 0.0
        try:
            used = _processor_seconds(self._process.pid)
            line.send_bytes(data)
            while not line.poll(POLL_SECONDS):
                spent = _processor_seconds(self._process.pid) - used
                if spent > SECONDS or time.monotonic() - started > CLOCK_SECONDS:
                    self.stop()
                    return Trial(name, kind, "hung", 0.0, spent)
            outcome, peak = line.recv()
            spent = _processor_seconds(self._process.pid) - used
        except (EOFError, OSError):
            self._process.join(5)
            outcome = f"crashed ({self._process.exitcode})"
            self.stop()
        return Trial(name, kind, outcome, peak, spent)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = self._line = None

    def _running(self) -> Connection:
        if self._line is None:
            context = multiprocessing.get_context("spawn")
            self._line, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
            self._line.recv()  # it has loaded what it needs
        return self._line


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process, of those that it started, and of those of them that ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        fields = [Path(f"/proc/{one}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1] for one in (pid, *children)]
    except OSError:
        return 0.0
    return sum(int(number) for field in fields for number in field.split()[11:15]) / os.sysconf("SC_CLK_TCK")


def _serve(line: Connection) -> None:
    """The child: warm up, then answer (outcome, peak in MB) to each file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settings = Settings()
    limits = {"max_bytes": settings.max_upload_bytes, "max_pixels": settings.max_pixels}
    for ready in sound_files(0).values():
        decode.decode_upload(ready[0], **limits)
    line.send("ready")
    while True:
        try:
            data = line.recv_bytes()
        except EOFError:
            return
        processes = ["self", *([str(pid)] if (pid := decode._dicom().pid) else [])]  # noqa: SLF001
        for process in processes:
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
        outcome = _outcome(data, limits)
        if len(processes) > 1 and decode._dicom().pid is None:  # noqa: SLF001
            outcome = f"{outcome}, {CONTAINED}"
        line.send((outcome, sum(_peak_mb(process) for process in processes)))
        del data


def _outcome(data: bytes, limits: dict[str, int]) -> str:
    try:
        found = decode.decode_upload(data, **limits)
    except NAMED as error:
        return f"refused [{error.code}]"
    except BaseException as error:  # noqa: BLE001 - whatever else it is, it is a finding
        return f"unnamed {type(error).__name__}: {error}"
    pixels = found.pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:  # noqa: PLR2004
        return f"unnamed {pixels.dtype}{pixels.shape}"
    return "decoded"


def _peak_mb(process: str) -> float:
    """Return the highest resident set since the last reset; of a process that died, 0."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def summary(trials: list[Trial]) -> dict[str, Any]:
    """Return the figures of a run."""
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        by_kind[trial.kind][trial.outcome.split()[0].rstrip(",")] += 1
    failed = [trial for trial in trials if trial.outcome.split()[0] in {"unnamed", "crashed", "hung"}]
    heaviest = max(trials, key=lambda trial: trial.peak_mb)
    slowest = max(trials, key=lambda trial: trial.seconds)
    return {
        "files": len(trials),
        "decoded": sum(trial.outcome.startswith("decoded") for trial in trials),
        "refused": dict(Counter(t.outcome.split(",")[0] for t in trials if t.outcome.startswith("refused"))),
        "failed": [f"{trial.name} ({trial.kind}): {trial.outcome}" for trial in failed],
        "over_memory": [f"{trial.name}: {trial.peak_mb:.0f} MB" for trial in trials if trial.peak_mb >= PEAK_MB],
        "peak_mb": round(heaviest.peak_mb),
        "heaviest": heaviest.name,
        "slowest_s": round(slowest.seconds, 2),
        "slowest": slowest.name,
        "contained": [trial.name for trial in trials if CONTAINED in trial.outcome],
        "by_kind": {kind: dict(counts) for kind, counts in by_kind.items()},
    }


def main(
    count: Annotated[int, typer.Option(min=1, help="Number of files.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Fixes every file.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Child processes.")] = 2,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Put damaged and hostile files to the decoder; exit status 1 when any of them broke something."""
    trials = run(seed, count, workers=workers)
    figures = {"seed": seed, **summary(trials)}
    print(json.dumps(figures, indent=2))
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if figures["failed"] or figures["over_memory"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
