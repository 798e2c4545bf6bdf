"""A few values that were worked out lately, each by one thread while the others wait for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The `size` values that were asked for last; safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()
        self._working = Lock()

    def of(self, name: str, work_out: Callable[[], Value]) -> Value:
        """The value of this name, worked out unless it is still there."""
        found = self._found(name)
        if found is not None:
            return found
        with self._working:
            found = self._found(name)
            return self._keep(name, work_out()) if found is None else found

    def _found(self, name: str) -> Value | None:
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
            return self._values.get(name)

    def _keep(self, name: str, value: Value) -> Value:
        with self._lock:
            self._values[name] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value
