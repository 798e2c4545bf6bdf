"""`recollect access`: what a team's owner does, on the command line, with a service that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recollect.services.access import CredentialRegister, Scope
from recollect.services.access.certificates import DevelopmentCA, load_certificate
from recollect.services.commands.doctor_access import access
from recollect.services.commands.finding import Finding
from recollect.services.config import Settings
from recollect.services.listening import tls_folder

from .conftest import RUN, Site, clean_environment

pytestmark = pytest.mark.slow


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recollect.services", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment() | {"COLUMNS": "160"} | environment,
    )


def test_a_token_from_its_issue_to_its_end(site: Site, tmp_path: Path) -> None:
    data = ("--set", f"data_folder={site.server.data}")
    token_file = tmp_path / "token"
    created = run("access", "token", "create", "gpu-7", "--scope", "auditor", *data)
    assert created.returncode == 0, created.stderr
    # Standard output is the token and nothing else, so that it can go into a file.
    token = created.stdout.strip()
    token_file.write_text(created.stdout)
    assert token.startswith("rcl_") and "\n" not in token and token not in created.stderr
    reach = {
        "RECOLLECT_SERVER": site.address,
        "RECOLLECT_TOKEN_FILE": str(token_file),
        "RECOLLECT_CA": str(site.ca),
    }
    assert run("sources", "list", "--json", **reach).returncode == 0
    by_option = ("--token-file", token_file, "--ca", site.ca, "sources", "list", "--server")
    assert run(*by_option, site.address, "--json").returncode == 0
    denied = run("teacher", "rehearse", "synthetic", "--examples", 1, "--json", **reach)
    assert denied.returncode == 77
    assert json.loads(denied.stderr)["error"]["reason"] == "SCOPE_MISSING"
    listed = json.loads(run("access", "token", "list", "--json", *data).stdout)
    (own,) = [one for one in listed if one["credential_id"] == token.split("_")[1]]
    assert (own["holder"], own["state"], own["scopes"]) == ("gpu-7", "valid", ["auditor"])
    assert "proof" not in own
    assert run("access", "token", "revoke", own["credential_id"], *data).returncode == 0
    ended = run("sources", "list", "--json", **reach)
    assert json.loads(ended.stderr)["error"]["reason"] == "CREDENTIAL_REVOKED"
    assert "gpu-7" in run("access", "token", "list", *data).stdout
    for result in (created, denied, ended):
        assert token not in result.stderr
    assert token not in site.server.log.read_text()


def test_a_token_that_cannot_be_one_is_not_shown_in_the_refusal(site: Site) -> None:
    reach = {"RECOLLECT_SERVER": site.address, "RECOLLECT_CA": str(site.ca)}
    result = run("sources", "list", "--json", RECOLLECT_TOKEN="my secret words", **reach)
    assert json.loads(result.stderr)["error"]["reason"] == "CONFIG_INVALID"
    assert "my secret" not in result.stderr
    absent = run("sources", "list", "--json", RECOLLECT_TOKEN_FILE="/nowhere", **reach)
    assert json.loads(absent.stderr)["error"]["where"] == "/nowhere"


def test_certificates_are_made_admitted_and_looked_at(tmp_path: Path) -> None:
    data = ("--set", f"data_folder={tmp_path / 'data'}")
    made = run("access", "certificate", "create", "--host", "gpu.example", "--json", *data)
    files = json.loads(made.stdout)
    names = load_certificate(Path(files["certificate"])).extensions
    assert "gpu.example" in str(names) and "localhost" in str(names)
    scope = ("--scope", "trainer")
    client = run("access", "certificate", "create", "--client", "gpu-7", *scope, "--json", *data)
    identity = "URI:spiffe://example.org/t"
    admitted = run(
        "access", "certificate", "admit", identity, "--holder", "t", *scope, "--json", *data
    )
    assert client.returncode == admitted.returncode == 0, admitted.stderr
    holders = [one.holder for one in CredentialRegister(tmp_path / "data").all()]
    assert holders == ["gpu-7", "t"]
    wrong = run("access", "certificate", "admit", "t.example", "--holder", "t", *scope, *data)
    assert wrong.returncode == 2
    none = run("access", "certificate", "create", "--client", "gpu-8", "--json", *data)
    assert json.loads(none.stderr)["error"]["reason"] == "CONFIG_INVALID"


def test_doctor_tells_of_the_way_in_of_permissions_and_of_what_expires(tmp_path: Path) -> None:
    tcp = Settings(data_folder=tmp_path, address="127.0.0.1:0")
    assert _findings(tcp)["address"].state == "broken"
    DevelopmentCA(tls_folder(tmp_path)).server((), days=3)
    CredentialRegister(tmp_path).issue_token(
        holder="gpu-7", tenant="acme", scopes=[Scope.TRAINER], days=3, by="pytest"
    )
    found = _findings(tcp)
    assert found["address"].state == "ok" and "TLS" in found["address"].detail
    assert found["certificate"].state == found["credentials"].state == "broken"
    assert not found["certificate"].required and "gpu-7" in found["credentials"].detail
    assert "permissions" not in found
    (tls_folder(tmp_path) / "server.key").chmod(0o644)
    assert "server.key" in _findings(tcp)["permissions"].detail
    clear = _findings(tcp.model_copy(update={"insecure": True}))["address"]
    assert "IN THE CLEAR" in clear.detail and clear.state == "broken"


def _findings(settings: Settings) -> dict[str, Finding]:
    return {found.subject: found for found in access(settings)}


def test_no_token_is_in_a_repr_or_in_an_error(site: Site) -> None:
    token = "rcl_000000000000_" + "s" * 43
    assert token not in repr(site.credentials(token))


def test_the_ledger_names_who_trained(site: Site) -> None:
    reach = {
        "RECOLLECT_SERVER": site.address,
        "RECOLLECT_TOKEN": site.token("auditor"),  # type: ignore[arg-type]
        "RECOLLECT_CA": str(site.ca),
    }
    lines = run("audit", "log", "--kind", "run_started", "--json", **reach).stdout.splitlines()
    actors = {entry["body"]["run_id"]: entry["actor"] for entry in map(json.loads, lines)}
    assert actors[RUN] == "tester"
    assert "trainer" not in actors.values()
