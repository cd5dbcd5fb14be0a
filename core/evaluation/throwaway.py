"""A throw-away installation in which enclaves serve a model: for measuring and for showing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.diagnosis.checkpoint_file import load_checkpoint
from core.services import setup
from core.services.app import App
from core.services.models import install
from core.settings import ROOT, Mode, Settings
from db.engine import session_scope

SHIPPED_MODEL = ROOT / "models" / "leukemia.model"
_ROUNDS = 4  # bcrypt; nobody signs in
_UPLOADS = 10**6  # one patient sends them all


@contextmanager
def serving_installation(data_dir: Path, *, database_url: str = "", checkpoint: Path = SHIPPED_MODEL) -> Iterator[App]:
    """Set one up with four hospitals and the demo's accounts; its enclaves end with the block.

    Args:
        data_dir: a new folder, which the caller removes.
        database_url: an empty MySQL schema; "" makes a SQLite file.
        checkpoint: model file to serve.

    Raises:
        CheckpointRefused: the model file cannot be used.
    """
    with accounts_installation(data_dir, database_url=database_url) as app:
        model = load_checkpoint(checkpoint, settings=app.settings, at=app.clock.now())
        with session_scope(app.engine) as session:
            install(app, session, model)
        try:
            yield app
        finally:
            app.supervisor.stop_all()


@contextmanager
def accounts_installation(data_dir: Path, *, database_url: str = "") -> Iterator[App]:
    """Set one up with four hospitals and the demo's accounts and nothing to serve; arguments as above."""
    settings = Settings(
        data_dir=data_dir,
        database_url=database_url,
        mode=Mode.DEMO,
        master_key=None,
        vault_dir=None,
        runtime_dir=None,
        enclaves="",
        uploads_per_hour=_UPLOADS,
    )
    setup.run(settings, demo_contents=False, rounds=_ROUNDS)
    app = App.start(settings)
    try:
        yield app
    finally:
        app.engine.dispose()
