"""Ranks that meet and part, each in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path("/proc/self/task")

RANK = """
import json, os, sys
from pathlib import Path
from recollect.trainer.ranks import Ranks

ranks = Ranks.join(int(sys.argv[1]), 2)
# As transformers does when a model is first loaded.
import torch.distributed.nn.functional

total = ranks.sum(1.0)
ranks.leave()
names = [path.joinpath("comm").read_text().strip() for path in Path("/proc/self/task").iterdir()]
print(json.dumps([total, [name for name in names if "gloo" in name or "tcpstore" in name]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are named in /proc only")
def test_a_rank_that_parts_leaves_no_thread_behind() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    # A thread of the group that outlives it aborts the process at its end, now and then.
    assert told == [[2.0, []], [2.0, []]]
