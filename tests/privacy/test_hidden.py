"""Identifiers over the end of a line, and encoded ones."""

import gzip
import zlib
from base64 import b64encode, urlsafe_b64encode
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.encoded import MAX_DEPTH, MOST_SAID, encoded_texts
from recollect.services.privacy.hidden import joined_lines

from .conftest import KEY

DEIDENTIFIER = Deidentifier(Policy(), KEY, without=frozenset({"tagger"}))
EMAIL = "rosa.achterberg@mail.example.net"


def _left(text: str) -> str:
    return DEIDENTIFIER.preview(text).text


@pytest.mark.parametrize("cut", range(1, len(EMAIL)))
def test_an_address_cut_anywhere_leaves_nothing_of_its_name(cut: int) -> None:
    out = _left(f"Please write to {EMAIL[:cut]}\n{EMAIL[cut:]} if you can")
    # Without a dot or a digit before the break, a first name looks like any word.
    if cut > len("rosa"):
        assert "acht" not in out and "mail." not in out
    assert out.startswith("Please write to ") and out.endswith(" if you can")


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        # A card's first digits tell its network: those of tests begin alike.
        ("my card 4111 1111\n1111 1111 was charged", "1111 1111"),
        ("my card 411111\n1111111111 was charged", "1111111111"),
        ("> my card 4111-1111-\n> 1111-1111 was charged", "1111-1111"),
        ("iban GB82 WEST 1234\n5698 7654 32 ok", "WEST 1234"),
        ("call +1 202-555-\n0143 ok", "0143"),
        ("call +1 202\n555-0143 ok", "0143"),
        ("ssn 219-09-\n9999 ok", "9999"),
        ("What is your date of birth? September\n14, 1995 ok", "September\n14, 1995"),
        ("from 112.164.\n225.176 ok", "225.176"),
        ("order number 5549318\n0-54 ok", "5549318"),
        ("(414)\n724-3617 ok", "724"),
    ],
)
def test_a_number_over_two_lines_is_replaced_on_both(text: str, gone: str) -> None:
    out = _left(text)
    assert gone in text and gone not in out
    assert out.count("\n") <= 1 and out.split()[-1] == text.split()[-1]


@pytest.mark.parametrize(
    "text",
    [
        "12345678\n23456789\n41111111\n11111111",
        "Thanks\nfor 4111 1111\nand 1111 1111 more",
        "1.5\n2.5\n3.5",
        "total 2024-\n2025",
        "a - b\nc - d",
    ],
)
def test_columns_and_quantities_stay(text: str) -> None:
    assert _left(text) == text


