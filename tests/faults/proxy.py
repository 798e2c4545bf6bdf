"""A proxy that delays, cuts, doubles and changes what passes through it, from a seed."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 16
DELAY_SECONDS = 0.05
"""The longest delay of a chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """How likely it is that something happens to a chunk, of 64 KiB at most."""

    delay: float = 0.0
    cut: float = 0.0
    """The connection ends in the middle of the chunk."""
    double: float = 0.0
    """The chunk comes twice."""
    change: float = 0.0
    """One of its bits comes as the other."""


NOTHING = Odds()


class Proxy:
    """Listens on a port of the loopback and forwards to a Unix socket, or to a port there.

    Where nobody listens behind it, it hangs up, as a host does whose service is down.
    """

    def __init__(self, behind: Path | int, *, seed: int, up: Odds, down: Odds) -> None:
        """Listens once it is constructed.

        Args:
            behind: where to forward to.
            seed: of what happens to whom.
            up: what happens to what clients send.
            down: what happens to what they are sent.
        """
        self._behind = behind
        self._odds: Mapping[str, Odds] = {"up": up, "down": down}
        self._dice = random.Random(seed)
        self.faults: Counter[str] = Counter()
        """What happened how often."""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Hangs up and stops."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._pipes: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._behind, int):
                there = await asyncio.open_connection("127.0.0.1", self._behind)
            else:
                there = await asyncio.open_unix_connection(self._behind)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, there[1])
        for way, source, sink in (("up", reader, there[1]), ("down", there[0], writer)):
            pipe = asyncio.ensure_future(self._pass_on(self._odds[way], source, sink, both))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pass_on(
        self,
        odds: Odds,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if self._happens("delay", odds.delay):
                    await asyncio.sleep(self._dice.uniform(0, DELAY_SECONDS))
                if self._happens("change", odds.change):
                    place = self._dice.randrange(len(chunk))
                    flipped = bytes([chunk[place] ^ 1 << self._dice.randrange(8)])
                    chunk = chunk[:place] + flipped + chunk[place + 1 :]
                if self._happens("double", odds.double):
                    chunk += chunk
                if self._happens("cut", odds.cut):
                    sink.write(chunk[: self._dice.randrange(len(chunk))])
                    break
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass  # one of the two is gone: so is the other
        finally:
            for writer in both:
                writer.close()

    def _happens(self, what: str, odds: float) -> bool:
        happens = self._dice.random() < odds
        self.faults[what] += happens
        return happens
