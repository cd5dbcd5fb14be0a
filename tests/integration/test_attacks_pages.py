"""Scripts, links and pictures in every name and text that people can write: pages show them as they were typed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.services.accounts import Profile, Role, change_profile
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.datasets import generate_dataset
from core.services.members import enrol_hospital
from core.services.messages import send
from core.services.reviews import Decision, sign_review
from core.settings import ROOT
from pages._ui.registry import PAGES, PageSpec
from tests.integration.clinic import NEGATIVE, POSITIVE, offered_slots, stored_case, stored_request
from tests.integration.page_support import draw

HOSTILE = "<script>x</script>[a](https://evil.example)![b](https://evil.c)"
HOUSE = "<script>x</script>[a](https://evil.house)"  # the names of hospitals are no secret
SCRIPT, LINK = "<script", "](https://evil"
MET = frozenset(
    {
        *("results", "appointments", "messages", "worklist", "case", "schedule", "inbox", "referrals", "referred"),
        *("data", "node", "members"),
    }
)
"""Pages that show at least one of these texts: else there would be nothing to see."""

HTML_PLACES = {
    "pages/_ui/shell.py": {"_STYLE"},
    "pages/_ui/clinic.py": {
        "said",
        "line",
        "low",
        "high",
        "probability",
        "threshold",
        "title",
        "stops",
        "marks",
        "colours",
        "value",
    },
}
"""What the few pieces of HTML of this project are made of: constants and numbers."""


@pytest.fixture
def hostile(served: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor) -> tuple[App, str]:
    """An installation in which everybody wrote `HOSTILE` wherever they could; and the case that it is about."""
    for person in (patient, doctor, hospital, authority):
        change_profile(served, person, Profile(HOSTILE, "<script>x</script>@evil.example", HOSTILE))
    case, unsigned = stored_case(served, patient, POSITIVE), stored_case(served, patient, NEGATIVE)
    for person in (patient, doctor):
        send(served, person, case, HOSTILE)
        send(served, person, unsigned, HOSTILE)
    review = sign_review(served, doctor, case, decision=Decision.DEFER, reason=HOSTILE, note=HOSTILE)
    sign_review(served, doctor, case, decision=Decision.AGREE, note=HOSTILE, amends=review.id)
    book(served, patient, case_id=case, slot_id=offered_slots(served, doctor)[0])
    enrol_hospital(served, authority, slug="evil", name=HOUSE, city=HOUSE, latitude=0.0, longitude=0.0)
    stored_request(served, doctor, unsigned, "evil", HOSTILE)
    generate_dataset(served, hospital, patients=6, cells_per_patient=1, name=HOSTILE)
    return served, case


def texts(tab: AppTest) -> Iterator[tuple[str, str, bool]]:
    """Yield of every element: its kind, what it says as Markdown, and whether HTML is allowed in it."""
    for node in tab._tree:
        proto = getattr(node, "proto", None)
        if proto is None:
            continue
        for field in ("body", "label", "help"):
            said = getattr(proto, field, "")
            if isinstance(said, str) and said:
                yield node.type, said, bool(getattr(proto, "allow_html", False))


def drawn(app: App, page: PageSpec, role: Role, case: str) -> AppTest:
    return draw(app, page.path.removeprefix("pages/").removesuffix(".py"), f"demo-{role}", address={"case": case})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("role", list(Role))
def test_a_page_shows_what_people_wrote_as_they_wrote_it(hostile: tuple[App, str], role: Role) -> None:
    app, case = hostile
    for page in (page for page in PAGES if role in page.roles):
        tab = drawn(app, page, role, case)
        assert not tab.exception, page.path
        found = list(texts(tab))
        assert found, page.path
        for kind, said, html in found:
            assert not (html and SCRIPT in said), f"{kind} of {page.path}"
            assert not (kind not in {"text", "code"} and LINK in said), f"{kind} of {page.path}: {said}"
        met = any("evil" in str(getattr(node, "proto", "")) for node in tab._tree)
        assert met or page.url_path not in MET, page.path


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("role", list(Role))
def test_a_page_run_for_another_role_shows_nothing_that_anybody_wrote(hostile: tuple[App, str], role: Role) -> None:
    """As if the navigation, which registers only the pages of one's role, were not there."""
    app, case = hostile
    for page in (page for page in PAGES if role not in page.roles):
        tab = drawn(app, page, role, case)
        shown = [node.type for node in tab._tree if "evil.example" in str(getattr(node, "proto", ""))]
        assert shown == [], page.path


def sources() -> list[Path]:
    return [ROOT / "Home.py", *sorted((ROOT / "pages").rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_lets_text_through_as_html(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            assert node.arg not in {"unsafe_allow_html", "unsafe_allow_javascript"}, f"{path}:{node.value.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"components", "iframe"} or ast.unparse(node.value) != "st", f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "st.html":
            known = HTML_PLACES.get(str(path.relative_to(ROOT)), set())
            names = {one.id for given in node.args for one in ast.walk(given) if isinstance(one, ast.Name)}
            assert names <= known, f"{path}:{node.lineno} makes HTML of {sorted(names - known)}"
