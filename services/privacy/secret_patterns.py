"""Patterns of secrets: passwords, PINs and one-time codes by their cue, keys of services by shape.

Shapes of keys are those that their makers document, so that leaks can be found (GitHub, AWS, Slack,
Google, Stripe; JSON Web Tokens, RFC 7519).
"""

from __future__ import annotations

from presidio_analyzer import Pattern

_SAID = r"\s{0,3}(?:\b(?:is|was|are|to|as|be|set|now|still|again)\b|['’]s\b|[:#=(\"'“‘-])"
_LINK = rf"(?:{_SAID}){{0,4}}\s{{0,2}}[\"'“‘]?"
_LINKED = rf"(?:{_SAID}){{1,4}}\s{{0,2}}[\"'“‘]?"

SECRETS = (
    Pattern("github", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b", 0.9),
    Pattern("aws", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", 0.9),
    Pattern("slack", r"\bxox[abeprs]-[A-Za-z0-9-]{10,200}", 0.9),
    Pattern("gitlab", r"\bglpat-[A-Za-z0-9_-]{16,64}(?![\w-])", 0.9),
    Pattern("bearer", r"\b[Bb]earer \K[A-Za-z0-9._~+/-]{16,4000}={0,2}", 0.8),
    Pattern("google", r"\bAIza[A-Za-z0-9_-]{35}(?![\w-])", 0.9),
    Pattern(
        "stripe and others",
        r"(?<![\w-])(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?"
        r"(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,200}",
        0.8,
    ),
    Pattern(
        "web token",
        r"\beyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{0,2000}",
        0.9,
    ),
    Pattern(
        "private key",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]{1,8000}-----END [A-Z ]{0,20}PRIVATE KEY-----",
        0.95,
    ),
)
"""By shape, in the case of letters that they have."""
_NAMED = (
    r"(?:pass ?(?:word|code|phrase|wd|wrd)|pwd|pswd|pw|passwort|kennwort|contraseña|mot de passe|"
    r"(?:api|secret|access|auth|private|encryption)[ _-]?(?:access[ _-]?)?(?:key|token)|"
    r"client[ _-]?secret)s?"
)
# "The password is wrong": what is said of passwords, not what they are.
_SAID_OF_PASSWORDS = (
    r"(?!(?:wrong|not|no|in|incorrect|correct|expired|invalid|required|needed|the|a|an|my|your|his|"
    r"her|too|"
    r"to|same|working|reset|weak|strong|still|being|been|changed|never|also|now|on|at|for|what|"
    r"that|this|it|"
    r"always|only|very|so|locked|forgotten|lost|okay|ok|fine|case|different|set|sent|stored|saved|"
    r"safe|"
    r"protected|hidden|unknown|asked|accepted|rejected|refused|missing|blank|empty|long|short|"
    r"simple)\b)"
)
_FEW_DIGITS = r"(?:\d{1,3}(?:[ -]\d{1,3}){1,7}|\d{3,8})(?!\d|[.,]\d)"
_LOCKED = (
    r"(?:gate|door|entry|entrance|building|lobby|alarm|garage|locker|safe|gym|flat|house|parcel|"
    r"key ?safe|lock ?box|key ?box|key ?pad|buzzer|voicemail|access|security|verification|sms|"
    r"auth(?:entication)?|log-?in|unlock|reset)"
)
SECRETS_BY_CUE = (
    Pattern(
        "password cue",
        # A word follows a password as well: it has a digit or a sign in it.
        rf"\b{_NAMED}\b{_LINK}"
        r"\K(?=[^\s\"'”’,;]{0,63}[\d!@#$%^&*+_?~])[^\s\"'”’,;]{4,64}(?<![.?!:)])",
        0.7,
    ),
    Pattern(
        "password in words",
        rf"\b(?:{_NAMED}\s?(?:is|was|:|=)|pass\s?=)\s?[\"'“‘]?{_SAID_OF_PASSWORDS}"
        r"\K[^\s\"'”’,;.!?]{3,64}",
        0.6,
    ),
    Pattern(
        "assigned",
        r"(?:secret|token|api_?key|passw(?:or)?d)\w{0,60}[\"']?\s?[=:]\s?[\"']?"
        r"\K(?=[^\s\"',;]{0,200}\d)[^\s\"',;]{8,200}",
        0.7,
    ),
    Pattern(
        "pass and word",
        rf"\b(?:(?:old|new|my|temp|current|wifi|wi-fi|login|default) (?:pass|pw|pwd)\b{_LINK}"
        rf"|pass\b(?:\s?[:=]|\s(?:is|was)\b)\s?[\"'“‘]?)"
        r"\K(?=[^\s\"'”’,;]{0,63}\d)(?=[^\s\"'”’,;]{0,63}[a-z])[^\s\"'”’,;]{5,64}(?<![.?!:)])",
        0.6,
    ),
    Pattern(
        "pass alone",
        r"\bpass \K(?=[a-z]{3})(?=[^\s\"'”’,;]{0,63}\d)[^\s\"'”’,;]{8,64}(?<![.?!:)])",
        0.5,
    ),
    Pattern(
        "typed secret",
        # A word that is no word: small letters, capitals or signs, and digits.
        r"\b(?:typed|pasted|entered|leaked|texted|shared)(?: in| out)? (?:my |the |their |his |"
        r"her )?[\"'“‘]?"
        r"\K(?=[^\s\"'”’,;]{0,63}\d)(?=[^\s\"'”’,;]{0,63}(?-i:[a-z]))(?=[^\s\"'”’,;]{1,63}"
        r"(?-i:[A-Z]|[!@#$%^&*?~]))"
        r"(?!https?:|www\.)[^\s\"'”’,;]{8,64}(?<![.?!:)])",
        0.5,
    ),
    Pattern(
        "password behind",
        r"(?<![^\s\"'“‘])(?=[^\s\"'”’,;]{0,39}\d)[^\s\"'”’,;]{5,40}"
        r"(?=[\"'”’]? (?:\(|(?:is|was|as) (?:my|the|our|his|her) )(?:(?:old|new|wifi|login) )?"
        r"pass(?:word|code|wd)\b)",
        0.6,
    ),
    Pattern("user and password", r"\blogin:? ?\S{2,40} ?[/|] ?\K\S{4,64}", 0.6),
    Pattern("user of a command", r"(?<=\s)-u \w{2,40}:\K\S{4,64}", 0.6),
    Pattern("option of a command", r"(?<=\s)-p\K(?=\S{0,40}[\d!@#$%^&*?])[^\s-]\S{5,64}", 0.5),
    Pattern(
        "code cue",
        r"\b(?:pin|otp|cvv2?|cvc2?|one[- ]time (?:code|password|passcode)|"
        rf"{_LOCKED}(?:['’]s)? (?:access |entry |pass ?)?(?:code|pin|combo|combination))(?: "
        r"(?:code|number|no\.?))?"
        rf"\b{_LINK}\K{_FEW_DIGITS}",
        0.7,
    ),
    Pattern(
        "code for cue",
        r"\bcode (?:for|to|at|of|on) (?:(?:the|our|my|his|her|your|their) )?(?:(?:front|back|main|"
        rf"side) )?{_LOCKED}"
        rf"\b{_LINK}\K{_FEW_DIGITS}",
        0.7,
    ),
    Pattern(
        "code to get in",
        rf"\bcode to (?:get in|enter|open|unlock)\b[^\d\n]{{0,20}}{_LINK}\K{_FEW_DIGITS}",
        0.6,
    ),
    Pattern(
        "secret answer",
        r"\b(?:(?:security|secret) (?:answer|word)|memorable (?:word|name|place|answer)|safe ?word)"
        rf"{_LINKED}{_SAID_OF_PASSWORDS}\K[^\s\"'”’,;.!?]{{3,40}}",
        0.6,
    ),
    Pattern(
        "code of a lock",
        rf"\b(?:key ?pad|key ?safe|lock ?box|key ?box|buzzer|door entry){_LINK}\K\d{{3,6}}(?!\d|"
        r"[.,]\d)",
        0.6,
    ),
    Pattern(
        "spare code",
        r"\b(?:backup|back-up|recovery|unlock|2fa|reset|login|log-in) (?:code|key)s?"
        rf"\b{_LINK}\K(?=[a-z-]{{0,20}}\d)[a-z0-9]{{3,8}}(?:-[a-z0-9]{{2,8}}){{0,7}}(?![\w.]\w|\w)",
        0.6,
    ),
)
"""By the word before them."""
WALLETS = (
    Pattern("ethereum", r"\b0x[a-fA-F0-9]{40}\b", 0.9),
    Pattern("segregated witness", r"\b(?:bc1|ltc1)[ac-hj-np-z02-9]{25,62}\b", 0.9),
    Pattern(
        "base 58",
        r"(?<![\w/=+-])(?=[13LMDXr4][1-9A-HJ-NP-Za-km-z]{25,34}(?![\w/=+-]))"
        r"(?=\w{0,33}\d)(?=\w{0,33}[a-z])(?=\w{0,33}[A-Z])\w{26,35}",
        0.5,
    ),
)
"""Addresses of crypto-currencies that Presidio does not know; by shape."""
