"""Commands: ``python -m federated`` simulate, bench, verify."""

import json
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core.learning.orders import MIN_MEMBERS, AggregationMode
from core.learning.run_choices import MAX_DEADLINE_S, MAX_PATIENCE, CombiningRule, PrivateWeights, ServerOptimiser
from core.learning.training_options import MAX_COPIES, MAX_PROXIMAL

commands = typer.Typer(add_completion=False, no_args_is_help=True, help="Federated training.")


class AssignmentName(StrEnum):
    """How patients go to hospitals."""

    PATIENTS = "patients"
    DIRICHLET = "dirichlet"
    SITE = "site"
    QUANTITY = "quantity"
    STAIN = "stain"


@commands.callback()
def _main() -> None:
    """Federated training."""


@commands.command()
def simulate(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv and its images.")],
    out: Annotated[Path, typer.Option(help="Folder for result.json, split.json and checkpoint.sealed.")],
    hospitals: Annotated[int, typer.Option(min=MIN_MEMBERS, help="Into how many the folder is divided.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 5,
    mode: Annotated[AggregationMode, typer.Option(help="How updates travel.")] = AggregationMode.BLIND,
    seed: Annotated[int, typer.Option(help="Fixes shares, split, first weights and shuffling.")] = 0,
    study: Annotated[str, typer.Option(help="Name of the study.")] = "leukemia",
    local_epochs: Annotated[int, typer.Option(min=1, help="Epochs at each hospital in each round.")] = 3,
    assignment: Annotated[AssignmentName, typer.Option(help="How patients go to hospitals.")] = AssignmentName.PATIENTS,
    alpha: Annotated[float, typer.Option(help="Of dirichlet and quantity; small values differ more.")] = 0.5,
    minimum_members: Annotated[
        int, typer.Option(min=MIN_MEMBERS, help="Fewer updates than this fail a round.")
    ] = MIN_MEMBERS,
    clinical: Annotated[bool, typer.Option(help="The images are clinical: plain mode is refused.")] = False,
    participation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the hospitals that a round asks.")
    ] = 1.0,
    deadline: Annotated[
        float,
        typer.Option(
            min=0.0, max=MAX_DEADLINE_S, help="Seconds for a round's trainings, which take turns here; 0: a day."
        ),
    ] = 0.0,
    patience: Annotated[
        int,
        typer.Option(min=0, max=MAX_PATIENCE, help="The run ends after as many rounds without a lower loss; 0: no."),
    ] = 0,
    noise_multiplier: Annotated[
        float, typer.Option(min=0.0, help="Differential privacy: noise in clipping norms; 0 trains without.")
    ] = 0.0,
    clip_norm: Annotated[float, typer.Option(help="Largest norm of one patient's gradient.")] = 1.0,
    sampling_rate: Annotated[float, typer.Option(help="Probability of each patient to be in a step.")] = 0.25,
    delta: Annotated[float, typer.Option(help="The delta of (epsilon, delta).")] = 1e-5,
    privacy_budget: Annotated[float, typer.Option(help="A hospital stops before its epsilon exceeds this.")] = 8.0,
    private_weights: Annotated[
        PrivateWeights, typer.Option(help="What private training changes; fewer weights need less noise.")
    ] = PrivateWeights.ALL,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of local training.")] = 2e-3,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of pooled features left out.")] = 0.0,
    averaging: Annotated[
        float,
        typer.Option(min=0.0, max=0.999, help="Decay a step of the mean of weights that is handed back; 0: none."),
    ] = 0.0,
    copies: Annotated[
        int, typer.Option(min=1, max=MAX_COPIES, help="Changed copies of an image that a frozen trunk looks at.")
    ] = 2,
    balance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="1: classes count alike in sum; 0: images do.")
    ] = 0.0,
    rule: Annotated[
        CombiningRule, typer.Option(help="How updates are combined; blind mode knows the mean only.")
    ] = CombiningRule.MEAN,
    malicious: Annotated[
        int, typer.Option(min=0, help="Members that trimmed-mean, krum and multi-krum take to be malicious.")
    ] = 0,
    norm_bound: Annotated[float, typer.Option(help="Of norm-bounded: largest L2 norm of an update.")] = 0.0,
    server: Annotated[
        ServerOptimiser, typer.Option(help="What is done with the combined update.")
    ] = ServerOptimiser.FEDAVG,
    server_rate: Annotated[float, typer.Option(help="The server optimiser's learning rate.")] = 1.0,
    proximal: Annotated[
        float, typer.Option(min=0.0, max=MAX_PROXIMAL, help="FedProx: pull towards the global weights.")
    ] = 0.0,
) -> None:
    """Train one model over several simulated hospitals and write figures, split and sealed checkpoint."""
    from core.clock import SystemClock
    from core.diagnosis.checkpoint_file import write_sealed
    from core.errors import HemaSealError, RunRefused
    from core.learning.backend import load_keras
    from core.learning.run_choices import Combining, PrivacyOptions, RoundRules, ServerOptions
    from core.learning.training import TrainingOptions
    from core.learning.training_options import balanced_weights
    from core.settings import Settings
    from core.studies import STUDIES
    from federated import shares as sharing
    from federated import simulation, simulation_report
    from federated.show import Screen

    begun = time.perf_counter()
    if study not in STUDIES:
        raise typer.BadParameter(f"known studies are {', '.join(STUDIES)}", param_hint="--study")
    chosen = STUDIES[study]
    privacy = None
    if noise_multiplier > 0:
        privacy = PrivacyOptions(
            noise_multiplier=noise_multiplier,
            clip_norm=clip_norm,
            sampling_rate=sampling_rate,
            delta=delta,
            budget_epsilon=privacy_budget,
            weights=private_weights,
        )
    try:
        combining = Combining(rule=rule, malicious=malicious, norm_bound=norm_bound)
        server_options = ServerOptions(optimiser=server, learning_rate=server_rate)
    except RunRefused as error:
        raise typer.BadParameter(error.public_text) from error
    options = sharing.SimulationOptions(
        hospitals=hospitals,
        rounds=rounds,
        mode=mode,
        seed=seed,
        assignment=assignment.value,
        alpha=alpha,
        minimum_members=minimum_members,
        training=TrainingOptions(
            epochs=local_epochs,
            learning_rate=learning_rate,
            proximal=proximal,
            dropout=dropout,
            averaging=averaging,
            copies=copies,
        ),
        clinical=clinical,
        round_rules=RoundRules(participation=participation, deadline_s=deadline, patience=patience),
        privacy=privacy,
        combining=combining,
        server=server_options,
    )
    clock = SystemClock()
    load_keras()  # before the bars: both use standard error
    try:
        with Screen(rounds) as screen:
            shares = sharing.share_out(data, chosen, options, screen.reading)
            if balance:
                weights = balanced_weights(shares.class_counts(chosen), strength=balance)
                options = replace(options, training=replace(options.training, class_weights=weights))
            read = time.perf_counter() - begun
            simulated = simulation.simulate(
                shares.arrays, chosen, options, clock=clock, on_event=screen.event, on_progress=screen.training
            )
        settings = Settings()
        out.mkdir(parents=True, exist_ok=True)
        sealed = simulation_report.seal_for_installation(simulated.model, settings, clock)
    except HemaSealError as error:
        print(error.public_text, file=sys.stderr)
        raise typer.Exit(1) from error
    last = simulated.model.manifest.round
    write_sealed(
        out / "checkpoint.sealed", sealed, study=chosen.name, run=simulated.run, round_number=last, sender="authority"
    )
    (out / "split.json").write_text(json.dumps(shares.split(), indent=1), encoding="utf-8")
    result = simulation_report.report(
        simulated, shares, chosen, options, command=["python", "-m", "federated", *sys.argv[1:]]
    )
    result |= {"read_s": read, "wall_s": time.perf_counter() - begun}
    (out / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    screen.summary(result, out)


@commands.command()
def bench(
    nodes: Annotated[int, typer.Option(min=MIN_MEMBERS, help="Number of members.")] = 10,
    parameters: Annotated[int, typer.Option(min=1, help="Length of each update.")] = 1_000_000,
    mode: Annotated[AggregationMode, typer.Option(help="How updates travel.")] = AggregationMode.BLIND,
    processes: Annotated[int, typer.Option(min=1, help="Processes that the nodes share.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure one round of real parties and messages, without training."""
    from federated.bench.measure import bench as measure

    figures = measure(nodes=nodes, parameters=parameters, mode=mode, processes=processes)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    for step, row in figures["phases"].items():
        print(
            f"{step:18} nodes {1000 * row['nodes_s']:9.1f} ms   slowest {1000 * row['slowest_s']:8.2f} ms   "
            f"coordinator {1000 * row['coordinator_s']:8.1f} ms"
        )
    for name in (
        "total_s",
        "critical_s",
        "figures_s",
        "seal_s",
        "round_s",
        "wall_s",
        "bytes_per_parameter",
        "coordinator_peak_mb",
    ):
        print(f"{name:20} {figures[name]:.3f}")


@commands.command()
def verify(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Published sum: .../ATTEMPT/update.")],
    root: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The authority's certificate (PEM).")],
    crl: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The authority's revocation list (DER).")],
) -> None:
    """Add the published uploads of a blind sum again and compare; needs no key and no database.

    Exit status: 0 if every signature holds and the sum is that of the uploads, else 1, and the answer says whose item
    is wrong.
    """
    from core.clock import SystemClock
    from federated.aggregation.blind.published import check_published
    from federated.aggregation.blind.record_check import PublishedBroken
    from security.certificates import Certificate, Trust
    from security.errors import SecurityError

    try:
        trust = Trust(Certificate.from_pem(root.read_bytes()), crl.read_bytes())
        checked = check_published(folder, trust, SystemClock().now())
    except (PublishedBroken, SecurityError) as broken:
        print(f"NOT VERIFIED: {broken}.", file=sys.stderr)
        raise typer.Exit(1) from None
    print(
        f"Verified: the sum of {len(checked.members)} uploads of {checked.words} words is the one that was signed.\n"
        f"Sum '{checked.label}' of round {checked.round}, run {checked.run}, attempt {checked.attempt}, "
        f"study {checked.study}.\n"
        f"In it: {', '.join(checked.members)}.\n"
        f"Dropped out before uploading: {', '.join(checked.dropped) or 'nobody'}.\n"
        f"SHA-256 of the sum: {checked.sha256}"
    )


if __name__ == "__main__":
    commands(prog_name="python -m federated")
