"""What set-up puts into a demo installation: accounts whose password everybody knows, and things to look at.

Everything is added where it is missing and never changed where it is there. Production has none of it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from sqlalchemy import func
from sqlmodel import col, select

from core.services import audit
from core.services.accounts import new_user
from core.services.app import APP_PARTY, App
from core.services.consents import CONSENT_TEXTS, record_consents
from core.services.context import Profile
from core.services.sessions import actor_of
from core.services.slots import add_slots
from core.settings import ROOT
from core.studies import STUDIES, Study
from db.engine import read_scope, session_scope
from db.models import Checkpoint, CheckpointStatus, Dataset, Hospital, Role, Slot, User
from db.seed import DEMO_HOSPITALS

DEMO_PASSWORD = "hemaseal-demo"  # noqa: S105 (it is printed on the sign-in page)
DEMO_PLACE = "Stockholm, Sweden"
MODELS = ROOT / "models"
DAYS_AHEAD = 14
WORKING_DAYS = range(5)
VISIT = timedelta(minutes=30)
TIMES_OF_DAY = tuple(time(hour, minute) for hour in (8, 9, 13, 14) for minute in (0, 30))  # UTC
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoAccount:
    """One account of the demo.

    Attributes:
        username: name to sign in with.
        role: its role.
        display_name: says that this is nobody.
        hospital: short name of the hospital, or "".
    """

    username: str
    role: Role
    display_name: str
    hospital: str = ""


DEMO_ACCOUNTS = (
    DemoAccount("demo-patient", Role.PATIENT, "Demo patient"),
    DemoAccount("demo-doctor", Role.DOCTOR, "Demo doctor, North", "north"),
    DemoAccount("demo-doctor-second", Role.DOCTOR, "Second demo doctor, North", "north"),
    DemoAccount("demo-doctor-east", Role.DOCTOR, "Demo doctor, East", "east"),
    DemoAccount("demo-doctor-south", Role.DOCTOR, "Demo doctor, South", "south"),
    DemoAccount("demo-doctor-west", Role.DOCTOR, "Demo doctor, West", "west"),
    DemoAccount("demo-hospital", Role.HOSPITAL, "Demo hospital, North", "north"),
    DemoAccount("demo-hospital-east", Role.HOSPITAL, "Demo hospital, East", "east"),
    DemoAccount("demo-hospital-south", Role.HOSPITAL, "Demo hospital, South", "south"),
    DemoAccount("demo-hospital-west", Role.HOSPITAL, "Demo hospital, West", "west"),
    DemoAccount("demo-authority", Role.AUTHORITY, "Demo authority"),
)


def seed_accounts(app: App, say: Say, *, rounds: int) -> None:
    """Make the demo accounts that are missing; the demo patient has agreed to everything."""
    with read_scope(app.engine) as session:
        names = [account.username for account in DEMO_ACCOUNTS]
        present = set(session.exec(select(User.username).where(col(User.username).in_(names))).all())
        hospitals = {row.slug: row.id for row in session.exec(select(Hospital)).all()}
    missing = [account for account in DEMO_ACCOUNTS if account.username not in present]
    if not missing:
        return

    def make(account: DemoAccount) -> User:
        return new_user(
            app,
            username=account.username,
            password=DEMO_PASSWORD,
            role=account.role,
            profile=Profile(account.display_name, city=DEMO_PLACE if account.role is Role.PATIENT else ""),
            hospital_id=hospitals.get(account.hospital),
            is_demo=True,
            rounds=rounds,
        )

    with ThreadPoolExecutor() as pool:  # bcrypt computes outside the interpreter's lock
        users = list(pool.map(make, missing))
    with session_scope(app.engine) as session:
        session.add_all(users)
        session.flush()
        for user in users:
            details = {"role": user.role.value, "demo": True}
            audit.append(app, session, APP_PARTY, "account.create", object_id=user.id, details=details)
            if user.role is Role.PATIENT:
                record_consents(app, session, actor_of(app, user), CONSENT_TEXTS)
    say(f"Demo accounts ready: {len(users)}, password {DEMO_PASSWORD}")


def seed_contents(app: App, say: Say) -> None:
    """Make what the demo shows: appointment times, a synthetic data set per hospital, a model in service per study."""
    offered = offer_times(app)
    if offered:
        say(f"Appointment times ready: {offered} offered by the demo doctors for the next {DAYS_AHEAD} days")
    with read_scope(app.engine) as session:
        filled = select(Dataset.hospital_id)
        demo = [row[0] for row in DEMO_HOSPITALS]
        bare = col(Hospital.slug).in_(demo), col(Hospital.id).not_in(filled)
        empty = session.exec(select(Hospital.slug).where(*bare).order_by(Hospital.slug)).all()
        served = select(Checkpoint.study_code).where(Checkpoint.status == CheckpointStatus.IN_SERVICE)
        answered = set(session.exec(served).all())
    if empty:
        _draw_data_sets(app, empty, say)
    for study in STUDIES.values():
        if study.code not in answered:
            install_model(app, say, study=study)


def offer_times(app: App) -> int:
    """Let each demo doctor offer times on the working days ahead, after the last day that has any; return how many."""
    today, offered = app.clock.now().date(), 0
    with read_scope(app.engine) as session:
        last = func.max(Slot.starts_at)
        doctors = session.exec(
            select(User.id, last)
            .join(Slot, col(Slot.doctor_id) == col(User.id), isouter=True)
            .where(col(User.is_demo), col(User.is_active), User.role == Role.DOCTOR)
            .group_by(col(User.id))
        ).all()
    for doctor_id, latest in doctors:
        begin = today if latest is None else max(today, latest.date() + timedelta(days=1))
        days = [begin + timedelta(days=n) for n in range((today + timedelta(days=DAYS_AHEAD) - begin).days)]
        starts = [
            datetime.combine(day, at, UTC) for day in days if day.weekday() in WORKING_DAYS for at in TIMES_OF_DAY
        ]
        times = [(start, start + VISIT) for start in starts if start > app.clock.now()]
        if times:
            with session_scope(app.engine) as session:
                made = add_slots(session, doctor_id, times)
                audit.append(app, session, APP_PARTY, "slot.offer", object_id=doctor_id, details={"made": made})
            offered += made
    return offered


def _draw_data_sets(app: App, slugs: Sequence[str], say: Say) -> None:
    from core.services.dataset_store import seed_synthetic  # noqa: PLC0415 (loads the imaging libraries)

    say(f"Drawing synthetic smears for {len(slugs)} hospitals (once, some seconds) ...")
    for slug in slugs:
        seed_synthetic(app, slug)
    say("Synthetic data sets ready: they are drawn, show nobody, and are sealed for each hospital's training node")


def shipped_model(study: Study) -> Path:
    """Return where the model that is shipped for a study lies, if one is."""
    return MODELS / f"{study.name}.model"


def install_model(app: App, say: Say, *, study: Study) -> None:
    """Seal the shipped model of a study for the demo hospitals' enclaves and put it into service.

    Raises:
        CheckpointRefused: the file is damaged.
    """
    from core.diagnosis.checkpoint_file import load_checkpoint  # noqa: PLC0415 (loads the numerical libraries)
    from core.services.models import install  # noqa: PLC0415

    file = shipped_model(study)
    if not file.exists():
        say(f"No model for “{study.title}” is shipped with this copy: start a federated run and promote its model.")
        return
    model = load_checkpoint(file, settings=app.settings, at=app.clock.now())
    with session_scope(app.engine) as session:
        checkpoint_id = install(app, session, model)
        details = {"round": model.manifest.round}
        audit.append(app, session, APP_PARTY, "model.install", object_id=checkpoint_id, details=details)
    say(f"Shipped model for “{study.title}” in service, sealed for the enclaves of all hospitals")
