"""Does a step of preprocessing help? Colour histograms and logistic regression, split by patient; no network.

``python -m benchmarks.preprocessing FOLDER``; a quick look, not the ablation with the network itself.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.imaging.datasets import Part, read_index, split_by_patient
from core.imaging.decode import Pixels, decode_upload
from core.imaging.preprocess import normalise, preprocess
from core.studies import LEUKEMIA, Preprocessing

BINS = 24
SEEDS = range(4)
CHOICES = {
    "nothing": (Preprocessing(), False),
    "min-max": (Preprocessing(), True),
    "min-max, CLAHE": (Preprocessing(clahe=True), True),
    "min-max, bilateral": (Preprocessing(bilateral=True), True),
    "min-max, CLAHE, bilateral": (Preprocessing(clahe=True, bilateral=True), True),
}


def histograms(pictures: list[Pixels], options: Preprocessing, *, stretch: bool) -> NDArray[np.float64]:
    """Return the square roots of each channel's histogram, n x 72."""
    rows = []
    for pixels in pictures:
        square = preprocess(pixels, LEUKEMIA.input_size, options)
        values = normalise(square[None])[0] if stretch else square.astype(np.float32) / 255
        rows.append(np.concatenate([np.histogram(values[..., c], BINS, (0, 1))[0] for c in range(3)]))
    return np.sqrt(np.array(rows) / LEUKEMIA.input_size**2)


def main(folder: Annotated[Path, typer.Argument(help="Folder with index.csv.")]) -> None:
    """Print the AUC on patients not trained on, per choice and seed of the split."""
    records = read_index(folder, LEUKEMIA)
    files = [(folder / record.path).read_bytes() for record in records]
    pictures = [decode_upload(data, max_bytes=2**26, max_pixels=40_000_000).pixels for data in files]
    labels = np.array([record.label_index for record in records])
    for name, (options, stretch) in CHOICES.items():
        features, scores = histograms(pictures, options, stretch=stretch), []
        for seed in SEEDS:
            trained = {record.path for record in split_by_patient(records, seed=seed)[Part.TRAINING]}
            inside = np.array([record.path in trained for record in records])
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.3))
            model.fit(features[inside], labels[inside])
            scores.append(roc_auc_score(labels[~inside], model.predict_proba(features[~inside])[:, 1]))
        print(f"{name}: mean AUC {np.mean(scores):.3f}, by split {np.round(scores, 3).tolist()}")


if __name__ == "__main__":
    typer.run(main)
