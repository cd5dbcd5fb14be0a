"""What a simulation leaves behind: the model sealed for this installation's authority, and ``result.json``."""

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.clock import Clock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import seal_model
from core.imaging.datasets import Part
from core.learning.orders import AUTHORITY
from core.learning.privacy import units_of
from core.learning.run_figures import totals_of
from core.learning.weights import decode_weights
from core.settings import Settings
from core.studies import Study
from federated.shares import Shares, SimulationOptions
from federated.simulation import Simulated
from security.authority import CertificateAuthority
from security.identity import Identity
from security.keys import KeyStore, KeyUse, MasterKey


def seal_for_installation(model: ServingModel, settings: Settings, clock: Clock) -> bytes:
    """Seal a model by and for the authority of an installation, which is made if there is none.

    Raises:
        KeyMissing: the authority's keys do not open under the master key of the settings.
    """
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    master = MasterKey.load(secret=secret, file=settings.master_key_file, create=True)
    store = KeyStore(settings.keys_dir, AUTHORITY, master)
    if not store.has(KeyUse.ISSUE):
        CertificateAuthority.create(store, clock.now())
    if not store.has(KeyUse.SEAL):
        Identity.enrol(store, CertificateAuthority.open(store), now=clock.now())
    authority = Identity.load(store)
    return seal_model(model, sender=authority, recipients=[authority.sealing_certificate])


def report(
    simulated: Simulated, shares: Shares, study: Study, options: SimulationOptions, *, command: Sequence[str]
) -> dict[str, Any]:
    """Return the content of ``result.json`` but for the durations outside the run."""
    totals = totals_of(simulated.rounds)
    weights, _ = decode_weights(simulated.model.weights or b"")
    return {
        "command": " ".join(command),
        "study": study.name,
        "mode": options.mode.value,
        "seed": options.seed,
        "hospitals": options.hospitals,
        "assignment": options.assignment,
        "alpha": options.alpha,
        "participation": options.round_rules.participation,
        "deadline_s": options.round_rules.deadline_s,
        "privacy": _privacy(simulated, shares, options),
        "combining": asdict(options.combining),
        "server": asdict(options.server),
        "proximal": options.training.proximal,
        "training": {**asdict(options.training), "class_weights": list(options.training.class_weights)},
        "local_epochs": options.training.epochs,
        "parameters": sum(array.size for array in weights.values()),
        "images": {
            hospital: {part.value: len(arrays.part(part)) for part in Part}
            for hospital, arrays in shares.arrays.items()
        },
        "patients": {
            hospital: {part: len(names) for part, names in own.items()} for hospital, own in shares.patients.items()
        },
        "rejected": len(shares.rejected),
        "rounds": [
            {
                "round": one.round,
                "metrics": one.metrics,
                "own": simulated.own.get(one.round, {}),
                "epsilon": simulated.epsilon.get(one.round, {}),
                "members": list(one.members),
                "failures": [[fault.party, fault.step, fault.code.value] for fault in one.failures],
                "bytes_up": one.bytes_up,
                "bytes_down": one.bytes_down,
                **one.seconds,
            }
            for one in simulated.rounds
            if one.round > 0
        ],
        "final": simulated.model.manifest.metrics,
        "weights_sha256": simulated.model.manifest.weights_sha256,
        "litert_bytes": len(simulated.model.litert),
        "litert_sha256": hashlib.sha256(simulated.model.litert).hexdigest(),
        "run_s": simulated.wall_s,
        **totals,
        "cryptography_share": totals["cryptography_s"] / simulated.wall_s,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "numpy": np.__version__},
    }


def _privacy(simulated: Simulated, shares: Shares, options: SimulationOptions) -> dict[str, Any] | None:
    """Return the options of differential privacy, the unit, and epsilon of each hospital at the end of the run."""
    if options.privacy is None:
        return None
    spent: dict[str, float] = {}
    for number in sorted(simulated.epsilon):
        spent |= simulated.epsilon[number]
    units = {units_of(arrays.part(Part.TRAINING).patients)[1].value for arrays in shares.arrays.values()}
    return {**asdict(options.privacy), "units": sorted(units), "epsilon": dict(sorted(spent.items()))}
