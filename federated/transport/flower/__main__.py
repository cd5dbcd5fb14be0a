"""Command: ``python -m federated.transport.flower``, the demonstration of `make flower-demo`."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from core.learning.orders import AggregationMode

commands = typer.Typer(add_completion=False)
SLUGS = ("north", "east", "south", "west")


@commands.command()
def demo(
    mode: Annotated[AggregationMode, typer.Option(help="How updates travel.")] = AggregationMode.BLIND,
    hospitals: Annotated[int, typer.Option(min=3, max=len(SLUGS), help="Number of members.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 1,
    train: Annotated[
        bool, typer.Option(help="Train the network with TensorFlow, not the small NumPy learner.")
    ] = False,
    binaries: Annotated[Path, typer.Option(help="Folder of Flower's commands.")] = Path(".venv-flower/bin"),
) -> None:
    """Play a run over Flower's SuperLink and SuperNodes with TLS, then the same in one process, and compare."""
    from core.imaging.synthetic import STYLES, generate_arrays
    from core.learning.run_events import EventKind
    from core.learning.training import TrainingOptions
    from core.studies import LEUKEMIA
    from federated import softmax
    from federated.shares import SimulationOptions
    from federated.simulation import order_options, simulate
    from federated.store import Event
    from federated.transport.flower.demo import DemoFailed, demonstrate
    from federated.transport.flower.network import FlowerFailed
    from federated.transport.flower.party import learner_for

    begun = time.perf_counter()
    data = {
        slug: generate_arrays(patients=9, cells_per_patient=6, style=STYLES[slug], seed=number)
        for number, slug in enumerate(SLUGS[:hospitals])
    }
    chosen = SimulationOptions(
        hospitals=hospitals, rounds=rounds, mode=mode, training=TrainingOptions(epochs=2, batch=8)
    )
    options, learner = order_options(data, LEUKEMIA, chosen), LEUKEMIA.architecture if train else softmax.NAME

    def tell(event: Event) -> None:
        at = f"{time.perf_counter() - begun:6.1f} s  "
        if event.kind is EventKind.ANSWERED:
            print(f"{at}round {event.round}  {event.payload['step']:<16} {event.party}", flush=True)
        elif event.kind in {EventKind.FAILED, EventKind.RUN_FAILED}:
            print(f"{at}round {event.round}  {event.kind}  {event.party}  {dict(event.payload)}", flush=True)
        elif event.kind is EventKind.ROUND_FINISHED:
            print(f"{at}round {event.round} finished", flush=True)

    print(f"{hospitals} hospitals, mode {mode}, {rounds} round(s), {learner}; starting Flower with TLS ...")
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        try:
            shown = demonstrate(
                data, options, learner=learner, folder=Path(name), binaries=binaries.resolve(), on_event=tell
            )
        except (DemoFailed, FlowerFailed) as failed:
            for log in sorted(Path(name).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}")
            raise SystemExit(str(failed)) from failed
    hashes = [model.wire.weights_sha256 for model in shown.models]
    for model in shown.models:
        print(f"round {model.round}: weights {model.wire.weights_sha256}")
    print(f"start {shown.start_s:.1f} s, run {shown.run_s:.1f} s, all {time.perf_counter() - begun:.1f} s")
    alone = simulate(data, LEUKEMIA, chosen, learner=learner_for(learner, LEUKEMIA))
    same = alone.model.manifest.weights_sha256 == hashes[-1]
    print(
        f"the same run in one process ends with {'the same weights' if same else alone.model.manifest.weights_sha256}"
    )
    print(f"largest difference of a metric: {_difference(shown.models[-1].metrics, alone.rounds[-1].metrics):.6f}")


def _difference(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return max(abs(one[name] - other[name]) for name in one.keys() & other.keys())


if __name__ == "__main__":
    commands(prog_name="python -m federated.transport.flower")
