"""Model cards: written from what is signed, or the shipped one; for models whose lineage holds alone."""

import re
from pathlib import Path

import pytest

from core.clock import FixedClock
from core.errors import CheckpointRefused, NotAuthorised, NotFound
from core.services import model_cards
from core.services.app import Actor, App
from core.services.model_cards import FIGURES, FOLDER, figure_text, model_card
from core.services.models import list_models, promote
from db.engine import session_scope
from db.models import Checkpoint
from tests.integration.page_support import draw
from tests.integration.runs_support import give_data, queue_run, worker_for


@pytest.fixture
def made(app: App, authority: Actor, clock: FixedClock) -> str:
    """A model of a finished run."""
    queue_run(app, authority, give_data(app), rounds=1)
    worker = worker_for(app.settings, clock)
    assert worker.run_one()
    worker.close()
    return list_models(app, authority)[0].id


def test_a_card_says_how_a_model_was_made_its_figures_and_its_limits(app: App, authority: Actor, made: str) -> None:
    view = list_models(app, authority)[0]
    card = model_card(app, authority, made)
    for wanted in (
        view.weights_sha256,
        "Not a medical device",
        "round 1 of a federated run in mode `sealed`",
        "East, North, South, West",
        "synthetic",
        "trained without differential privacy",
        "figures on them say nothing about patients",
        "candidate: it has not answered",
    ):
        assert wanted in card, wanted
    for name, title in FIGURES.items():
        if name in view.metrics:
            assert f"| {title} | {figure_text(view.metrics, name)} |" in card
    promote(app, authority, made)
    assert "approved by the authority, in service" in model_card(app, authority, made)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_shipped_model_has_the_card_that_was_written_for_it(
    app: App, authority: Actor, made: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = list_models(app, authority)[0].weights_sha256
    monkeypatch.setattr(model_cards, "FOLDER", tmp_path)
    (tmp_path / "a.md").write_text("weights `0000`")
    assert model_card(app, authority, made).startswith("# Model card")
    (tmp_path / "b.md").write_text(f"written by people, weights `{weights}`")
    assert model_card(app, authority, made) == f"written by people, weights `{weights}`"


@pytest.mark.parametrize("card", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_every_shipped_card_names_its_weights(card: Path) -> None:
    if card.with_suffix(".model").exists():
        assert re.search(r"`[0-9a-f]{64}`", card.read_text(encoding="utf-8"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_of_a_model_whose_lineage_does_not_hold_nothing_is_said(app: App, authority: Actor, made: str) -> None:
    with session_scope(app.engine) as session:
        session.get_one(Checkpoint, made).lineage = b"changed"
    with pytest.raises(CheckpointRefused):
        model_card(app, authority, made)
    with pytest.raises(NotFound):
        model_card(app, authority, "nowhere")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_patients_see_no_cards_and_the_page_of_models_shows_one(
    served: App, authority: Actor, patient: Actor, made: str
) -> None:
    with pytest.raises(NotAuthorised):
        model_card(served, patient, made)
    tab = draw(served, "authority/models", "demo-authority", model_card=True)
    assert not tab.exception
    assert any("Model card" in text.value for text in tab.markdown)
