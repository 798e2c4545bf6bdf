"""The error tree: complete, stable, documented."""

import pickle
import re
import traceback
from pathlib import Path

from recollect.mixer.errors import CATALOG, Reason, RecollectError

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def test_every_reason_has_its_consequence_and_its_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert set(CATALOG) == set(Reason)
    assert [r.name for r in Reason if f"`{r.name}`" not in text] == []


def test_every_error_says_what_to_do() -> None:
    assert [reason.name for reason in Reason if not RecollectError(reason, "no").fix] == []
    assert RecollectError(Reason.INTERNAL, "no", fix="Do this.").fix == "Do this."


def test_exit_codes_are_those_of_sysexits() -> None:
    assert all(64 <= consequence.exit_code <= 78 for consequence in CATALOG.values())


def test_the_documented_codes_are_the_catalogs() -> None:
    rows = re.findall(
        r"\| `(\w+)` \| (\d+) \| (\d+) \| `(\w+)` \|", DOCS.read_text(encoding="utf-8")
    )
    assert {name: (int(v), int(e), s) for name, v, e, s in rows} == {
        r.name: (r.value, CATALOG[r].exit_code, CATALOG[r].status) for r in Reason
    }


def test_an_error_survives_the_wire() -> None:
    error = RecollectError(Reason.MIX_SHARES, "the sum is 9/10", where="shares", fix="Add 1/10.")
    back = RecollectError.from_metadata(error.reason.name, error.to_metadata())
    assert (back.reason, str(back)) == (Reason.MIX_SHARES, "shares: the sum is 9/10. Add 1/10.")


def test_an_error_comes_back_from_another_process() -> None:
    error = RecollectError(Reason.MIX_SHARES, "the sum is 9/10", where="shares", fix="Add 1/10.")
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, RecollectError)
    assert (back.reason, str(back)) == (error.reason, str(error))


def test_a_traceback_names_the_reason() -> None:
    error = RecollectError(Reason.MIX_SHARES, "the sum is 9/10")
    assert "reason: MIX_SHARES" in "".join(traceback.format_exception(error))


def test_a_reason_of_a_newer_service_is_internal_but_keeps_its_words() -> None:
    back = RecollectError.from_metadata("NEVER_HEARD_OF", {"message": "something new"})
    assert back.reason is Reason.INTERNAL
    assert "something new" in str(back)
