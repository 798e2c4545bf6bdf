from __future__ import annotations

import ipaddress
import re
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy.draw import Draw
from recollect.services.privacy.standins import MAKERS, fill, luhn_digit, make_code
from recollect.services.privacy.surrogates import Surrogates, _comes_back, _holds_any, kind_of

SURROGATES = Surrogates(bytes(range(32)))
OTHER_KEY = Surrogates(bytes(range(1, 33)))

DIGITS = st.text("0123456789", min_size=1, max_size=12)
VALUES = st.one_of(
    st.sampled_from(
        [
            "Priya Sharma",
            "MARIA DE LA CRUZ",
            "rajesh",
            "Dr. K. O'Brien-Smith",
            "12, MG Road, Eastmarch 560001",
            "Flat",
            "rosa@mail.example.com",
            "+91 98765 43210",
            "502-7741936-1180254",
            "4111 1111 1111 1111",
            "GB82 WEST 1234 5698 7654 32",
            "14/03/1987",
            "March 5, 1990",
            "29 Feb 1988",
            "192.0.2.17",
            "fe80::1",
            "@quokka_91",
            "https://www.example.com/rosa",
        ]
    ),
    st.text(min_size=1, max_size=20).filter(lambda text: any(c.isalnum() for c in text)),
    DIGITS,
)
KINDS = st.sampled_from(sorted(MAKERS))


@given(KINDS, VALUES)
@settings(max_examples=200, deadline=None)
def test_a_surrogate_is_never_the_original_nor_holds_it(kind: str, value: str) -> None:
    try:
        surrogate = SURROGATES.stand_in(kind, value)
    except RecollectError as error:  # A value that leaves no room to differ is quarantined.
        assert error.reason is Reason.DEIDENTIFICATION_FAILED
        return
    assert surrogate
    assert value.lower() != surrogate.lower()
    if len(value) > 3:
        # "1 May 2000" is not in "21 May 2000": a number goes on where digits do.
        before = r"(?<!\d)" if value[0].isdigit() else ""
        after = r"(?!\d)" if value[-1].isdigit() else ""
        assert not re.search(before + re.escape(value.lower()) + after, surrogate.lower())


@given(KINDS, VALUES)
@settings(max_examples=100, deadline=None)
def test_the_same_value_and_key_give_the_same_surrogate(kind: str, value: str) -> None:
    again = Surrogates(bytes(range(32)))
    try:
        expected = SURROGATES.stand_in(kind, value)
    except RecollectError:
        return
    assert again.stand_in(kind, value) == expected


@pytest.mark.parametrize("kind", sorted(set(MAKERS) - {"IP_ADDRESS", "CREDIT_CARD"}))
def test_another_key_gives_another_surrogate(kind: str) -> None:
    value = "GB82 WEST 1234 5698 7654 32"
    assert SURROGATES.stand_in(kind, value) != OTHER_KEY.stand_in(kind, value)


@given(st.text("abcXYZ0123456789-/ ", min_size=4, max_size=24))
@settings(max_examples=100, deadline=None)
def test_a_code_keeps_its_shape(value: str) -> None:
    made = make_code(value, Draw(b"k" * 16, "CODE"))
    shape = [(c.isdigit(), c.isalpha(), c.isupper()) for c in value]
    assert [(c.isdigit(), c.isalpha(), c.isupper()) for c in made] == shape


@given(st.text("0123456789", min_size=13, max_size=19))
@settings(max_examples=60, deadline=None)
def test_a_card_stays_valid_and_comes_from_the_test_range(number: str) -> None:
    card = SURROGATES.stand_in("CREDIT_CARD", number)
    assert len(card) == len(number)
    assert card.startswith("411111")
    assert luhn_digit(card[:-1]) == card[-1]


def test_luhn_digit_of_a_published_number() -> None:
    assert luhn_digit("7992739871") == "3"  # The worked example of ISO/IEC 7812-1.


