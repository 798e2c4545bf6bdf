"""The plainest text of each entity type: what a working recognizer cannot miss; all invented."""

from __future__ import annotations

from collections.abc import Mapping

PLAINEST: Mapping[str, str] = {
    "ACCOUNT_ID": "account number 4471-0093",
    "AGE": "The applicant, aged 34, lives in Ankara.",
    "ADDRESS": "12 Harbour Street, Eastmarch 400001",
    "CODE": "the car, registration number AB12 CDE, was stopped",
    "CREDIT_CARD": "card 4111 1111 1111 1111",
    "CRYPTO": "wallet 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "DATE_OF_BIRTH": "date of birth: 14/03/1987",
    "DATE_TIME": "date 14/03/1987",
    "DEMOGRAPHIC": "The applicant is a Turkish national.",
    "DURATION": "He was sentenced to five years and six months of imprisonment.",
    "EMAIL_ADDRESS": "rosa@mail.example.com",
    "IBAN_CODE": "GB82 WEST 1234 5698 7654 32",
    "IP_ADDRESS": "from 192.0.2.17",
    "LOCATION": "The applicant lives in Istanbul.",
    "MAC_ADDRESS": "device 00:00:5e:00:53:af",
    "MEDICAL_LICENSE": "DEA certificate AB1234563",
    "NATIONAL_ID": "my national insurance number is QQ 12 34 56 C",
    "ORDER_ID": "order 502-7741936-1180254",
    "ORGANIZATION": "On 3 May 1999 the Ankara District Court dismissed the appeal.",
    "PERSON": "my name is Rosalind Achterberg",
    "PHONE_NUMBER": "call +1 202-555-0143",
    "QUANTITY": "The applicant claimed EUR 5,000 in respect of non-pecuniary damage.",
    "SECRET": "my password is quokka!91",
    "TRACKING_ID": "tracking number QX88320199",
    "UK_NHS": "nhs number 943 476 5919",
    "URL": "see https://www.example.com/rosa",
    "USERNAME": "my username is quokka_91",
    "US_BANK_NUMBER": "bank account 8830112094",
    "US_DRIVER_LICENSE": "driver license H12345678",
    "US_ITIN": "itin 912-70-1234",
    "US_PASSPORT": "passport 918273645",
    "US_SSN": "ssn 219-09-9999",
    "UUID": "id 123e4567-e89b-42d3-a456-426614174000",
    "VEHICLE_PLATE": "licence plate AB12 CDE",
}
"""Entity type → text. KNOWN_VALUE has none: such values come with the example."""
