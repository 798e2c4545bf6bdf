"""De-identification for several tenants: each under its own key, each on its own record."""

from __future__ import annotations

import json

import pytest

from recollect.services.access import Scope
from recollect.services.client import connect
from recollect.services.deid_client import DeidCall, Record
from recollect.v1 import audit_pb2

from .conftest import Site

pytestmark = pytest.mark.slow

TEXT = "My name is Rosalind Achterberg, write to rosa.acht@mail.example.com"


def deidentified(site: Site, tenant: str) -> tuple[str, str]:
    """Id of the key, and what becomes of the text."""
    token = site.token(Scope.DEIDENTIFIER, tenant=tenant)
    with connect(site.address, site.credentials(token)) as client:
        call = DeidCall(client, policy="gdpr-pseudonymous")
        call.send([Record.of_text(TEXT)])
        (result,) = call.receive()
        call.finish()
        call.close()
    return call.opening.key_id, result.messages[0].content


def test_a_person_has_another_stand_in_for_each_tenant_and_always_the_same_there(
    site: Site,
) -> None:
    first = {tenant: deidentified(site, tenant) for tenant in ("acme", "rival")}
    key_ids, texts = zip(*first.values(), strict=True)
    assert len(set(key_ids)) == len(set(texts)) == 2
    assert not any("Rosalind" in text or "rosa.acht" in text for text in texts)
    assert deidentified(site, "acme") == first["acme"]


def test_the_ledger_of_the_tenant_says_who_it_was(site: Site) -> None:
    deidentified(site, "rival")
    token = site.token(Scope.AUDITOR, tenant="rival")
    asked = audit_pb2.ListEntriesRequest(kind="records_deidentified")
    with connect(site.address, site.credentials(token)) as client:
        *_, last = client.audit.ListEntries(asked, timeout=60)
    assert last.actor == "tester"
    body = json.loads(last.body_json)
    assert body.pop("policy").startswith("gdpr-pseudonymous ")
    assert len(body.pop("policy_fingerprint")) == 64
    assert body == {
        "num_records": 1,
        "num_characters": len(TEXT),
        "refused": {},
        "is_whole": True,
    }
