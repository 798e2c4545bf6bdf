"""What a demo says of its own ledger and its own runs."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from rich.console import Console
from rich.progress import Progress

from recollect.services.client import connect
from recollect.services.demo.run import Demo, damage_in
from recollect.services.demo.training import Job
from recollect.services.ledger import Ledger
from recollect.v1 import audit_pb2, audit_pb2_grpc


def _ledger(folder: Path) -> tuple[Path, str]:
    """A ledger of three entries: its file, and its head."""
    ledger = Ledger.open(folder / "ledger")
    for number in range(3):
        ledger.append("run_started", {"run_id": f"run-{number}"}, actor="test")
    ledger.close()
    return ledger.path, ledger.head


def test_an_intact_folder_has_no_damage(tmp_path: Path) -> None:
    _, head = _ledger(tmp_path)
    assert damage_in(tmp_path, head=head) == ""


def test_a_changed_entry_is_damage(tmp_path: Path) -> None:
    path, head = _ledger(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"run-1", b"run-7"))
    assert str(path) in damage_in(tmp_path, head=head)


def test_a_ledger_that_lost_its_end_is_damage(tmp_path: Path) -> None:
    path, head = _ledger(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert head in damage_in(tmp_path, head=head)


class Audit(audit_pb2_grpc.AuditServiceServicer):
    """An auditor that finds something in one run."""

    def AuditRun(
        self, request: audit_pb2.AuditRunRequest, context: grpc.ServicerContext
    ) -> audit_pb2.AuditRunResponse:
        found = ["step 3 [has] a row too many"] if request.run_id == "mix-1" else []
        return audit_pb2.AuditRunResponse(differences=found)


def test_what_the_auditor_finds_is_kept_and_said(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    audit_pb2_grpc.add_AuditServiceServicer_to_server(Audit(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    said = io.StringIO()
    try:
        with connect(f"127.0.0.1:{port}") as client:
            demo = Demo(
                client=client,
                address="",
                workspace=tmp_path,
                num_seeds=2,
                console=Console(file=said, width=200),
                bar=Progress(disable=True),
            )
            found = demo.audit([Job(arm="mix", seed=seed, plan_id="") for seed in range(3)])
    finally:
        server.stop(None).wait()
    assert found == ("mix-1: step 3 [has] a row too many",)
    assert found[0] in said.getvalue()
