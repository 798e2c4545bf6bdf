"""Tenants: which rooms answer for whom, opened when they are first asked for.

The tenant `default` lives in the data folder itself and is always open; every other one has a
folder below `tenants/`. A tenant exists because a credential names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from .access import DEFAULT_TENANT, CredentialRegister
from .access.principal import require_tenant_name
from .rooms import Rooms
from .threads import finished

FOLDER = "tenants"

OpenRooms = Callable[[Path], Rooms]


def tenant_folder(data_folder: Path, tenant: str) -> Path:
    """The data folder of a tenant."""
    if tenant == DEFAULT_TENANT:
        return data_folder
    return data_folder / FOLDER / require_tenant_name(tenant)


@dataclass(slots=True)
class _Suite:
    rooms: Rooms
    num_calls: int = 0


class Tenants:
    """The rooms that are open, at most so many; belongs to one event loop."""

    def __init__(
        self,
        data_folder: Path,
        *,
        register: CredentialRegister,
        open_rooms: OpenRooms,
        most_open: int,
    ) -> None:
        self._data_folder = data_folder
        self._register = register
        self._open_rooms = open_rooms
        self._most_open = most_open
        self._open: dict[str, _Suite] = {}
        """In the order of last use."""
        self._changing = asyncio.Lock()

    @property
    def open_names(self) -> tuple[str, ...]:
        """Tenants whose rooms are open, the one that waits longest first."""
        return tuple(self._open)

    @asynccontextmanager
    async def rooms(self, tenant: str) -> AsyncIterator[Rooms]:
        """The rooms of a tenant, which stay open for as long as the call lasts.

        Raises:
            RecollectError: SERVER_BUSY if too many tenants are being served, or what opening the
                tenant's folder or recording its credentials raises.
        """
        suite = self._open.pop(tenant, None)
        if suite is None:
            async with self._changing:
                suite = await self._opened(tenant)
                suite.num_calls += 1
        else:
            self._open[tenant] = suite
            suite.num_calls += 1
        try:
            await self._record(tenant, suite.rooms)
            yield suite.rooms
        finally:
            suite.num_calls -= 1

    async def close(self) -> None:
        """Closes all rooms, once no call is under way."""
        async with self._changing:
            while self._open:
                _, suite = self._open.popitem()
                await finished(suite.rooms.close)

    async def _opened(self, tenant: str) -> _Suite:
        if tenant not in self._open:
            await self._make_place()

            def open_one() -> None:
                # Kept by the thread itself: a call that is cancelled meanwhile leaves them open.
                rooms = self._open_rooms(tenant_folder(self._data_folder, tenant))
                self._open[tenant] = _Suite(rooms)

            await finished(open_one)
        return self._open[tenant]

    async def _make_place(self) -> None:
        """Closes those that wait longest, until one more may be opened."""
        while len(self._open) >= self._most_open:
            idle = [
                name
                for name, suite in self._open.items()
                if not suite.num_calls and name != DEFAULT_TENANT
            ]
            if not idle:
                raise RecollectError(
                    Reason.SERVER_BUSY,
                    f"{self._most_open} tenants are being served, which is all that may be open.",
                    fix="Try again in a moment, or raise max_open_tenants.",
                )
            await finished(self._open.pop(idle[0]).rooms.close)

    async def _record(self, tenant: str, rooms: Rooms) -> None:
        """Brings the tenant's ledger up to date before the call counts."""
        generation = self._register.generation
        if rooms.recorded_generation == generation:
            return
        own = [one for one in self._register.all() if one.tenant == tenant]
        await finished(rooms.record, own, generation)
