"""Threads of a call: what blocks runs beside the event loop, and never outlives its call.

A call is cancelled when its client goes away, but a thread cannot be: it would go on writing while
the call gives its locks and files to the next one. So a cancelled call waits for its thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from typing import ParamSpec, Protocol, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")


class Closeable(Protocol):
    """What is given back by closing it."""

    def close(self) -> None:
        """Gives it back."""
        ...


Resource = TypeVar("Resource", bound=Closeable)


async def finished(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """The result of a function that runs in a thread, whose end is waited for in any case.

    Raises:
        asyncio.CancelledError: the call was cancelled, however often; the thread has ended, and
            what it returned or raised is dropped.
    """
    work = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    # A future and no task: the end of the event loop cancels every task, this one too.
    thread = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return thread.result()
    # Asked for, or asyncio would log the error with its message, which may hold example text.
    thread.exception()
    raise cancelled


@asynccontextmanager
async def opened(
    opening: Callable[Parameters, Resource], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> AsyncIterator[Resource]:
    """What a function opens, opened and closed in threads; closed too if that was cancelled."""
    stack = ExitStack()
    try:
        yield await finished(lambda: stack.enter_context(closing(opening(*args, **kwargs))))
    finally:
        await finished(stack.close)


async def in_thread(steps: Iterator[Item]) -> AsyncGenerator[Item, None]:
    """The items of a generator whose steps run in threads, one after another.

    A step that is under way when the call is cancelled is waited for, and then the generator is
    closed: so what it works with is free when the call ends, and half-written files are removed.
    """
    ended = object()
    try:
        while (item := await finished(next, steps, ended)) is not ended:
            yield item  # type: ignore[misc]
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            await finished(close)
