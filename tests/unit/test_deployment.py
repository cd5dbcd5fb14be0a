"""The files below deploy/ are held against the code: what they name exists there. They are read here, not run.

The proxy's configuration is run in `tests/integration/test_proxy.py`.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.diagnosis import enclave
from core.services.app import check_settings
from core.settings import ROOT, SECRETS, Mode, Settings, host_and_port
from federated import worker
from pages._ui.cookies import BROWSER_COOKIE
from pages._ui.routes import HEALTH
from tests import reference_pages
from tests.test_architecture import PACKAGES

DEPLOY = ROOT / "deploy"
OWN = ("app-1", "app-2", "worker", "enclave-north-1", "enclave-north-2")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def in_image() -> dict[str, str]:
    """Return the settings that the image brings along."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return dict(re.findall(r"\b(HEMASEAL_\w+)=(\S+)", joined))


def environment(name: str) -> dict[str, str]:
    return in_image() | SERVICES[name].get("environment", {})


def secrets_of(name: str) -> dict[str, str]:
    """Return the file that a service finds each secret in, with the secret's name."""
    found = {}
    for one in SERVICES[name].get("secrets", []):
        source, target = (one, one) if isinstance(one, str) else (one["source"], one["target"])
        found[target] = source
    return found


def port_of(name: str) -> int:
    words = SERVICES[name]["command"]
    return int(words[words.index("--port") + 1])


@pytest.mark.parametrize("name", OWN)
def test_every_setting_and_secret_of_a_service_is_one_that_the_code_reads(name: str) -> None:
    known = set(re.findall(r"`(\w+)`", reference_pages.settings_page()))
    assert set(environment(name)) <= known
    assert {secret.upper() for secret in secrets_of(name)} <= known
    assert set(secrets_of(name).values()) <= set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", ["app-1", "app-2"])
def test_the_app_would_start_with_these_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        "hemaseal_master_key": "0123456789abcdef" * 4,
        "database_url": "mysql+pymysql://hemaseal:x@database/hemaseal",
    }
    assert set(secrets_of(name)) == set(given)
    for secret, text in given.items():
        (tmp_path / secret).write_text(text + "\n", encoding="utf-8")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for variable, value in environment(name).items():
        if variable != SECRETS:
            monkeypatch.setenv(variable, value)
    settings = Settings(_secrets_dir=tmp_path)  # type: ignore[call-arg]  # pydantic-settings takes it, its types do not
    check_settings(settings)
    assert settings.mode is Mode.PRODUCTION
    assert settings.database == given["database_url"]
    assert settings.remote_enclaves == {"north.serving": (("enclave-north-1", 7443), ("enclave-north-2", 7443))}
    assert not settings.start_worker
    assert str(settings.run_dir) in "".join(SERVICES[name]["tmpfs"]), "what belongs to one machine is not shared"
    mounted = [volume.split(":")[1] for volume in SERVICES[name]["volumes"]]
    assert mounted == [str(settings.data_dir), str(settings.vault)]


def test_both_apps_share_data_and_vault_and_the_enclaves_have_neither_nor_a_database() -> None:
    assert SERVICES["app-1"]["volumes"] == SERVICES["app-2"]["volumes"]
    for name in ("enclave-north-1", "enclave-north-2"):
        assert secrets_of(name) == {"hemaseal_master_key": "north_master_key"}
        assert SERVICES[name]["volumes"] == ["north:/var/lib/hemaseal:ro"]
        assert SERVICES[name]["networks"] == ["enclaves"]


def test_the_enclaves_that_the_app_looks_for_are_there() -> None:
    places = Settings(enclaves=environment("app-1")["HEMASEAL_ENCLAVES"]).remote_enclaves
    assert set(environment("app-1")["HEMASEAL_ENCLAVES"].split(",")) == {
        f"{party}={host}:{port}" for party, replicas in places.items() for host, port in replicas
    }
    for party, replicas in places.items():
        for host, port in replicas:
            module, *words = SERVICES[host]["command"][2:]
            assert module == enclave.__name__
            options = enclave.parser().parse_args(words)
            assert (options.party, host_and_port(options.listen)[1]) == (party, port)
            assert f"('127.0.0.1', {port})" in SERVICES[host]["healthcheck"]["test"][-1]
            assert set(SERVICES[host]["networks"]) & set(SERVICES["app-1"]["networks"])


def test_the_worker_is_a_command_with_its_options() -> None:
    assert SERVICES["worker"]["command"][:3] == ["python", "-m", worker.__name__]
    assert worker.parser().parse_args(SERVICES["worker"]["command"][3:]).idle_exit_s == 1e9


@pytest.mark.parametrize("name", OWN)
def test_a_service_runs_with_as_little_as_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "ports" not in service, "only the proxy is reached from outside"
    assert name == "worker" or service["healthcheck"]["test"][0] == "CMD"


def test_the_proxy_asks_what_the_app_answers_and_is_the_one_that_is_believed() -> None:
    own = SERVICES["proxy"]["networks"]["front"]["ipv4_address"]
    for name in ("app-1", "app-2"):
        assert environment(name)["HEMASEAL_PROXIES"] == own
        assert f"http://127.0.0.1:{port_of(name)}{HEALTH}" in SERVICES[name]["healthcheck"]["test"][-1]
        assert re.search(rf"^\s+server {name}:{port_of(name)} ", site(), re.MULTILINE)
    assert set(SERVICES["proxy"]["depends_on"]) == {"app-1", "app-2"}


def site() -> str:
    return (DEPLOY / "nginx.conf").read_text(encoding="utf-8")


def directives(text: str) -> list[str]:
    return [line for line in (re.sub(r"\s*#.*", "", line).strip() for line in text.splitlines()) if line]


def test_the_proxy_keeps_a_browser_with_one_process_and_is_else_the_documented_one() -> None:
    assert f"map $cookie_{BROWSER_COOKIE} $browser" in site()
    assert "hash $browser consistent;" in directives(site())
    page = (ROOT / "docs" / "how-to" / "tls.md").read_text(encoding="utf-8")
    (documented,) = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    missing = [line for line in directives(documented) if line not in directives(site())]
    assert missing == ["proxy_pass http://127.0.0.1:8501;"]
    assert "proxy_pass http://app;" in directives(site())


def test_the_proxys_configuration_is_one_that_nginx_could_read() -> None:
    depth = 0
    for line in directives(site()):
        assert line.endswith(("{", "}", ";")), line
        depth += line.count("{") - line.count("}")
        assert depth >= 0, line
    assert depth == 0


def test_the_image_holds_the_code_and_nothing_of_an_installation() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    assert {*PACKAGES, "Home.py", "asgi.py", ".streamlit", "models", "pyproject.toml", "requirements.lock"} == set(
        copied
    )
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in let_in if line and not line.startswith(("#", "!"))] == ["*", "**/__pycache__"]
    assert {line[1:] for line in let_in if line.startswith("!")} == set(copied)


def test_the_image_installs_what_is_locked_for_a_python_that_is_supported_and_runs_as_nobody_in_particular() -> None:
    assert "--require-hashes" in DOCKERFILE
    versions = set(re.findall(r"^FROM python:(\d\.\d+)", DOCKERFILE, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert versions <= {"3.11", "3.12", "3.13"}
    assert len(versions) == 1, "a measurement names the version of Python"
    users = re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE)
    assert users == ["hemaseal"]
    assert f"useradd --system --uid 10001 --no-create-home {users[0]}" in DOCKERFILE
