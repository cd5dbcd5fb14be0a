"""The one list of pages: where each file is, what it is called, which roles may open it. Nothing is drawn here."""

from dataclasses import dataclass

from core.services.accounts import Role


@dataclass(frozen=True)
class PageSpec:
    """One page.

    Attributes:
        path: file of the page's script, from the repository's root.
        title: name in the navigation and in the browser's tab.
        icon: a Material symbol, ``:material/…:``.
        url_path: the last part of its address; unique.
        roles: who may open it; empty means people who are not signed in.
        in_menu: whether the navigation lists it (others are reached from another page).
        demo_only: an installation that is no demo does not have it.
    """

    path: str
    title: str
    icon: str
    url_path: str
    roles: frozenset[Role]
    in_menu: bool = True
    demo_only: bool = False


_NOBODY: frozenset[Role] = frozenset()
_EVERYBODY = frozenset(Role)
_PATIENT = frozenset({Role.PATIENT})
_DOCTOR = frozenset({Role.DOCTOR})
_HOSPITAL = frozenset({Role.HOSPITAL})
_AUTHORITY = frozenset({Role.AUTHORITY})

# The first page of a role is the one it lands on.
PAGES: tuple[PageSpec, ...] = (
    PageSpec("pages/account/sign_in.py", "Sign in", ":material/login:", "sign-in", _NOBODY),
    PageSpec("pages/account/register.py", "Create an account", ":material/person_add:", "register", _NOBODY),
    PageSpec("pages/patient/upload.py", "New image", ":material/upload:", "upload", _PATIENT),
    PageSpec("pages/patient/results.py", "My results", ":material/lab_profile:", "results", _PATIENT),
    PageSpec("pages/patient/appointments.py", "Appointments", ":material/event:", "appointments", _PATIENT),
    PageSpec("pages/patient/messages.py", "Messages", ":material/chat:", "messages", _PATIENT),
    PageSpec("pages/patient/referrals.py", "Referrals", ":material/move_up:", "referrals", _PATIENT),
    PageSpec("pages/patient/access.py", "Who looked", ":material/visibility:", "access", _PATIENT),
    PageSpec("pages/doctor/worklist.py", "Worklist", ":material/checklist:", "worklist", _DOCTOR),
    PageSpec("pages/doctor/case.py", "Case", ":material/biotech:", "case", _DOCTOR, in_menu=False),
    PageSpec("pages/doctor/schedule.py", "Schedule", ":material/calendar_month:", "schedule", _DOCTOR),
    PageSpec("pages/doctor/messages.py", "Messages", ":material/chat:", "inbox", _DOCTOR),
    PageSpec("pages/doctor/referrals.py", "Referrals", ":material/move_up:", "referred", _DOCTOR),
    PageSpec("pages/hospital/data.py", "Data sets", ":material/database:", "data", _HOSPITAL),
    PageSpec("pages/hospital/training.py", "Training runs", ":material/hub:", "training", _HOSPITAL),
    PageSpec("pages/hospital/incoming.py", "Incoming images", ":material/trending_up:", "incoming", _HOSPITAL),
    PageSpec("pages/hospital/node.py", "Our node", ":material/dns:", "node", _HOSPITAL),
    PageSpec("pages/authority/members.py", "Members", ":material/domain:", "members", _AUTHORITY),
    PageSpec("pages/authority/users.py", "Users", ":material/group:", "users", _AUTHORITY),
    PageSpec("pages/authority/keys.py", "Keys", ":material/key:", "keys", _AUTHORITY),
    PageSpec("pages/authority/runs.py", "Training runs", ":material/hub:", "runs", _AUTHORITY),
    PageSpec("pages/authority/models.py", "Models", ":material/deployed_code:", "models", _AUTHORITY),
    PageSpec("pages/authority/evaluation.py", "Evaluation", ":material/fact_check:", "evaluation", _AUTHORITY),
    PageSpec("pages/authority/enclaves.py", "Enclaves", ":material/memory:", "enclaves", _AUTHORITY),
    PageSpec("pages/authority/audit.py", "Audit log", ":material/verified:", "audit", _AUTHORITY),
    PageSpec("pages/authority/present.py", "Present", ":material/slideshow:", "present", _AUTHORITY, demo_only=True),
    PageSpec("pages/account/profile.py", "My account", ":material/account_circle:", "account", _EVERYBODY),
)


def pages_for(role: Role | None, *, demo: bool = True) -> tuple[PageSpec, ...]:
    """Return the pages of a role in menu order; None means a person who is not signed in."""
    own = (page for page in PAGES if (not page.roles if role is None else role in page.roles))
    return tuple(page for page in own if demo or not page.demo_only)


def page_at(url_path: str) -> PageSpec | None:
    """Return the page with this address, whoever may open it."""
    return next((page for page in PAGES if page.url_path == url_path), None)
