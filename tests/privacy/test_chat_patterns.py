"""Chats and forms: ages, handles, codes, spoken numbers and pages; what only looks so stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import ENTITY_TYPES, Deidentifier, Policy
from recollect.services.privacy.spelled import is_spoken, respoken, spoken_digits
from recollect.services.privacy.surrogates import Surrogates

from .conftest import KEY

DEIDENTIFIER = Deidentifier(
    Policy(entities=ENTITY_TYPES), KEY, without=frozenset({"tagger", "quasi"})
)
FOUND = [
    ("PHONE_NUMBER", "it is oh seven double nine, one two three, four five oh six ok",
     "oh seven double nine, one two three, four five oh six"),
    ("PHONE_NUMBER", "back on five five five, oh one nine two bye",
     "five five five, oh one nine two"),
    ("PHONE_NUMBER", "CALL ME ON NINE ONE TWO FOUR FOUR", "NINE ONE TWO FOUR FOUR"),
    ("PHONE_NUMBER", "my number is 07 double 7 oh 9", "07 double 7 oh 9"),
    ("PHONE_NUMBER", "eight hundred no, five five five uh twelve twelve please",
     "five five five uh twelve twelve"),
    ("PHONE_NUMBER", "ring 0044 7700 900 255, leave it", "0044 7700 900 255"),
    ("PHONE_NUMBER", "his mob 07700 900482 is off", "07700 900482"),
    ("PHONE_NUMBER", "Handy 0176 5550 0148;", "0176 5550 0148"),
    ("AGE", "my girl, she's fifteen, at school", "fifteen"),
    ("AGE", "can you delete it. hes 9", "9"),
    ("AGE", "my dad hes eighty three hes deaf", "eighty three"),
    ("AGE", "meg@mail.example.com im 10", "10"),
    ("AGE", "I AM 90 AND HAVE AN ALARM", "90"),
    ("AGE", "shes 33 or 36 depending on the app", "33"),
    ("AGE", "shes 33 or 36 depending on the app", "36"),
    ("AGE", "2 adults + 11 month old baby", "11 month old"),
    ("AGE", "our eleven month old is teething", "eleven month old"),
    ("AGE", "aged parents of 71 and 78 suffered", "71"),
    ("AGE", "aged parents of 71 and 78 suffered", "78"),
    ("AGE", "my son just turned 18", "18"),
    ("AGE", "a 52yo woman", "52yo"),
    ("AGE", "I (27f) and him (31m)", "27"),
    ("AGE", "patient m/27, cough", "27"),
    ("AGE", "female, 44, cough", "44"),
    ("AGE", "Age: 61\nSex: M", "61"),
    ("AGE", "I'm Ash, they/them, twenty-two, agnostic", "twenty-two"),
    ("AGE", "child Bo K. (3) clean and fed", "3"),
    ("AGE", "my lil bro is 7 n he spent 200", "7"),
    ("AGE", "I'll be 65 in march", "65"),
    ("AGE", "my 2 yr old swallowed it", "2 yr old"),
    ("AGE", "DOB unknown, 44 y.o.", "44 y.o"),
    ("AGE", "kids (4, 71 and 11)", "71"),
    ("AGE", "ages: 4, 7 and 12", "12"),
    ("USERNAME", "lol my psn is xX_TaterTot_Xx add me", "xX_TaterTot_Xx"),
    ("USERNAME", "it was xX_TaterTot_Xx again", "xX_TaterTot_Xx"),
    ("USERNAME", "my gamertag is tatertot, add me", "tatertot"),
    ("USERNAME", "insta: lucindabakes\nthanks", "lucindabakes"),
    ("USERNAME", "username: gnarlybones", "gnarlybones"),
    ("USERNAME", "add me on discord tater.tot#1234", "tater.tot#1234"),
    ("USERNAME", "deposits to cashapp $lucindabakes", "lucindabakes"),
    ("USERNAME", "a stranger called Mr_Giggles66, can you", "Mr_Giggles66"),
    ("USERNAME", "user gnarlybones old pass hunter2hunter2", "gnarlybones"),
    ("USERNAME", "User rpatwardhan logged in from there", "rpatwardhan"),
    ("USERNAME", "session to db-prod-2 as eszter.k using a key", "eszter.k"),
    ("SECRET", "user gnarlybones old pass hunter2hunter2", "hunter2hunter2"),
    ("SECRET", "gate code #4410, apt", "4410"),
    ("SECRET", "the code for the front door is 1234", "1234"),
    ("SECRET", "key safe code 9081", "9081"),
    ("SECRET", "lockbox: 9081", "9081"),
    ("SECRET", "my PIN is four four one oh", "four four one oh"),
    ("SECRET", "backup code 8842-1190-KQ", "8842-1190-KQ"),
    ("SECRET", "OTP is 553 221", "553 221"),
    ("SECRET", "pin number is 4 4 1 2", "4 4 1 2"),
    ("SECRET", "the alarm code's 5512", "5512"),
    ("SECRET", "code to get in is 4412", "4412"),
    ("SECRET", "the password's bluecat22", "bluecat22"),
    ("SECRET", "memorable word: sunflower", "sunflower"),
    ("SECRET", "my kid typed bananaPhone-2009 into the chat", "bananaPhone-2009"),
    ("SECRET", "blue7whale is my wifi password", "blue7whale"),
    ("SECRET", "I sent 'blue7whale' (password)", "blue7whale"),
    ("SECRET", "pass: hunter22", "hunter22"),
    ("NATIONAL_ID", "HR: And your TFN?\nEmp: 565 051 603", "565 051 603"),
    ("NATIONAL_ID", "And your TFN?\n\nit's 565 051 603", "565 051 603"),
    ("NATIONAL_ID", "SIN 791 222 375", "791 222 375"),
    ("NATIONAL_ID", "PPS number 1234567FA", "1234567FA"),
    ("URL", "LinkedIn: linkedin.com/in/yevtkachuk-qa.", "linkedin.com/in/yevtkachuk-qa"),
    ("URL", "on wa.me/447700900255 now", "wa.me/447700900255"),
    ("URL", "see github.com/lucindabakes", "github.com/lucindabakes"),
    ("URL", "my channel youtube.com/@lucindabakes", "youtube.com/@lucindabakes"),
    ("ADDRESS", "JO, THE OLD FORGE, CHURCH ST, NETHER WALLOP. I",
     "FORGE, CHURCH ST, NETHER WALLOP"),
    ("ADDRESS", "AT 77 LUMB LANE, LEEDS", "77 LUMB LANE, LEEDS"),
    ("ADDRESS", "Addr: Flat C, 23/F, Block 5, Taikoo Shing", "Flat C, 23/F, Block 5, Taikoo Shing"),
    ("ADDRESS", "zam. ul. Chopina 3 m. 12, 20-026 Lublin", "Chopina 3 m. 12, 20-026 Lublin"),
    ("ADDRESS", "C/ Pelota 9, 3º izda., 48005 Bilbao", "Pelota 9, 3º izda., 48005 Bilbao"),
    ("ADDRESS", "to G1V 1T2 please", "G1V 1T2"),
]  # fmt: skip
STAYS = [
    "I'm 5 minutes away",
    "he's 2 goals ahead",
    "I am 100% sure",
    "it's 9, is the shop open",
    "I'm 6'2 and she's 1 of many",
    "he is one and the same, I am two and a half hours away",
    "I was 5, 10 minutes late",
    "he was 1.5 and I am 10-0 down",
    "the phone is 2 years old, a 3 year old phone",
    "a 4 year old laptop and kids 5-6 yrs",
    "shot at f/16, in 27 mm, of f/22 and 1/60",
    "must be over the age of 18",
    "one, two, three, four, five, six, seven, eight, nine, ten",
    "nine eight seven six five four three two one",
    "one or two of the three; four, five at most",
    "twenty five, thirty, thirty five, forty, forty five",
    "call me on one of those two days",
    "my number is one of three",
    "insta is down, discord is great",
    "my discord is not working",
    "my snapchat is broken",
    "delete my instagram account",
    "the security answer is wrong",
    "the pin is 2 days late",
    "2 kids, 3 dogs and kids (all of them)",
    "so 6 people? we r 7.",
    "User: hello there, can you help",
    "username: not working",
    "the user manually deleted it and user has logged in",
    "delivery is showing as tomorrow.",
    "order 202-xxxxxxxxx-yyyy",
    "the room#1234 of the hotel",
    "cashapp took $20 for it",
    "the file my_module by foo_bar",
    "pass the salt, the bus pass is 5 pounds",
    "we pass 100 cars an hour",
    "the code for the discount is SAVE20",
    "typed hello into the chat",
    "it was my password",
    "this is the wrong password, 3 times (password)",
    "gate 4 opens, the door is 200 cm",
    "import github.com/pkg/errors",
    "linkedin.com is a site, and so is instagram.com",
    "And your order?\nYes",
    "I LIVE IN A HOUSE, MAIN ST",
    "BUY 2 GET 1 FREE, 20 PERCENT OFF",
]


@pytest.mark.parametrize(("kind", "text", "value"), FOUND)
def test_it_is_found_and_replaced(kind: str, text: str, value: str) -> None:
    found = DEIDENTIFIER.find(text)
    inside = [
        f for f in found
        if f.start <= text.index(value) and text.index(value) + len(value) <= f.end
    ]  # fmt: skip
    assert [f.entity_type for f in inside] == [kind]
    assert value not in DEIDENTIFIER.preview(text).text


@pytest.mark.parametrize("text", STAYS)
def test_what_only_looks_so_stays(text: str) -> None:
    assert DEIDENTIFIER.find(text) == []


def test_a_spoken_number_is_said_again_as_the_one_in_digits_is_written() -> None:
    surrogates = Surrogates(KEY)
    spoken = surrogates.stand_in(
        "PHONE_NUMBER", "oh seven double nine, one two three four five oh six"
    )
    written = surrogates.stand_in("PHONE_NUMBER", "07991234506")
    assert "".join(spoken_digits(spoken)) == written
    assert is_spoken(spoken)
    assert spoken.startswith("oh seven seven oh, oh nine")


@pytest.mark.parametrize("value", ["0044 7700 900 255", "00 44 7700 900255", "+44 (0)7700 900255"])
def test_a_number_with_all_that_is_dialled_before_it_keeps_its_shape(value: str) -> None:
    new = Surrogates(KEY).stand_in("PHONE_NUMBER", value)
    assert [c.isdigit() for c in new] == [c.isdigit() for c in value]
    assert "447700900" in "".join(filter(str.isdigit, new)).replace("4407", "447")


def test_a_spoken_code_is_said_again() -> None:
    new = Surrogates(KEY).stand_in("SECRET", "FOUR FOUR ONE OH")
    assert is_spoken(new) and new.isupper()
    assert len("".join(spoken_digits(new))) == 4


def test_words_that_are_no_number_are_never_kept_as_one() -> None:
    assert not is_spoken("four-five-cats")
    assert "cats" not in Surrogates(KEY).stand_in("SECRET", "four-five-cats")


@given(
    st.text("0123456789", min_size=1, max_size=14), st.text("0123456789", min_size=14, max_size=14)
)
def test_whatever_digits_are_said_are_heard(said: str, new: str) -> None:
    words = respoken("oh " * len(said), said)
    assert "".join(spoken_digits(words)) == said
    assert "".join(spoken_digits(respoken(words, new[: len(said)]))) == new[: len(said)]
