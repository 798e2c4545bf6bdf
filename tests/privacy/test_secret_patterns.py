"""Passwords, codes, keys, wallets and coordinates: found by cue or shape; words about them stay."""

import pytest

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.surrogates import Surrogates

from .conftest import KEY

DEIDENTIFIER = Deidentifier(Policy(), KEY, without=frozenset({"tagger"}))
KEY_BLOCK = (
    "-----BEGIN PRIVATE KEY-----\nMIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8w\n-----END PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("SECRET", "my password is quokka!91, thanks", "quokka!91"),
        ("SECRET", "I set the passcode to Tr0ub4dor&3. Now", "Tr0ub4dor&3"),
        ("SECRET", "API_KEY=9f8e7d6c5b4a", "9f8e7d6c5b4a"),
        ("SECRET", "my pin is 4821", "4821"),
        ("SECRET", "cvv 123", "123"),
        ("SECRET", "my pw is tiger0cat, I live", "tiger0cat"),
        ("SECRET", "pwd hunter2", "hunter2"),
        ("SECRET", "my password is letmein", "letmein"),
        ("SECRET", "Passwort: Sommer2024", "Sommer2024"),
        ("SECRET", "the wifi password is 'bluewhale'", "bluewhale"),
        ("SECRET", "pass=foobar", "foobar"),
        ("SECRET", "login: gmiller / Liverpool1892", "Liverpool1892"),
        ("SECRET", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("SECRET", "mysql -u root -pS3cretPw! db", "S3cretPw"),
        ("ORDER_ID", "order 1000, my name", "1000"),
        ("SECRET", "the OTP: 998877 came", "998877"),
        ("SECRET", f"token ghp_{'a1B2' * 9} leaked", f"ghp_{'a1B2' * 9}"),
        ("SECRET", "key AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("SECRET", "use sk_test_example0123456789example", "sk_test_example0123456789example"),
        ("SECRET", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN",
         "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN"),
        ("SECRET", f"here: {KEY_BLOCK}", KEY_BLOCK.strip("-")),
        ("CRYPTO", "to 0x52908400098527886E0F7030069857D2E4169EE7",
         "0x52908400098527886E0F7030069857D2E4169EE7"),
        ("CRYPTO", "LTC: LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9", "LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9"),
        ("ADDRESS", "at [34.0522,-118.2437] now", "34.0522,-118.2437"),
        ("ACCOUNT_ID", "BIC DEUTDEFF500", "DEUTDEFF500"),
        ("ACCOUNT_ID", "the card ending 8841", "8841"),
        ("USERNAME", "What is your username?\n\n@pislimfel", "@pislimfel"),
        ("USERNAME", "@pislimfel hello there", "@pislimfel"),
        ("USERNAME", "Field | Value\nUsername | farbim_199", "farbim_199"),
        ("USERNAME", '{"username": "farbim_199"}', "farbim_199"),
        ("DATE_OF_BIRTH", '{"date_of_birth": "1998-03-31"}', "1998-03-31"),
        ("ORDER_ID", "two of W779032892 came", "W779032892"),
        ("ORDER_ID", "Order number | 83487309", "83487309"),
        ("ORDER_ID", "about po-6197474-qx", "po-6197474-qx"),
        ("IBAN_CODE", "to gb82west12345698765432 then", "gb82west12345698765432"),
        ("PHONE_NUMBER", "ring +33 6 97 90 85 60 now", "+33 6 97 90 85 60"),
        ("USERNAME", "my username was sk8erboi_92 then", "sk8erboi_92"),
        ("PHONE_NUMBER", "in billing (ext 4471)", "4471"),
        ("ACCOUNT_ID", "sort code 20-00-00", "20-00-00"),
        ("ACCOUNT_ID", "IMEI 49-015420-323751-8", "49-015420-323751-8"),
    ],
)  # fmt: skip
def test_it_is_found_in_full(kind: str, text: str, value: str) -> None:
    assert (kind, value) in [
        (f.entity_type, text[f.start : f.end]) for f in DEIDENTIFIER.find(text)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "my password is wrong. The password is not accepted; password reset needed",
        "The password must have 8 characters and the pin is long",
        "a swift reply is nice, a swift response better",
        "the pin is 4 digits long",
        "the password was changed and is still wrong; my password is too weak",
        "we order 1000 units of it, in order 2000 people",
        "tokens: the number of tokens, a token economy, secret santa: no",
        "the desk-top and risk-free options, ask_for_more_of_everything",
        "import x\n@cache\ndef f(): pass\n@app.route('/x')\nasync def g(): pass",
        '{"username": "", "user": ""}',
        "ratios of 3.1, 2.7 and 1.2, 3.4",
    ],
)
def test_words_about_them_stay(text: str) -> None:
    assert DEIDENTIFIER.preview(text).text == text


def test_a_wallet_stays_one_of_its_network() -> None:
    surrogates = Surrogates(KEY)
    ethereum = surrogates.stand_in("CRYPTO", "0x52908400098527886E0F7030069857D2E4169EE7")
    assert ethereum[:2] == "0x" and len(ethereum) == 42 and int(ethereum, 16)
    assert surrogates.stand_in("CRYPTO", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")[:3] == "bc1"
