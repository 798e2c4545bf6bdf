"""Threads that calls wait for: to their end, whatever becomes of the call."""

import asyncio
import time

import pytest

from recollect.services.threads import finished


def test_a_thread_is_waited_for_however_often_its_call_is_cancelled() -> None:
    events = []

    def step() -> None:
        time.sleep(0.3)
        events.append("step")
        raise ValueError("dropped")

    async def work() -> None:
        task = asyncio.create_task(finished(step))
        for _ in range(3):
            await asyncio.sleep(0.05)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("call")

    asyncio.run(work())
    assert events == ["step", "call"]


def test_what_a_thread_returns_or_raises_reaches_its_call() -> None:
    async def work() -> None:
        assert await finished(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await finished(divmod, 7, 0)

    asyncio.run(work())
