"""Makes the tables step by step: what is finished in the folder is not done again, whatever stopped it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import SystemClock
from core.diagnosis.checkpoint_file import load_checkpoint
from core.evaluation.evaluate import evaluate
from core.evaluation.held_out import judged_arrays, judged_from
from core.evaluation.report import to_json
from core.evaluation.tables.attacks import read_attacks
from core.evaluation.tables.environment import commit, environment
from core.evaluation.tables.material import Materials
from core.evaluation.tables.methods import COMPARED, Method, Workshop, make
from core.evaluation.tables.question import Question
from core.evaluation.tables.report import write_report
from core.evaluation.tables.response import response_times
from core.evaluation.tables.summaries import ablation, comparison, security
from core.evaluation.tables.workbook import Arrays, Workbook
from core.learning.metrics import Judged
from core.learning.weights import Weights, decode_weights, encode_weights
from core.settings import Settings
from federated.shares import Say

Result = tuple[dict[str, Any], Arrays | None]
Steps = dict[str, Callable[[], Result]]
Begun = Callable[[str, int, int], None]
METRICS, RESPONSE = "metrics", "response"


def make_tables(question: Question, out: Path, *, say: Say, begun: Begun) -> Path:
    """Do what is not done yet, and write tables and report; return the report's path.

    Args:
        question: what is asked.
        out: folder of the tables; steps that are finished there are kept.
        say: told of the progress within a step: (what, done, total).
        begun: told of each step as it begins: (name, steps before it, steps in all).

    Raises:
        InvalidInput: the folder holds tables of another question, or an attack's result that cannot be read.
        DatasetRefused: the data do not allow it.
        RunRefused: a federated run failed; the text says why.
    """
    workbook = Workbook(out, question.to_json())
    _finish(_measured(question, say) | _trainings(question, workbook, question.profile.seeds, say), workbook, begun)
    return _conclude(question, workbook)


def train_seed(question: Question, seed: int, out: Path, *, say: Say, begun: Begun) -> None:
    """Do the trainings of one seed of the profile, so that processes with a seed each share the work of a folder.

    Two such processes keep two cores busier than one with two threads. `make_tables` does what is left, afterwards.

    Raises:
        As `make_tables`.
    """
    workbook = Workbook(out, question.to_json())
    _finish(_trainings(question, workbook, (seed,), say), workbook, begun)


def judged_by(workbook: Workbook, method: Method, seed: int) -> Judged:
    """Return the answers that a finished step kept."""
    return judged_from(workbook.arrays(method.step(seed)))


def _finish(steps: Steps, workbook: Workbook, begun: Begun) -> None:
    """Do the steps that the workbook does not have."""
    for number, (name, step) in enumerate(steps.items()):
        begun(name, number, len(steps))
        if not workbook.has(name):
            started, worked = time.perf_counter(), time.process_time()
            result, arrays = step()
            made = {"commit": commit(), "at": SystemClock().now().isoformat(), **environment()}
            made["seconds"] = round(time.perf_counter() - started, 2)
            made["processor_s"] = round(time.process_time() - worked, 2)
            workbook.write(name, {**result, "made": made}, arrays)


def _measured(question: Question, say: Say) -> Steps:
    """Return the steps of the checkpoint. They come first: time is measured before TensorFlow is loaded here."""
    return {
        METRICS: lambda: (_metrics(question, say), None),
        RESPONSE: lambda: (_response(question, say), None),
    }


def _trainings(question: Question, workbook: Workbook, seeds: Sequence[int], say: Say) -> Steps:
    """Return the steps that train and judge, seed by seed."""

    def weights_of(method: Method, seed: int) -> Weights:
        return decode_weights(workbook.arrays(method.step(seed))["weights"].tobytes())[0]

    shop = Workshop(
        study=question.study,
        budget=question.budget,
        materials=Materials(folder=question.data, records=question.records, say=say),
        weights_of=weights_of,
        say=say,
    )

    def trained(method: Method, seed: int) -> Callable[[], Result]:
        return lambda: _trained(method, seed, shop)

    return {method.step(seed): trained(method, seed) for seed in seeds for method in Method}


def _metrics(question: Question, say: Say) -> dict[str, Any]:
    model = load_checkpoint(question.checkpoint, settings=Settings(), at=SystemClock().now())
    found = evaluate(
        model,
        question.data,
        patients=question.judged_patients(),
        most=question.profile.images,
        progress=lambda done, total: say("judging the checkpoint", done, total),
    )
    return to_json(found)


def _response(question: Question, say: Say) -> dict[str, Any]:
    return response_times(
        [question.data / record.path for record in question.records],
        question.profile.uploads,
        checkpoint=question.checkpoint,
        progress=lambda done, total: say("uploading", done, total),
    )


def _trained(method: Method, seed: int, shop: Workshop) -> Result:
    outcome = make(method, seed, shop)
    facts = outcome.facts | {"method": method.value, "seed": seed}
    facts["parts"] = shop.materials.of(seed, shop.study).counts()
    arrays = judged_arrays(outcome.judged)
    numbers = np.unique(arrays["patients"], return_inverse=True)[1]
    arrays["patients"] = numbers.astype(str)  # who they are is nobody's business who gets the folder
    if outcome.weights is not None:
        arrays["weights"] = np.frombuffer(encode_weights(outcome.weights, {}), np.uint8)
    return facts, arrays


def _conclude(question: Question, workbook: Workbook) -> Path:
    """Form the tables from finished steps; cheap, so that it is done anew each time."""
    study, profile = question.study, question.profile

    def of(method: Method) -> list[Judged]:
        return [judged_by(workbook, method, seed) for seed in profile.seeds]

    attacks = read_attacks(workbook.folder)
    runs = [workbook.read(Method.PROPOSED.step(seed)) for seed in profile.seeds]
    tables = {
        "comparison": comparison({method: of(method) for method in COMPARED}, study, replicates=profile.replicates),
        "ablation": ablation(of, attacks, study, replicates=profile.replicates),
        "security": security(attacks, runs, workbook.read(RESPONSE)),
        "attacks": [attack.to_json() for attack in attacks],
        "environment": environment() | {"commit": commit(), "at": SystemClock().now().isoformat()},
    }
    workbook.write("tables", tables)
    return write_report(workbook)