def test_the_word_before_an_address_on_its_own_line_stays() -> None:
    assert _left(f"Thanks, write to\n{EMAIL}").startswith("Thanks, write to\n")


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("charset", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("said", [EMAIL, "card 4111 1111 1111 1111", "my name is Rosalind Acht"])
def test_base64_that_says_an_identifier_is_replaced(
    said: str, charset: str, encode: object
) -> None:
    assert callable(encode)
    run = encode(said.encode(charset)).decode()
    for text in (f"token {run} sent", f"?t={run}", f"({run.rstrip('=')})"):
        assert run.rstrip("=") not in _left(text)


def test_base64_of_a_mail_with_line_breaks_is_replaced() -> None:
    run = b64encode(
        f"Dear all, do write to {EMAIL} whenever you like, we are there.".encode()
    ).decode()
    wrapped = "\n".join(run[i : i + 76] for i in range(0, len(run), 76))
    out = _left(f"Attached:\n\n{wrapped}\n\nBye")
    assert not any(line.rstrip("=") in out for line in wrapped.split())


@pytest.mark.parametrize(
    "text",
    [
        "AbstractFactoryBeanProcessor internationalizations",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "token " + b64encode(b"hello there, nobody at all").decode(),
        "data:image/png;base64," + b64encode(bytes(range(256))).decode(),
    ],
)
def test_what_says_nothing_of_anybody_stays(text: str) -> None:
    assert [*encoded_texts(text)] == [] or _left(text) == text


@given(st.text(alphabet="a1@.- \n\t>", max_size=60))
def test_spans_over_lines_lead_back_to_the_text(text: str) -> None:
    for joined in joined_lines(text):
        span = joined.span(0, len(joined.text))
        assert span is not None
        start, end = span
        first = text[start : joined.first + joined.cut - joined.glue]
        assert joined.text == first + " " * joined.glue + text[joined.second : end]


@pytest.mark.parametrize(
    "text",
    ["rosa.acht [at] mail [dot] example.net", "rosa.acht(at)mail.example.net",
     "it's rosa dot acht at mail dot com"],
)  # fmt: skip
def test_an_address_as_it_is_spoken_is_replaced(text: str) -> None:
    assert "acht" not in _left(text)


SAID = f"Please write to {EMAIL} before noon"


def _twice(raw: bytes) -> str:
    return b64encode(b64encode(raw)).decode()


@pytest.mark.parametrize(
    "run",
    [
        _twice(SAID.encode()),
        b64encode(_twice(SAID.encode()).encode()).decode(),
        b64encode(gzip.compress(SAID.encode(), mtime=0)).decode(),
        b64encode(zlib.compress(SAID.encode(), 9)).decode(),
        b64encode(gzip.compress(b64encode(SAID.encode()), mtime=0)).decode(),
        SAID.encode().hex(),
        SAID.encode().hex().upper(),
        SAID.encode("utf-16-le").hex(),
        "0x" + SAID.encode().hex(),
        Header(f"Rosé {EMAIL}", "utf-8").encode(maxlinelen=500),
        f"=?UTF-8?Q?Rosa_=3C{EMAIL.replace('@', '=40')}=3E?=",
        f"=?iso-8859-1?q?Ros=E9_{EMAIL}?=",
    ],
)
def test_what_says_an_identifier_is_replaced_whole(run: str) -> None:
    text = f"see {run} for more"
    assert run not in _left(text)
    assert _left(text).startswith("see ") and _left(text).endswith(" for more")


@pytest.mark.parametrize(
    "run",
    [
        "d41d8cd98f00b204e9800998ecf8427e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"nothing in here at all".hex(),
        b64encode(gzip.compress(b"nothing in here at all", mtime=0)).decode(),
        b64encode(b64encode(b"nothing in here at all")).decode(),
        "=?utf-8?q?nothing_in_here?=",
    ],
)
def test_what_is_encoded_and_says_nothing_of_anybody_stays(run: str) -> None:
    assert _left(f"see {run} for more") == f"see {run} for more"


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("date of birth: ", "14/09/1995"),
        ("my username is ", "rosalind_acht"),
        ("DOB ", "3 May 1999"),
    ],
)
def test_what_stands_before_a_run_tells_what_it_says(before: str, value: str) -> None:
    run = b64encode(value.encode()).decode()
    assert run not in _left(f"{before}{run} ok")


def test_a_date_alone_is_nobodys_birth() -> None:
    run = b64encode(b"14/09/1995").decode()
    assert run in _left(f"the value {run} ok")


def test_a_bomb_is_read_to_its_limit_and_no_further() -> None:
    bomb = b64encode(
        gzip.compress(b"write to rosa.achterberg@mail.example.net " * 200_000)
    ).decode()
    ((start, end, said),) = encoded_texts(bomb)
    assert (start, end) == (0, len(bomb))
    assert len(said) <= MOST_SAID
    assert bomb not in _left(bomb)


def test_no_more_layers_are_taken_off_than_told() -> None:
    run = SAID
    for _ in range(MAX_DEPTH + 1):
        run = b64encode(run.encode()).decode()
    assert _left(run) == run
    assert b64encode(SAID.encode()).decode() not in _left(b64encode(SAID.encode()).decode())


@given(st.binary(max_size=200))
def test_whatever_bytes_say_nothing_fails(raw: bytes) -> None:
    for run in (b64encode(raw).decode(), raw.hex(), f"=?utf-8?b?{b64encode(raw).decode()}?="):
        for start, end, _ in encoded_texts(run):
            assert 0 <= start < end <= len(run)
