"""Carriers: the rows of support that canaries are planted in."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from .canary import Canary

LABELS: Mapping[str, tuple[str, str]] = {
    "person": ("Name", "May I have your full name?"),
    "e-mail": ("E-mail", "Which e-mail address did you sign up with?"),
    "phone": ("Phone", "On which phone number can we reach you?"),
    "address": ("Address", "Where should we send it?"),
    "card": ("Card number", "Which card was charged?"),
    "IBAN": ("IBAN", "To which IBAN shall we send the refund?"),
    "SSN": ("SSN", "Please confirm your social security number."),
    "account": ("Account number", "What is your account number?"),
    "order": ("Order number", "What is the order number?"),
    "date of birth": ("Date of birth", "For security, what is your date of birth?"),
    "IP address": ("IP address", "From which IP address did you log in?"),
    "user name": ("Username", "What is your username?"),
}
"""How a form calls it, and how an agent asks for it."""
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "person": (
        "Hi, my name is {} and my parcel never came.",
        "I spoke to {} last week and nothing happened since.",
        "Please add {} to the booking as a second guest.",
        "This is {}, I am calling about the broken kettle.",
        "The invoice was made out to {} instead of me.",
    ),
    "e-mail": (
        "You can write to {} once it is solved.",
        "My email is {} and I cannot reset the password.",
        "I never got the confirmation at {} so please send it again.",
        "Someone changed my login to {}, that is not me!",
    ),
    "phone": (
        "Call me back at {} after five.",
        "My number is {} if the driver gets lost.",
        "The courier should have rung {} before leaving.",
        "Please remove {} from your list, I get texts every day.",
    ),
    "address": (
        "Please ship the replacement to {}.",
        "I moved last month, my new address is {}.",
        "The driver left it at {} which is my neighbour's house.",
        "We live at {} and nobody rang.",
    ),
    "card": (
        "I was charged twice on my card {}.",
        "The card ending was wrong, the whole number is {}.",
        "Can you remove {} from my wallet?",
        "I tried to pay with {} and it was declined.",
    ),
    "IBAN": (
        "Please refund to {}.",
        "My bank says nothing came in on {} so far.",
        "The direct debit from {} was taken twice.",
        "IBAN is {}, same bank as before.",
    ),
    "SSN": (
        "My social is {} if you need it for the credit check.",
        "The form asks for my SSN, which is {}.",
        "You printed {} on the envelope, that is my social security number!",
        "They took my application under {} and then lost it.",
    ),
    "account": (
        "My account number is {} and it is locked.",
        "Please close account {} today.",
        "The money should go to account no. {}, not to the old one.",
        "You merged my account {} with my wife's.",
    ),
    "order": (
        "Where is my order {}?",
        "I want to return order {} as it does not fit.",
        "Order number {} arrived without the charger.",
        "You sent me two of {} and billed both.",
    ),
    "date of birth": (
        "I was born on {} so I should get the senior rate.",
        "My date of birth is {}, you have it wrong in the profile.",
        "DOB {} as on my passport.",
        "The birthday in my profile says {} and I cannot change it.",
    ),
    "IP address": (
        "There was a login from {} and that was not me.",
        "My IP is {} and your site blocks it.",
        "The firewall log shows {} every two minutes.",
        "Please whitelist {} for the api.",
    ),
    "user name": (
        "My username is {} and I am locked out.",
        "I log in as {} on the app.",
        "User {} keeps sending me messages.",
        "Please rename my profile, the handle is {}.",
    ),
}
REPLIES = (
    "I am sorry about that. Let me have a look.",
    "Thank you, I will see what I can do.",
    "Thanks for waiting. I have passed this on to the team.",
)
LAYOUTS = ("chat", "answer", "letter", "note", "table", "record")


def row(canary: Canary, dice: random.Random) -> dict[str, Any]:
    """A row of a JSONL file with the canary in it, laid out as chats, notes or records are."""
    text, layout = _laid_out(canary, dice)
    if canary.form == "lower case":
        text = text.lower()
    elif canary.form == "capitals":
        text = text.upper()
    asked = LABELS[canary.kind][1]
    before = [{"role": "assistant", "content": asked}] if layout == "answer" else []
    messages = [
        *before,
        {"role": "user", "content": text},
        {"role": "assistant", "content": dice.choice(REPLIES)},
    ]
    known = {"customer": canary.value} if canary.form == "known value" else {}
    return {"messages": messages, "ticket": canary.number, **known}


def _laid_out(canary: Canary, dice: random.Random) -> tuple[str, str]:
    label = LABELS[canary.kind][0]
    sentence = dice.choice(SENTENCES[canary.kind]).format(canary.planted)
    layout = dice.choice(LAYOUTS)
    match layout:
        case "answer":
            return canary.planted, layout
        case "letter":
            text = f"Subject: still waiting\n\nHello team,\n\n{sentence}\n\nKind regards"
        case "note":
            text = f"[{dice.randrange(8, 18):02d}:{dice.randrange(60):02d}] agent note: {sentence}"
        case "table":
            text = f"Field | Value\nTopic | delivery\n{label} | {canary.planted}\nState | open"
        case "record":
            field = label.lower().replace(" ", "_")
            text = f'{{"topic": "delivery", "{field}": {_quoted(canary)}, "state": "open"}}'
        case _:
            text = sentence
    return text, layout


def _quoted(canary: Canary) -> str:
    """In JSON, but that what is escaped already stays as it is."""
    if canary.form == "JSON escapes":
        return f'"{canary.planted}"'
    # As written by a program that lets line breaks through: the canary stays as planted.
    return json.dumps(canary.planted, ensure_ascii=False).replace("\\n", "\n")
