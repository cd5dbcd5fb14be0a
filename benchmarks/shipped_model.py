"""Train the model that ships in models/: one seeded federated run over real and synthetic cells.

    python -m benchmarks.shipped_model --data DIR --work DIR --out models/leukemia.model

DIR is the folder of real cells with its index.csv. The images of both sources are put side by side in the work folder,
then the product's own commands do the rest: `federated simulate` (4 hospitals, sealed) and `core export-checkpoint`.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

COLUMNS = ("path", "label", "modality", "site", "patient", "source_label")
SYNTHETIC_CELLS = 1200


def merge(sources: dict[str, Path], target: Path) -> int:
    """Copy the images of several index.csv folders below `target` and write one index; returns the number of rows."""
    rows: list[dict[str, str]] = []
    for name, folder in sources.items():
        with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                path = target / name / row["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / row["path"], path)
                rows.append(
                    {key: row.get(key) or "" for key in COLUMNS}
                    | {"path": f"{name}/{row['path']}", "patient": f"{name}-{row['patient']}"}
                )
    with (target / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def run(*arguments: str) -> None:
    """Run one of the product's commands, shown as a person would type it."""
    print("$ python -m", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", *arguments], check=True)


def main() -> None:
    """Draw, merge, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=8)
    chosen = parser.parse_args()
    drawn, merged, result = (chosen.work / name for name in ("synthetic", "merged", "result"))
    run("core", "synthetic", "--out", str(drawn), "--cells", str(SYNTHETIC_CELLS), "--seed", "2026")
    print(merge({"real": chosen.data, "synthetic": drawn}, merged), "images")
    rounds = ("--rounds", str(chosen.rounds), "--mode", "sealed", "--seed", "0")
    run("federated", "simulate", "--data", str(merged), "--hospitals", "4", *rounds, "--out", str(result))
    run("core", "export-checkpoint", "--checkpoint", str(result / "checkpoint.sealed"), "--out", str(chosen.out))


if __name__ == "__main__":
    main()
