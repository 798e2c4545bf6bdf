"""The calls of StoreService that list what is in quarantine, and give it up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Message, Pointer, Speaker
from ..v1 import store_pb2 as wire
from .privacy import Deidentifier
from .replay import QuarantinedRow, ReplayStore
from .status import Context, translated
from .tally import MAX_POINTERS, ledger_pointer
from .threads import finished, in_thread

MAX_WHY_CHARACTERS = 500
"""Longest reason for giving rows up."""


class QuarantineCalls:
    """Part of the servicer of StoreService."""

    _store: ReplayStore
    _deidentifier: Deidentifier

    @translated
    async def ListQuarantine(
        self, request: wire.ListQuarantineRequest, context: Context
    ) -> AsyncIterator[wire.ListQuarantineResponse]:
        """Streams what is in quarantine, source by source."""
        async for response in in_thread(self._listed(request)):
            yield response

    def _listed(self, request: wire.ListQuarantineRequest) -> Iterator[wire.ListQuarantineResponse]:
        every = [summary.source.name for summary in self._store.sources()]
        names = self._names_of(request.file)
        for source in [request.source] if request.source else every:
            rows, num_unlisted = self._store.quarantined(source)
            if names:
                rows, num_unlisted = [r for r in rows if r.pointer.file in names], 0
            # At least one answer where there is anything, though nothing points to it.
            for first in range(0, len(rows) or min(num_unlisted, 1), MAX_POINTERS):
                yield wire.ListQuarantineResponse(
                    source=source,
                    rows=map(_to_wire, rows[first : first + MAX_POINTERS]),
                    num_unlisted=num_unlisted,
                )

    @translated
    async def DropQuarantine(
        self, request: wire.DropQuarantineRequest, context: Context
    ) -> wire.DropQuarantineResponse:
        """Records that rows in quarantine are given up."""
        return await finished(self._dropped, request)

    def _dropped(self, request: wire.DropQuarantineRequest) -> wire.DropQuarantineResponse:
        self._store.source(request.source)
        row = request.row if request.HasField("row") else None
        if row is not None and not request.file:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "a row was named, and no file.",
                where="file",
                fix="Name the file that the row is in.",
            )
        why = self._cleaned(request.why)
        # A file is known by its name or, to whoever read it in a list, by the stored one.
        names: list[str | None] = [*self._names_of(request.file)]
        for file in names or [None]:
            num_rows, num_unlisted = self._store.drop_quarantined(
                request.source, file, row, why=why, actor="quarantine"
            )
            if num_rows or num_unlisted:
                return wire.DropQuarantineResponse(num_rows=num_rows, num_unlisted=num_unlisted)
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "nothing of that is in quarantine.",
            where=request.source,
            fix="`recollect quarantine list` shows what is.",
        )

    def _names_of(self, file: str) -> list[str]:
        """How the ledger may have the name of a file; nothing, if none is given."""
        given = (file, self._deidentifier.clean_name(file)) if file else ()
        names = (ledger_pointer(Pointer(file=name, row=0)).file for name in given)
        return list(dict.fromkeys(names))

    def _cleaned(self, why: str) -> str:
        """The reason as it may be stored: people write names into such fields."""
        if not why.strip() or len(why) > MAX_WHY_CHARACTERS:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"the reason must have 1 … {MAX_WHY_CHARACTERS} characters, not {len(why)}.",
                where="why",
                fix="Say in a sentence why nobody will try the rows again.",
            )
        clean = self._deidentifier.deidentify([Message(speaker=Speaker.TEXT, content=why)])
        return clean.messages[0].content


def _to_wire(row: QuarantinedRow) -> wire.QuarantinedRow:
    return wire.QuarantinedRow(
        pointer=wire.Pointer(file=row.pointer.file, row=row.pointer.row),
        reason=row.why.reason,
        ingest=row.why.ingest,
        time=row.why.time,
        mapping_digest=row.why.mapping_digest,
    )
