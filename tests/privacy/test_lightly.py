"""A process that reads text imports neither torch nor transformers, and may do so afterwards."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

_READ = """
import json, sys
{before}
from recollect.services.privacy import Deidentifier, Policy
deidentifier = Deidentifier(Policy(), bytes(32))
deidentifier.prove()
text = deidentifier.preview("I am Rosalind Achterberg, rosa@mail.example.com").text
told = [text, "torch" in sys.modules, "transformers" in sys.modules]
{after}
print(json.dumps(told))
"""


def _told(before: str = "", after: str = "") -> list[object]:
    program = _READ.format(before=before, after=after)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    told: list[object] = json.loads(result.stdout)
    return told


def test_neither_is_imported_to_read_text_and_both_can_be_afterwards() -> None:
    after = "told += [torch.ones(2).sum().item(), transformers.pipeline.__name__]"
    text, *told = _told(after=f"import torch, transformers; {after}")
    assert told == [False, False, 2.0, "pipeline"]
    # Whoever has imported torch before keeps it, and reads the same.
    again, *told = _told(before="import torch")
    assert (again, told[0]) == (text, True)
