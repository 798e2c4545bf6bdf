"""What the tests of de-identification over the wire share: records, and where the service is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recollect.services.client import ServiceClient
from recollect.services.deid_client import Record
from recollect.v1 import audit_pb2

POLICY = "gdpr-pseudonymous"
NAME = "Rosalind Achterberg"
MAIL = "rosa.acht@mail.example.com"


def data_of(address: str) -> Path:
    """The data folder of the service behind a Unix socket."""
    return Path(address.removeprefix("unix:")).parent


def text(content: str, record_id: str = "") -> Record:
    """A record of one text."""
    return Record.of_text(content, record_id)


def ledger_of(client: ServiceClient) -> list[dict[str, Any]]:
    """What the ledger keeps of the calls that ended."""
    answers = client.audit.ListEntries(
        audit_pb2.ListEntriesRequest(kind="records_deidentified"), timeout=60
    )
    return [json.loads(answer.body_json) for answer in answers]
