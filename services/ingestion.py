"""The sending side of an ingestion: examples are streamed to the service in bounded groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Purpose, RawExample, Role
from ..v1 import store_pb2 as wire
from .client import CALL_SECONDS, JOB_SECONDS, ServiceClient
from .intake import IntakeReport

_GROUP_EXAMPLES = 32
_GROUP_BYTES = 400_000
_MAX_EXAMPLE_BYTES = 15 << 20
"""A message must fit into the service's limit of 16 MiB with its envelope."""


def _to_wire(example: RawExample) -> wire.RawExample:
    return wire.RawExample(
        messages=[
            wire.Message(speaker=m.speaker.value, content=m.content) for m in example.messages
        ],
        pointer=wire.Pointer(file=example.pointer.file, row=example.pointer.row),
        subject=example.subject or "",
        known_values=example.known_values,
    )


def _requests(
    source: str,
    examples: Iterable[RawExample],
    *,
    retry: bool,
    mapping_digest: str | None,
    skipped: IntakeReport | None,
) -> Iterator[wire.IngestRequest]:
    """The header, then bounded groups: neither side ever holds more than one group."""
    header = wire.IngestHeader(source=source, retry=retry, mapping_digest=mapping_digest)
    yield wire.IngestRequest(header=header)
    group: list[wire.RawExample] = []
    num_bytes = 0
    for example in examples:
        packed = _to_wire(example)
        if packed.ByteSize() > _MAX_EXAMPLE_BYTES:
            if skipped is not None:
                skipped.reject(Reason.INPUT_TOO_LARGE, example.pointer)
                continue
            raise RecollectError(
                Reason.INPUT_TOO_LARGE,
                f"an example has {packed.ByteSize():,} bytes; the limit is {_MAX_EXAMPLE_BYTES:,}.",
                where=str(example.pointer),
                fix="Split the document into smaller ones.",
            )
        group.append(packed)
        num_bytes += packed.ByteSize()
        if len(group) >= _GROUP_EXAMPLES or num_bytes >= _GROUP_BYTES:
            yield wire.IngestRequest(examples=wire.RawExamples(examples=group))
            group, num_bytes = [], 0
    if group:
        yield wire.IngestRequest(examples=wire.RawExamples(examples=group))


class _Reading:
    """Hands requests to gRPC's thread and keeps the error that ended the reading."""

    def __init__(self, requests: Iterator[wire.IngestRequest]) -> None:
        self._requests = requests
        self.error: RecollectError | None = None

    def __iter__(self) -> Iterator[wire.IngestRequest]:
        try:
            yield from self._requests
        except RecollectError as error:
            # gRPC reports an exception in a request iterator as UNKNOWN: keep the real one.
            self.error = error
            raise


def register(
    client: ServiceClient,
    *,
    name: str,
    role: Role,
    purpose: Purpose,
    licence: str,
    legal_basis: str,
) -> None:
    """Registers a source over the wire."""
    source = wire.Source(
        name=name,
        role=wire.Role.Value(f"ROLE_{role.value.upper()}"),
        purpose=wire.Purpose.Value(f"PURPOSE_{purpose.value.upper()}"),
        licence=licence,
        legal_basis=legal_basis,
    )
    client.store.RegisterSource(wire.RegisterSourceRequest(source=source), timeout=CALL_SECONDS)


def send(
    client: ServiceClient,
    source: str,
    examples: Iterable[RawExample],
    *,
    retry: bool = False,
    mapping_digest: str | None = None,
    skipped: IntakeReport | None = None,
) -> Iterator[wire.IngestResponse]:
    """Streams examples into a source; the last answer is marked done.

    Args:
        client: of the service.
        source: a registered source.
        examples: what is sent.
        retry: whether rows that are in quarantine leave it once they are accepted.
        mapping_digest: of the mapping that the examples were read with, empty if there was none;
            the ledger keeps it, so that rows are not tried again without their mapping.
        skipped: counts examples that no message can hold, and which are passed over; if left out,
            they end the sending.

    Raises:
        RecollectError: what the reading or the service raised; then nothing was stored.
    """
    reading = _Reading(
        _requests(source, examples, retry=retry, mapping_digest=mapping_digest, skipped=skipped)
    )
    try:
        yield from client.store.Ingest(iter(reading), timeout=JOB_SECONDS)
    except Exception:
        if reading.error is not None:
            raise reading.error from None
        raise
