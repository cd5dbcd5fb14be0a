"""How long an answer takes: uploads through the service beside the conventional way, measured in the same run.

Definitions: docs/results.md, "Security and cloud". The conventional server is a process of its own
(`core.evaluation.tables.central_server`) on the same machine and the same database.
"""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from core.diagnosis.checkpoint_file import read_file
from core.errors import HemaSealError, ImageRefused, InvalidInput
from core.evaluation.respond import Progress, Uploader, quantiles
from core.evaluation.tables.central_server import WAYS
from core.evaluation.throwaway import serving_installation
from core.settings import ROOT

WARM_UP = 5
OURS = "ours"
NETWORK_STAGES = ("enclave.preprocess", "enclave.infer", "enclave.heat_map")
_PATIENCE_S = 60


def response_times(
    files: Sequence[Path],
    n: int,
    *,
    checkpoint: Path,
    database_url: str = "",
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Send pictures through the service and through a conventional server, in drawn order.

    Args:
        files: pictures of the checkpoint's study; drawn without replacement while they last.
        n: pictures that are timed.
        checkpoint: model file, with weights.
        database_url: an empty MySQL schema; "" makes a SQLite file.
        seed: of all draws.
        progress: called with (done, n).

    Returns:
        Milliseconds of each way (``ours``, ``predict``, ``call``) and of our stages, as JSON values.

    Raises:
        InvalidInput: the gate refuses all pictures.
        CheckpointRefused: the model file cannot be used.
        HemaSealError: the conventional server does not start or does not answer.
    """
    rng = np.random.default_rng(seed)
    order = [files[i] for i in rng.permutation(len(files))]
    with (
        tempfile.TemporaryDirectory(prefix="hemaseal-response-") as folder,
        serving_installation(Path(folder) / "var", database_url=database_url, checkpoint=checkpoint) as app,
        conventional_server(checkpoint, app.engine.url.render_as_string(hide_password=False)) as port,
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as line,
    ):
        uploader = Uploader(app, read_file(checkpoint).study)
        cold, refused = uploader.start_enclaves(path.read_bytes() for path in order)
        times: dict[str, list[float]] = {way: [] for way in (OURS, *WAYS)}
        stages: list[dict[str, float]] = []
        position, in_row = 0, 0
        while len(stages) < n + WARM_UP:
            data = order[position % len(order)].read_bytes()
            position += 1
            took: dict[str, float] = {}
            try:
                for way in rng.permutation([OURS, *WAYS]):
                    if way == OURS:
                        took[OURS], inside = uploader.upload(data)
                    else:
                        took[str(way)] = _asked(line, data, str(way))
            except ImageRefused:
                refused, in_row = refused + 1, in_row + 1
                if in_row > len(order):
                    raise InvalidInput("the gate refuses these images") from None
                continue
            in_row = 0
            stages.append(inside)
            for way, milliseconds in took.items():
                times[way].append(milliseconds)
            progress(max(0, len(stages) - WARM_UP), n)
        engine = app.engine.dialect.name
    return _figures({way: of_way[WARM_UP:] for way, of_way in times.items()}, stages[WARM_UP:]) | {
        "first_ms": round(cold[0], 2),
        "refused": refused,
        "database": engine,
        "warm_up": WARM_UP,
    }


def reduction(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the latency reduction: 1 minus the quotient of the medians."""
    return 1.0 - float(np.median(ours)) / float(np.median(theirs))


def useful_share(stages: dict[str, float]) -> float:
    """Return the share of an upload's time that the enclave spent on preprocessing, network and heat map."""
    return sum(stages.get(name, 0.0) for name in NETWORK_STAGES) / stages["total"]


def _figures(times: dict[str, list[float]], stages: list[dict[str, float]]) -> dict[str, Any]:
    names = sorted({name for inside in stages for name in inside})
    return {
        "n": len(stages),
        "ways": {
            way: {**asdict(quantiles(of_way)), "each_ms": np.round(of_way, 3).tolist()} for way, of_way in times.items()
        },
        "stages": {name: asdict(quantiles([inside.get(name, 0.0) for inside in stages])) for name in names},
        "latency_reduction": {way: reduction(times[OURS], times[way]) for way in WAYS},
        "useful_share": float(np.median([useful_share(inside) for inside in stages])),
    }


def _asked(line: http.client.HTTPConnection, data: bytes, way: str) -> float:
    started = time.perf_counter()
    line.request("POST", f"/{way}", body=data)
    reply = line.getresponse()
    reply.read()
    if reply.status != http.client.OK:
        raise HemaSealError(f"the conventional server answered {reply.status}")
    return (time.perf_counter() - started) * 1e3


@contextmanager
def conventional_server(checkpoint: Path, database_url: str) -> Iterator[int]:
    """Start the conventional server and yield its port; it ends with the block.

    Raises:
        HemaSealError: it does not start.
    """
    words = [sys.executable, "-m", "core.evaluation.tables.central_server"]
    words += ["--checkpoint", str(checkpoint.resolve())]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        to_it, from_it = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        print(database_url, file=to_it, flush=True)
        port = from_it.readline().strip()
        if not port.isdigit():
            raise HemaSealError("the conventional server did not start")
        yield int(port)
