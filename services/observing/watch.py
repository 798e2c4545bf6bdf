"""The watch: all that is observed of one service, for whoever has something to tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .calls import CallWatch
from .metrics import Metrics
from .streams import StreamWatch


class Line(Protocol):
    """Calls that wait for one kind of heavy work."""

    @property
    def name(self) -> str:
        """The kind."""
        ...

    @property
    def num_waiting(self) -> int:
        """How many wait."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Open:
    tenant: str
    num_entries: Callable[[], int]
    lines: Sequence[Line]


class Watch:
    """The metrics of a service, and who fills them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.calls = CallWatch(self.metrics)
        self.streams = StreamWatch(self.metrics)
        self._numbers = itertools.count()
        self._open: dict[int, _Open] = {}
        add = self.metrics.readings.add
        add(
            "recollect_ledger_entries",
            "Entries of the ledgers of tenants that are open.",
            "tenant",
            self._entries,
        )
        add("recollect_crew_waiting", "Calls that wait for heavy work.", "crew", self._waiting)

    def rooms(
        self, tenant: str, *, num_entries: Callable[[], int], lines: Sequence[Line]
    ) -> Callable[[], None]:
        """Watches the rooms of a tenant, until what is returned is called.

        Args:
            tenant: whose they are.
            num_entries: how long the ledger is; called in another thread.
            lines: what is waited for in them.
        """
        number = next(self._numbers)
        label = self.metrics.tenant(tenant)
        self._open[number] = _Open(tenant=label, num_entries=num_entries, lines=lines)

        def closed() -> None:
            del self._open[number]

        return closed

    def _entries(self) -> Iterator[tuple[str, float]]:
        for rooms in tuple(self._open.values()):
            yield rooms.tenant, float(rooms.num_entries())

    def _waiting(self) -> Iterator[tuple[str, float]]:
        for rooms in tuple(self._open.values()):
            for line in rooms.lines:
                yield line.name, float(line.num_waiting)
