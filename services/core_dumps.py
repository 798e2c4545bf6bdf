"""Core dumps: a core file of a process that holds raw text would write it to disk (law 1)."""

from __future__ import annotations

import resource


def refuse_core_dumps() -> None:
    """From now on this process and its children leave no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
