"""Core dumps: a core file of a process that holds raw text would write it to disk (law 1)."""

from __future__ import annotations

import resource


def refuse_core_dumps() -> None:
    """From now on this process and its children leave no core file, and hand none to a program.

    Where the kernel hands core files to a program (`core_pattern` begins with `|`), it heeds no
    limit but that of one byte, for which it dumps nothing. One byte is too little for a file, too.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    # Who was started with a limit of none cannot raise it.
    limit = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
