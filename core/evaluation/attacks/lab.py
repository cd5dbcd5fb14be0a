"""Runs attacks one after the other, keeps each one's result, and goes on where a run was stopped."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.evaluation.attacks import (
    access,
    inversion,
    membership,
    model_inversion,
    objects,
    poisoning,
    properties,
    reconstruction,
    stored_images,
    tampering,
)
from core.evaluation.attacks.bench import Bench, Profile
from core.evaluation.attacks.pictures import Pictures, Say, read_halves
from core.evaluation.attacks.result import Attacked, summary
from core.imaging.sources import INDEX_NAME
from core.studies import Study

Attack = Callable[[Bench], list[Attacked]]
ATTACKS: Mapping[str, Attack] = {
    inversion.NAME: inversion.attack,
    reconstruction.NAME: reconstruction.attack,
    membership.NAME: membership.attack,
    properties.NAME: properties.attack,
    model_inversion.NAME: model_inversion.attack,
    stored_images.NAME: stored_images.attack,
    tampering.NAME: tampering.attack,
    objects.NAME: objects.attack,
    access.NAME: access.attack,
    poisoning.NAME: poisoning.attack,
}


def run(
    folder: Path,
    study: Study,
    out: Path,
    *,
    profile: Profile,
    seed: int,
    only: Sequence[str] = (),
    say: Say,
    begun: Say = lambda _name, _before, _total: None,
) -> dict[str, Any]:
    """Try the attacks and return what `out`/attacks.json then holds: all results there are, and the summary.

    An attack that was tried before with the same pictures, profile and seed is not tried again.

    Args:
        folder: a data set with ``index.csv``.
        study: what it is for.
        out: results are written here, below ``attacks``, and all together to ``attacks.json``.
        profile: how often each attack is tried.
        seed: fixes what is drawn.
        only: names of the attacks to try; all by default.
        say: told what is going on.
        begun: told of each attack as it begins: (name, attacks before it, attacks in all).

    Raises:
        DatasetRefused: the folder cannot be used, or has too few pictures for these attacks.
        RunRefused: a federated run failed that should not have.
    """
    made_of = _made_of(folder, study, profile, seed)
    folder_of_results = out / "attacks"
    folder_of_results.mkdir(parents=True, exist_ok=True)
    halves: tuple[Pictures, Pictures] | None = None
    chosen = tuple(only or ATTACKS)
    for number, name in enumerate(chosen):
        begun(name, number, len(chosen))
        if _read(folder_of_results / f"{name}.json", made_of) is not None:
            continue
        halves = halves or read_halves(folder, study, count=profile.pictures, seed=seed, say=say)
        bench = Bench(
            own=halves[0],
            theirs=halves[1],
            study=study,
            profile=profile,
            seed=seed,
            out=out,
            folder=folder_of_results / "held" / made_of["of"][:16],
            say=say,
        )
        started = time.perf_counter()
        found = ATTACKS[name](bench)
        share = (time.perf_counter() - started) / len(found)
        _write(
            folder_of_results / f"{name}.json",
            [{**made_of, **replace(one, seconds=round(share, 1)).to_json()} for one in found],
        )
    results = [
        one for name in ATTACKS for one in _read(folder_of_results / f"{name}.json", made_of) or list[Attacked]()
    ]
    whole = {**made_of, "summary": summary(results), "attacks": [one.to_json() for one in results]}
    _write(out / "attacks.json", whole)
    return whole


def _made_of(folder: Path, study: Study, profile: Profile, seed: int) -> dict[str, str]:
    """What results depend on: they count again only where all of it is the same."""
    index = hashlib.sha256((folder / INDEX_NAME).read_bytes()).hexdigest()
    whole = hashlib.sha256(f"{index}/{study.name}/{profile.name}/{seed}".encode()).hexdigest()
    return {"data": folder.resolve().name, "study": study.name, "profile": profile.name, "index": index, "of": whole}


def _read(path: Path, made_of: Mapping[str, str]) -> list[Attacked] | None:
    if not path.exists():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))
    if any(row.get(name) != value for row in rows for name, value in made_of.items()):
        return None
    return [Attacked.from_json({name: row[name] for name in row if name not in made_of}) for row in rows]


def _write(path: Path, values: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
