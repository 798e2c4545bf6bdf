"""No socket is opened while text is read: proven in a process of its own, from its start on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recollect.services.demo.sample import DATA

pytestmark = pytest.mark.slow

# Heard from before the first import on, in every thread. While it is imported, urllib3 (which
# spaCy's and Presidio's packages bring) tries whether this machine has IPv6: that one is named.
_PROGRAM = """
import json, sys
opened, probes = [], []

def hear(event, _):
    if not event.startswith("socket."):
        return
    frame = sys._getframe(1)
    names = []
    while frame is not None:
        names.append((frame.f_globals.get("__name__"), frame.f_code.co_name))
        frame = frame.f_back
    probe = ("urllib3.util.connection", "_has_ipv6") in names
    (probes if probe else opened).append(event)

sys.addaudithook(hear)
{sabotage}
from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import shipped_policies

before = None
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
num_findings = {{}}
for policy in shipped_policies():
    deidentifier = Deidentifier(policy, bytes(range(32)))
    deidentifier.prove()
    before = len(probes) if before is None else before
    found = 0
    for text in texts:
        clean = deidentifier.deidentify([Message(speaker=Speaker.USER, content=text)], ["quokka"])
        found += sum(count for _, count in clean.findings)
    deidentifier.explain(texts[:3], ["quokka"], "subject")
    deidentifier.clean_name("rosa@mail.example.co.uk.jsonl")
    num_findings[policy.name] = found
# Nothing that was imported later on probes again.
opened += probes[before:]
print(json.dumps({{"opened": opened, "probes": probes, "num_findings": num_findings}}))
"""
_CALLING = """
import socket
from recollect.services.privacy.names import PersonRecognizer
_analyze = PersonRecognizer.analyze
def call(self, text, *rest, **named):
    if "{word}" in text:
        try:
            socket.getaddrinfo("localhost", 0)
        except OSError:
            pass
    return _analyze(self, text, *rest, **named)
PersonRecognizer.analyze = call
"""


def _report(texts: Path, folder: Path, sabotage: str = "") -> Any:
    # No cache of the public-suffix list from elsewhere: whoever wants one has to fetch it.
    own = os.environ | {"HOME": str(folder), "TLDEXTRACT_CACHE": str(folder / "suffixes")}
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(sabotage=sabotage), str(texts)],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_no_socket_is_opened_at_start_up_and_while_text_is_read(tmp_path: Path) -> None:
    report = _report(DATA / "authored" / "pii.jsonl", tmp_path)
    assert report["opened"] == []
    # At most one try for IPv6, of the machine with itself.
    assert report["probes"] in ([], ["socket.__new__", "socket.bind"])
    assert set(report["num_findings"]) >= {"conversations", "gdpr-pseudonymous", "strict"}
    assert all(found > 100 for found in report["num_findings"].values())
    assert not (tmp_path / "suffixes").exists()


def test_a_socket_would_be_heard(tmp_path: Path) -> None:
    text = "I am Rosalind Achterberg, zqcalls"
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    report = _report(tmp_path / "texts.jsonl", tmp_path, _CALLING.format(word="zqcalls"))
    assert "socket.getaddrinfo" in report["opened"]
