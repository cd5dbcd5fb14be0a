"""Fixtures of the integration tests."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.diagnosis.bundle import ServingModel
from core.learning.weights import decode_weights
from core.services.app import App
from core.studies import STUDIES


@pytest.fixture(scope="session")
def backbone_model(serving_model: ServingModel) -> ServingModel:
    """The same model, exported without its head: for studies whose heads are encrypted."""
    from core.learning.export import export_backbone  # noqa: PLC0415  imports TensorFlow

    manifest, weights = serving_model.manifest, serving_model.weights or b""
    litert = export_backbone(decode_weights(weights)[0], manifest.architecture, STUDIES[manifest.study])
    manifest = replace(manifest, litert_sha256=hashlib.sha256(litert).hexdigest())
    return ServingModel(manifest=manifest, litert=litert, weights=weights)


@pytest.fixture
def served(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The application as pages find it, without enclaves and without the session route."""
    from pages._ui import state  # noqa: PLC0415  imports Streamlit

    monkeypatch.setattr(state, "app", lambda: app)
    yield app
    app.supervisor.stop_all()
