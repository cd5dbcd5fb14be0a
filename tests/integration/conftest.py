"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from core.services.app import App


@pytest.fixture
def served(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The application as pages find it, without enclaves and without the session route."""
    from pages._ui import state  # noqa: PLC0415  imports Streamlit

    monkeypatch.setattr(state, "app", lambda: app)
    yield app
    app.supervisor.stop_all()
