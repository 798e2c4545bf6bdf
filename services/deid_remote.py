"""De-identifies lines of JSON through a service: they are read and written here, as everywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Message, Speaker
from .client import connect
from .deid_client import DeidCall, PolicyText, Record, Result, Span
from .deid_rows import (
    Answer,
    Answered,
    OpenRow,
    Part,
    RowLayout,
    closed_row,
    opened_row,
    read_row,
    refusal,
    written_row,
)
from .policy_version import PolicyVersion
from .privacy.policy import shipped_policies


@dataclass(frozen=True, slots=True)
class _Group:
    lines: list[bytes]
    rows: list[OpenRow | Answer]
    """Of each line the row that was sent, or why there is none."""


class RemoteRows:
    """The engine of a service, for files of rows.

    Args:
        call: under way, with spans asked for where the layout writes them.
        layout: what of a row is read and written.
    """

    def __init__(self, call: DeidCall, layout: RowLayout) -> None:
        self._call = call
        self._layout = layout
        self._num_sent = 0
        self.second = None

    @property
    def digest(self) -> str:
        """Equal digest, equal answers: whatever of policy, key and versions changes begins anew."""
        opening = self._call.opening
        versions = [f"{name} {version}" for name, version in opening.detectors.items()]
        return self._layout.digest_with(
            "service", opening.policy.fingerprint, opening.key_id, *sorted(versions)
        )

    @property
    def layout(self) -> RowLayout:
        """What of a row is read and written."""
        return self._layout

    @property
    def key_id(self) -> str:
        """Stands for the key of the service's tenant."""
        return self._call.opening.key_id

    @property
    def policy(self) -> PolicyVersion:
        """What the answers are made by."""
        return self._call.opening.policy

    def answers(self, groups: Iterator[list[bytes]]) -> Generator[Answered, None, None]:
        """Each group of lines, in order, with an answer for each of its lines.

        Raises:
            RecollectError: what ended the call.
        """
        under_way: deque[_Group] = deque()
        for lines in groups:
            group = _Group(lines, [self._opened(line) for line in lines])
            self._call.send([self._record(row) for row in group.rows if isinstance(row, OpenRow)])
            under_way.append(group)
            if self._call.is_full:
                yield self._answered(under_way.popleft())
        while under_way:
            yield self._answered(under_way.popleft())
        self._call.finish()

    def _opened(self, line: bytes) -> OpenRow | Answer:
        try:
            return opened_row(read_row(line), self._layout)
        except RecollectError as error:
            return refusal(error)

    def _record(self, row: OpenRow) -> Record:
        self._num_sent += 1
        return Record(
            # Who speaks stays here: it changes nothing in what is found.
            messages=[Message(speaker=Speaker.TEXT, content=text) for text in row.texts],
            record_id=str(self._num_sent),
            known_values=row.known,
            subject=row.subject,
        )

    def _answered(self, group: _Group) -> Answered:
        results = iter(self._call.receive())
        return group.lines, [
            self._written(row, next(results)) if isinstance(row, OpenRow) else row
            for row in group.rows
        ]

    def _written(self, row: OpenRow, result: Result) -> Answer:
        try:
            if result.refused is not None:
                raise result.refused
            spans = result.spans or [()] * len(result.messages)
            parts = [
                Part(text=message.content, spans=[_span(span) for span in found])
                for message, found in zip(result.messages, spans, strict=True)
            ]
            new = closed_row(row, self._layout, parts, result.findings, self.policy, self.key_id)
            return written_row(new), dict(result.findings)
        except RecollectError as error:
            return refusal(error)


@contextmanager
def remote_rows(address: str, policy: str, layout: RowLayout) -> Iterator[RemoteRows]:
    """The engine of the service at an address.

    Args:
        address: host:port or unix:/path.
        policy: a name that the service knows, or a file of one's own.
        layout: what of a row is read and written.

    Raises:
        RecollectError: POLICY_INVALID, SERVER_BUSY, SERVER_UNAVAILABLE, and what the credential
            lacks; no row was sent.
    """
    asked = policy_to_send(policy)
    with (
        connect(address) as client,
        closing(DeidCall(client, policy=asked, spans=layout.spans)) as call,
    ):
        yield RemoteRows(call, layout)


def policy_to_send(name: str) -> str | PolicyText:
    """A shipped policy by its name, or the text of one in a file; what is neither, as a name.

    Raises:
        RecollectError: POLICY_INVALID where a file cannot be read.
    """
    path = Path(name)
    if name in {policy.name for policy in shipped_policies()} or not path.is_file():
        return name
    try:
        return PolicyText(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecollectError(
            Reason.POLICY_INVALID,
            f"the policy cannot be read ({type(error).__name__})",
            where=name,
            fix="Name a file, or one of those that `recollect deid policies` lists.",
        ) from None


def _span(span: Span) -> dict[str, object]:
    told = asdict(span)
    kind = told.pop("entity_type")
    return {"start": told.pop("start"), "end": told.pop("end"), "class": kind, **told}
