"""Nothing is accepted that could not be read again."""

from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import JSON, Ledger


@pytest.mark.parametrize("actor", ["x" * 129, "a\nb", "\x1b[2J"])
def test_an_actor_that_is_no_name_is_refused(tmp_path: Path, actor: str) -> None:
    ledger = Ledger.open(tmp_path)
    with pytest.raises(RecollectError) as caught:
        ledger.append("kind", {}, actor=actor)
    assert caught.value.reason is Reason.INPUT_MALFORMED
    assert ledger.num_entries == 0
    ledger.close()


def test_a_body_that_is_too_deep_is_refused_and_the_ledger_opens_again(tmp_path: Path) -> None:
    deep: JSON = []
    for _ in range(980):
        deep = [deep]
    ledger = Ledger.open(tmp_path)
    with pytest.raises(RecollectError) as caught:
        ledger.append("kind", {"deep": deep}, actor="test")
    assert caught.value.reason is Reason.INPUT_MALFORMED
    ledger.append("kind", {"deep": [[[1]]]}, actor="test")
    ledger.close()
    assert Ledger.open(tmp_path).num_entries == 1
