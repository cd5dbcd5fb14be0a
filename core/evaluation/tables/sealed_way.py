"""The Secure CNN: a network with sealed storage and serving around it, by the product's own seals.

Its training images are sealed and opened, its weights travel as a sealed model, and each test image is sealed as a
patient's is. Parties have throw-away keys.
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import SystemClock
from core.diagnosis.bundle import ServingModel, make_serving_model
from core.diagnosis.checkpoint_file import open_model, seal_model
from core.diagnosis.predictor import Predictor
from core.diagnosis.wire import image_context
from core.errors import DatasetRefused
from core.evaluation.answers import decoded
from core.evaluation.tables.material import Material
from core.imaging.archive import Archive, open_dataset, seal_dataset
from core.imaging.datasets import Part
from core.learning.export import export_litert
from core.learning.metric_sums import Summary, summarise
from core.learning.metrics import Judged
from core.learning.orders import APP, AUTHORITY
from core.learning.training import Trainer
from core.learning.weights import Weights
from core.studies import STUDIES, Study
from federated.shares import Say
from federated.throwaway import ThrowAwayKeys
from security.identity import Identity
from security.sealing import open_sealed, seal

RUN = hashlib.sha256(b"hemaseal/tables/secure-cnn").hexdigest()[:32]
EVEN = 0.5


def judged_sealed(
    material: Material, study: Study, weights: Weights, trainer: Trainer, say: Say
) -> tuple[Judged, dict[str, Any]]:
    """Return the answers to the test part, and how much was sealed.

    Args:
        material: images of a seed.
        study: the study with the network's architecture.
        weights: trained on the same images, unsealed.
        trainer: of that architecture.
        say: told of the progress.

    Raises:
        DatasetRefused: what was opened is not what was sealed.
        CheckpointRefused: the network cannot be exported or loaded.
    """
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="hemaseal-secure-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=clock)
        app, node, enclave = (keys.enrol(party) for party in (APP, "north.training", "north.serving"))
        stored = _stored(material, study, app=app, node=node, keys=keys)
        model = _model(material, study, weights, trainer)
        sealed = seal_model(model, sender=keys.enrol(AUTHORITY), recipients=[enclave.sealing_certificate])
        opened = open_model(
            sealed, recipient=enclave, trust=keys.trust(), study=study.name, run=RUN, sender=AUTHORITY, at=clock.now()
        )
        predictor = Predictor(opened)
        probabilities = []
        for number, record in enumerate(material.test_records):
            context = image_context(study=study.name, case_id=f"{number:032x}")
            data = (material.folder / record.path).read_bytes()
            image = seal(data, sender=app, recipients=[enclave.sealing_certificate], context=context)
            plain = open_sealed(
                image, recipient=enclave, trust=keys.trust(), context=context, sender=APP, at=clock.now()
            )
            probabilities.append(predictor.predict(decoded(plain)).probabilities)
            say("judging sealed images", number + 1, len(material.test_records))
    found = np.array(probabilities)
    judged = Judged(
        labels=np.array([record.label_index for record in material.test_records]),
        predicted=found.argmax(axis=1),
        probabilities=found,
        alarming=np.zeros(len(found), bool),
        patients=tuple(record.patient for record in material.test_records),
    )
    return judged, {"sealed_training_bytes": stored, "sealed_model_bytes": len(sealed), "sealed_images": len(found)}


def _stored(material: Material, study: Study, *, app: Identity, node: Identity, keys: ThrowAwayKeys) -> int:
    """Seal and open each hospital's data set; return the bytes that lay sealed."""
    total, recipient = 0, node.sealing_certificate
    with tempfile.TemporaryDirectory(prefix="hemaseal-tables-") as folder:
        for hospital, arrays in material.hospitals.items():
            file, archive, at = Path(folder, f"{hospital}.sealed"), Archive(arrays, "public"), SystemClock().now()
            seal_dataset(file, archive, sender=app, recipient=recipient, study=study, dataset_id=hospital)
            opened = open_dataset(
                file, node=node, trust=keys.trust(), study=study, dataset_id=hospital, at=at, sender=APP
            ).arrays
            if not (np.array_equal(opened.images, arrays.images) and np.array_equal(opened.labels, arrays.labels)):
                raise DatasetRefused("a sealed data set opened to other images")
            total += file.stat().st_size
    return total


def _model(material: Material, study: Study, weights: Weights, trainer: Trainer) -> ServingModel:
    """Return the network as it is served, without calibration and at even odds."""
    validation = material.together(Part.VALIDATION)
    summary: Summary = replace(
        summarise(trainer.evaluate(weights, validation.pixels, validation.labels), study),
        temperature=1.0,
        positive_temperature=1.0,
        positive_offset=0.0,
        threshold=EVEN,
        uncertain_low=EVEN,
        uncertain_high=EVEN,
        alarm_threshold=EVEN,
    )
    return make_serving_model(
        weights=weights,
        litert=export_litert(weights, study.architecture, study),
        architecture=study.architecture,
        study=STUDIES[study.name],
        summary=summary,
        run_id=RUN,
        round_number=1,
        members=(),
    )
