"""The allowed imports of docs/architecture.md, read from the source by `ast`: the layout is a promise, held here."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import module_lines

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "db", "federated", "pages", "security")
ENTRIES = (ROOT / "Home.py", ROOT / "asgi.py")

# Each room and the rooms of the project that it may import; the longest name that fits a module is its room.
ALLOWED: dict[str, tuple[str, ...]] = {
    "security": ("security",),
    "db": ("db", "core.settings", "core.errors", "core.clock"),
    "core.errors": (),
    "core.clock": (),
    "core.log_lines": (),
    "core.settings": ("core.errors",),
    "core.studies": ("core.studies", "core.errors"),
    "core.imaging": ("core.imaging", "core.studies", "core.errors", "core.clock", "security"),
    "core.learning": ("core.learning", "core.imaging", "core.studies", "core.errors", "core.clock", "security"),
    "core.diagnosis": (
        "core.diagnosis",
        "core.imaging",
        "core.learning",
        "core.studies",
        "core.errors",
        "core.clock",
        "core.log_lines",
        "core.settings",
        "security",
    ),
    "core.services": ("core", "db", "security"),
    "core.evaluation": ("core", "db", "security", "federated"),
    "core.command_line": ("core.studies",),
    "core.terminal": ("core.command_line", "core.services", "core.studies", "core.errors", "core.settings"),
    "core.__main__": ("core", "db", "security", "federated"),
    "federated": (
        "federated",
        "core.learning",
        "core.imaging",
        "core.diagnosis",
        "core.studies",
        "core.errors",
        "core.clock",
        "core.log_lines",
        "core.settings",
        "security",
    ),
    "federated.worker": ("federated", "core", "db", "security"),
    "federated.dbstore": ("federated", "core", "db", "security"),
    "pages": ("pages", "core.services", "core.studies", "core.errors", "core.settings"),
    "Home": ("pages", "core.services", "core.studies", "core.errors", "core.settings"),
    "asgi": ("pages", "core.services", "core.studies", "core.errors", "core.settings"),
}
STREAMLIT_ROOMS = {"pages", "Home", "asgi"}
TENSORFLOW_ROOMS = {"core.learning", "federated", "federated.worker", "federated.dbstore"}
HEAVY = {"tensorflow", "keras"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in [*files, *ENTRIES] if "versions" not in path.parts)


def room_of(module: str) -> str | None:
    fitting = [room for room in ALLOWED if module == room or module.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def imports_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line, imported module, and whether it happens when the module is imported (not inside a function)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    } | {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) not in lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = (ROOT / Path(*inner.split("."))).with_suffix(".py").exists() or (
                    ROOT / Path(*inner.split("."))
                ).is_dir()
                yield node.lineno, inner if is_module else module, id(node) not in lazy


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_room_allows(path: Path) -> None:
    module = name_of(path)
    room = room_of(module)
    if room is None:
        assert path.name == "__init__.py" or module == "core", f"{module} has no room in the layout"
        return
    for line, imported, _ in imports_of(path):
        if imported.split(".")[0] not in {*PACKAGES, "Home", "asgi", "tests", "benchmarks"}:
            continue
        allowed = any(imported == name or imported.startswith(f"{name}.") for name in ALLOWED[room])
        package_of_allowed = any(name.startswith(f"{imported}.") for name in ALLOWED[room])  # `from core import errors`
        assert allowed or package_of_allowed, f"{path}:{line}: {module} must not import {imported}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_streamlit_and_tensorflow_stay_in_their_rooms(path: Path) -> None:
    module = name_of(path)
    room = room_of(module)
    for line, imported, at_import in imports_of(path):
        top = imported.split(".")[0]
        if top in {"streamlit", "streamlit_authenticator", "starlette"}:
            assert room in STREAMLIT_ROOMS, f"{path}:{line}: {module} must not import {top}"
        if top in HEAVY:
            assert room in TENSORFLOW_ROOMS, f"{path}:{line}: {module} must not import {top}"
            assert not at_import, f"{path}:{line}: import {top} inside the function that needs it"
        if top == "flwr":
            assert module.startswith("federated.transport.flower."), f"{path}:{line}: Flower stays behind its transport"
        if top == "tinyec":
            assert room == "security", f"{path}:{line}: tinyec never leaves the self-test and the explainer"


def test_pages_never_reach_below_the_services() -> None:
    for path in modules():
        if name_of(path).split(".")[0] in {"pages", "Home", "asgi"}:
            for line, imported, _ in imports_of(path):
                assert imported.split(".")[0] not in {"db", "security", "federated"}, f"{path}:{line}: {imported}"


def test_the_app_process_never_imports_tensorflow() -> None:
    services = [name_of(path) for path in modules() if name_of(path).startswith("core.services.")]
    interface = [name_of(path) for path in modules() if name_of(path).startswith("pages._ui.")]
    script = (
        "import importlib, json, sys\n"
        f"for name in {[*services, *interface]!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_every_page_of_the_registry_has_a_file_and_an_address_of_its_own() -> None:
    from pages._ui.registry import PAGES  # noqa: PLC0415  (Streamlit is not needed by the tests above)

    assert [page.path for page in PAGES if not (ROOT / page.path).is_file()] == []
    assert len({page.url_path for page in PAGES}) == len(PAGES)


def test_no_page_file_lies_where_streamlit_would_serve_it_unasked() -> None:
    assert list((ROOT / "pages").glob("*.py")) == []


def test_the_architecture_page_lists_every_module_with_what_it_says_of_itself() -> None:
    written = module_lines.PAGE.read_text(encoding="utf-8").partition(module_lines.BEGIN)

    assert written[1] + written[2] == module_lines.render(), "run `make docs`"
