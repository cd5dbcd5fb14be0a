"""Writing a model in clear, as the person who holds the authority's key does at the command line; audited."""

from pathlib import Path

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import write_clear
from core.services import audit
from core.services.app import APP_PARTY, App
from core.services.authority import AUTHORITY
from core.settings import Settings
from db.engine import session_scope


def export(settings: Settings, model: ServingModel, out: Path) -> None:
    """Write the file, with its audit entry where there is an installation (a simulation's keys alone have no log).

    Raises:
        SettingsError: the installation does not start.
        DatabaseUnavailable, AuditLogBroken: the entry cannot be written, so the file is not either.
    """
    if not (settings.keys_dir / APP_PARTY).is_dir():
        write_clear(out, model)
        return
    app = App.start(settings)
    try:
        with session_scope(app.engine) as session:
            details = {"round": model.manifest.round, "weights": model.weights is not None}
            audit.append(app, session, AUTHORITY, "model.export", object_id=model.manifest.run_id, details=details)
            write_clear(out, model)
    finally:
        app.engine.dispose()