@pytest.mark.parametrize("iban", ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"])
def test_an_iban_keeps_its_country_and_shape_and_has_valid_check_digits(iban: str) -> None:
    made = SURROGATES.stand_in("IBAN_CODE", iban)
    plain = made.replace(" ", "")
    assert plain[:2] == iban[:2]
    assert [c == " " for c in made] == [c == " " for c in iban]
    assert int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


@given(st.ip_addresses())
@example(ipaddress.ip_address("2001:db8::"))
@example(ipaddress.ip_address("3fff::"))
@settings(max_examples=60, deadline=None)
def test_an_address_of_the_net_comes_from_a_documentation_range(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    made = ipaddress.ip_address(SURROGATES.stand_in("IP_ADDRESS", str(address)))
    ranges = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
    assert any(made in ipaddress.ip_network(net) for net in ranges)
    assert made.version == address.version


@pytest.mark.parametrize("number", ["219-09-9999", "219 09 9999", "219099999"])
def test_a_social_security_number_becomes_one_that_is_never_issued(number: str) -> None:
    made = SURROGATES.stand_in("US_SSN", number)
    digits = re.sub(r"\D", "", made)
    assert digits[0] == "9"
    assert 1 <= int(digits[3:5]) <= 49
    assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", number)


@pytest.mark.parametrize(
    ("number", "shape"),
    [
        ("(212) 736-5000", r"\([2-9]\d\d\) 555-01\d\d"),
        ("9876543210", r"[2-9]\d\d55501\d\d"),
        ("98765 43210", r"[2-9]\d\d55 501\d\d"),
        ("+91 98765 43210", r"\+1 [2-9]\d\d55 501\d\d"),
        ("07912 345678", r"07700 900\d\d\d"),
        ("+44 7912 345678", r"\+44 7700 900\d\d\d"),
        ("736-5000", r"555-01\d\d"),
    ],
)
def test_a_phone_number_keeps_its_form_but_reaches_nobody(number: str, shape: str) -> None:
    assert re.fullmatch(shape, SURROGATES.stand_in("PHONE_NUMBER", number))


def test_a_template_is_filled_from_the_right() -> None:
    assert fill("(12) 34", "98765") == "(987) 65"
    assert fill("+12 34", "987") == "+9 87"


@pytest.mark.parametrize(
    ("value", "form"),
    [("14/03/1987", "%d/%m/%Y"), ("1979-08-30", "%Y-%m-%d"), ("March 5, 1990", "%B %d, %Y")],
)
def test_a_date_is_shifted_by_at_most_half_a_year(value: str, form: str) -> None:
    made = datetime.strptime(SURROGATES.stand_in("DATE_TIME", value), form)
    shift = abs((made - datetime.strptime(value, form)).days)
    assert 1 <= shift <= 180


def test_a_birth_date_is_moved_by_at_most_three_years_more() -> None:
    for number in range(50):
        made = SURROGATES.stand_in("DATE_OF_BIRTH", "1979-08-30", subject=f"subject {number}")
        shift = abs((datetime.strptime(made, "%Y-%m-%d") - datetime(1979, 8, 30)).days)
        assert 1 <= shift <= 180 + 3 * 366


def test_a_first_name_is_the_same_alone_and_in_a_full_name() -> None:
    full = SURROGATES.stand_in("PERSON", "Priya Sharma").split()
    assert SURROGATES.stand_in("PERSON", "Priya") == full[0]
    assert SURROGATES.stand_in("SURNAME", "Sharma") == full[1]
    assert SURROGATES.stand_in("PERSON", "priya sharma") == " ".join(full).lower()
    assert SURROGATES.stand_in("PERSON", "PRIYA SHARMA") == " ".join(full).upper()


def test_an_email_address_moves_to_the_reserved_domain() -> None:
    assert SURROGATES.stand_in("EMAIL_ADDRESS", "a@b.co").endswith("@example.com")


def test_a_surrogate_avoids_the_other_values_of_its_example() -> None:
    free = SURROGATES.stand_in("PERSON", "Priya")
    forced = SURROGATES.stand_in("PERSON", "Priya", avoid={free.lower()})
    assert free.lower() not in forced.lower()


def test_a_pseudonym_ignores_case_and_spacing_and_needs_the_key() -> None:
    assert SURROGATES.pseudonym(" Rosa  A ") == SURROGATES.pseudonym("rosa a")
    assert SURROGATES.pseudonym("rosa a") != OTHER_KEY.pseudonym("rosa a")
    assert re.fullmatch("[0-9a-f]{32}", SURROGATES.pseudonym("rosa a"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("rosa@mail.example.com", "EMAIL_ADDRESS"),
        ("Rosa Achterberg", "PERSON"),
        ("+1 202-555-0143", "PHONE_NUMBER"),
        ("12 Harbour Street, Eastmarch", "ADDRESS"),
        ("AC-00918273", "CODE"),
    ],
)
def test_a_known_value_is_judged_by_its_looks(value: str, kind: str) -> None:
    assert kind_of("KNOWN_VALUE", value) == kind


@given(
    st.text(alphabet="ab1 -", min_size=1, max_size=12),
    st.sets(st.text(alphabet="ab1 -", min_size=1, max_size=6), max_size=300),
)
def test_parts_of_a_candidate_tell_as_much_as_every_value(candidate: str, avoid: set[str]) -> None:
    many = avoid | {f"x{number}" for number in range(200)}
    expected = any(_comes_back(value, candidate) for value in many)
    assert _holds_any(candidate, "zz", many) == expected
