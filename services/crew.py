"""A crew: the few threads that do one kind of heavy work, and the line of calls that wait for them.

Left to the pool that everybody shares, such work would occupy every thread of it, and all memory,
as soon as somebody asks for enough of it at once. With a crew of its own it delays only itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import ParamSpec, TypeVar

from ..mixer.errors import Reason, RecollectError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Crew:
    """A number of threads, and how many calls may wait for one."""

    def __init__(self, name: str, *, num_threads: int, most_waiting: int) -> None:
        """Hires nobody yet: a thread begins with the first call that needs it.

        Args:
            name: what the crew does, as its threads are called and a refusal says.
            num_threads: how many calls are worked on at a time.
            most_waiting: how many more may wait.
        """
        self.name = name
        self._num_threads = num_threads
        self._most = num_threads + most_waiting
        self._num_taken = 0
        self._counting = Lock()
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)

    async def run(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """The result of a function that runs when its turn comes.

        A call that is cancelled before, as when its deadline passes, leaves the line, and its
        function never runs. One that is cancelled later waits for the end of its function, as
        everywhere (see `threads`).

        Raises:
            RecollectError: SERVER_BUSY when too many are waiting.
            asyncio.CancelledError: the call was cancelled; what the function returned or raised is
                dropped.
        """
        return await self.run_until(lambda: None, function, *args, **kwargs)

    async def run_until(
        self,
        give_up: Callable[[], None],
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """As `run`, of a function that can be told that nobody waits for it any more.

        `give_up` tells it, once the call is cancelled; its end is waited for all the same.
        """
        work = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        self._take()
        job: Future[Result] = self._threads.submit(work)
        job.add_done_callback(self._leave)
        return await _ended(job, give_up)

    @property
    def num_waiting(self) -> int:
        """How many calls wait for their turn."""
        return max(0, self._num_taken - self._num_threads)

    def _take(self) -> None:
        with self._counting:
            if self._num_taken >= self._most:
                raise RecollectError(
                    Reason.SERVER_BUSY,
                    f"{self._most} calls are worked on or wait already.",
                    where=self.name,
                )
            self._num_taken += 1

    def _leave(self, _: Future[Result]) -> None:
        with self._counting:
            self._num_taken -= 1


async def _ended(job: Future[Result], give_up: Callable[[], None]) -> Result:
    """The result of a job, whose end is waited for unless it was cancelled before it began."""
    ending = asyncio.wrap_future(job)
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError as error:
            if job.cancel():
                raise
            cancelled = error
            give_up()
    if cancelled is None:
        return ending.result()
    # Asked for, or asyncio would log the error with its message, which may hold example text.
    ending.exception()
    raise cancelled
