"""Patterns of what people write of themselves in chats and forms: ages, handles, profile pages.

Small letters, missing apostrophes and missing words are the rule there. So an age needs somebody
whose it is before it and an end of the phrase behind it ("hes 9", not "he's 9 goals ahead"), and a
plain word is a handle only behind a word that asks for one.
"""

from __future__ import annotations

from presidio_analyzer import Pattern

from .spelled import NUMBER_WORDS

_KIN = (
    r"(?:son|daughter|kid|child|boy|girl|baby|toddler|mum|mom|mam|mother|dad|father|nan|gran|"
    r"granny|"
    r"grandma|grandad|grandpa|grandmother|grandfather|grandson|granddaughter|wife|husband|hubby|"
    r"partner|brother|sister|nephew|niece|cousin|aunt|uncle|boyfriend|girlfriend|bf|gf|bro|sis)"
)
_SOMEBODY = (
    r"(?:i['’]?m|i am|(?:i|he|she)['’]ll be|(?:we|they)(?:['’]?re| are) both|he['’]?s|she['’]?s|"
    r"who['’]s|(?:i|he|she|who) (?:is|was|turn(?:s|ed)|"
    r"just turned)"
    rf"|{_KIN}(?:['’]?s| is| was| just turned| turn(?:s|ed)))"
)
_HEDGE = (
    r"(?:(?:only|just|now|about|around|like|nearly|almost|already|turning|aged?|still|literally|"
    r"over|"
    r"a|an) ){0,2}"
)
_YEARS = r"(?:1[01]\d|[1-9]\d?)"
# "One" of them is no age, nor is "two" of anything that is counted.
_AGE = rf"(?:{_YEARS}(?!\d)|(?!one\b){NUMBER_WORDS.pattern})"
_TENS_AND_ONES = (
    r"(?:(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:[ -](?:one|two|three|four|five|six|seven|"
    r"eight|nine))?"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen)\b"
)
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b"
_END = (
    r"(?= ?(?:$|[;!?)\n\"]|\.(?!\d)|,(?! ?\d))"
    r"| (?:and|but|so|now|today|tomorrow|atm|lol|haha|btw|n|bc|cuz|cos|because|tho|though|too|rn|"
    rf"last|this year|next|in {_MONTHS}|on the|he|"
    r"she|"
    r"hes|shes|he's|she's|his|her|my|who|with|depending|years? young)\b"
    r"(?! (?:a half|\d)))"
)
_OLD = r"(?:years?|yrs?|months?|mths?|mos?|weeks?|wks?)[- ]olds?"
_WHOSE = rf"(?:\b(?:{_SOMEBODY} {_HEDGE}|(?:my|our|his|her|their|an?|the) )|\+ ?)"
_OLD_END = (
    rf"(?=\W{{0,2}}$| ?[.,;!?)]| (?:{_KIN}|man|woman|lady|male|female|patient|and|but|is|was|has|"
    r"had|who|with|needs|\w{3,12}ed|got|ate|keeps?|can|cant|did|does|fell|went|wants?|loves?|"
    r"likes?)\b)"
)
CHAT_AGES = (
    Pattern(
        "somebody's age",
        rf"\b{_SOMEBODY} {_HEDGE}\K{_AGE}(?:{_END}|(?= or {_YEARS}{_END}))",
        0.6,
    ),
    Pattern("other age", rf"\b{_SOMEBODY} {_HEDGE}{_YEARS} or \K{_YEARS}{_END}", 0.6),
    Pattern(
        "old",
        rf"(?<![\w.,$£€-]){_YEARS}(?:yrs?[- ]?old\b"
        rf"|[- ]?{_OLD}\b(?<={_WHOSE}{_YEARS}[- ]?{_OLD}){_OLD_END})",
        0.6,
    ),
    Pattern("years in short", r"(?<![\w.,$£€-])[1-9]\d?(?:yo\b| ?y/o\b| ?y\.o\b\.?)", 0.6),
    Pattern(
        "spelled old",
        rf"(?<={_WHOSE}){NUMBER_WORDS.pattern}[- ]{_OLD}\b{_OLD_END}",
        0.6,
    ),
    Pattern(
        "ages of several",
        r"(?<!\d)[1-9]\d?(?<=\b(?:ages|aged|kids|children|boys|girls|sons|daughters)[ :(]{1,3}"
        r"(?:ages |aged )?(?:\d{1,2}(?:, ?| and | & |, and )){0,4}\d{1,2})"
        r"(?=, ?\d{1,2}(?!\d)| and \d{1,2}(?!\d)| & \d{1,2}(?!\d)|[).;!?\n]|$)(?![.]\d)",
        0.6,
    ),
    Pattern("age field", rf"\bage(?:d|:| is|=| -)? ?\K{_YEARS}(?=[ ;,.)\n|]|$)(?![.,/]\d)", 0.5),
    Pattern(
        "aged people",
        rf"\b(?:aged|elderly|old) \w{{4,12}} (?:of|aged) \K{_AGE}(?= and {_AGE}\b|{_END})",
        0.6,
    ),
    Pattern(
        "other aged people",
        rf"\baged? (?:\w{{4,12}} (?:of|aged) )?{_AGE} and \K{_AGE}\b(?![.,/]\d| ?%)",
        0.6,
    ),
    Pattern(
        "age in a list",
        rf"\b(?:i['’]?m|i am|my name is|my names) [^.!?\n\d]{{2,40}}?, \K(?:[1-9]\d(?!\d)|"
        rf"{_TENS_AND_ONES})"
        r"(?=,(?! ?\d)|[.!](?!\d)|$| (?:from|male|female|and (?:from|live|work|i)|years old)\b)",
        0.5,
    ),
    Pattern(
        "age behind a name",
        rf"\b{_KIN},? (?-i:[A-Z])[\w.'’-]{{0,20}}(?: (?-i:[A-Z])[\w.'’-]{{0,20}})? \(\K{_YEARS}"
        r"(?=\))",
        0.6,
    ),
    Pattern(
        "age and sex",
        rf"\b(?:i|me|my|he|she|him|her|{_KIN}) \((?:[mf] ?/?)?\K[1-9]\d(?= ?/?[mf]?\))",
        0.6,
    ),
    # Of apertures, f/16 is one.
    Pattern(
        "sex and age",
        r"(?<![\w/.])(?:m/|f/(?!(?:11|16|22|32|45|64)\b))\K[1-9]\d(?=[ ;,.)\n]|$)",
        0.5,
    ),
    Pattern("sex in words and age", r"\b(?:fe)?male,? \K[1-9]\d(?=[;,.)\n]|$)(?![.,]\d)", 0.5),
)

SAID_OF_HANDLES = (
    r"(?!(?:is|was|not|no|none|n/?a|unknown|nothing|the|an?|my|your|his|her|their|our|wrong|"
    r"correct|"
    r"incorrect|invalid|taken|available|down|broken|private|public|hacked|banned|locked|blocked|"
    r"gone|suspended|disabled|deactivated|changed|working|same|still|being|been|also|now|on|in|at|"
    r"for|what|that|this|it|too|very|so|to|and|or|but|if|when|as|there|here|below|above|"
    r"required|needed|missing|blank|empty|case|different|great|good|bad|ok|okay|fine|linked|"
    r"connected|verified|called|down|up|please|pls|unable|cannot|showing|already|account|acct|app|"
    r"page|profile|password|"
    r"login|name|id|handle|tag|user|username|email|number|feed|story|posts?|bio|link|card|wallet|"
    r"balance|server|channel|bot|support|payment|gift|friends?|followers|chat|group)\b)"
)
_NETWORK = (
    r"(?:psn(?: id)?|gamer ?tag|xbox(?: live| id| tag)?|steam(?: id)?|snap(?:chat)?|insta(?:gram)?|"
    r"tiktok|discord|twitch|roblox|fortnite|minecraft|telegram|skype|wechat|kik|venmo|twitter|"
    r"reddit|battle ?tag|user ?name|screen ?name)"
)
_CALLED = r"(?: (?:id|name|user ?name|user|handle|tag|acc(?:ount)?)\b)?"
_HANDLE = r"@?[a-z_](?:[\w.-]{1,30}\w)(?![\w@])"
CHAT_HANDLES = (
    Pattern(
        "network field",
        rf"\b{_NETWORK}{_CALLED} ?[:=] ?\K{SAID_OF_HANDLES}{_HANDLE}(?=[ .]?(?:$|[\n,;|)!?]| - ))",
        0.6,
    ),
    Pattern(
        "network of mine",
        rf"\b(?:my|his|her|their) (?:new |old |main )?{_NETWORK}{_CALLED}(?: is| was|['’]s)? "
        rf"['\"]?\K{SAID_OF_HANDLES}(?=\w*[_\d.-]|\w+\b ?(?:$|[.,;!?\n)]| (?:add|and|if|pls|please|"
        r"on)\b))"
        rf"{_HANDLE}",
        0.6,
    ),
    Pattern(
        "network and handle",
        rf"\b{_NETWORK}{_CALLED}(?: is| was)? ['\"]?\K(?=[a-z.-]*[_\d]){_HANDLE}",
        0.5,
    ),
    Pattern(
        "discriminated handle",
        r"\b(?:discord|blizzard|battle ?(?:tag|net)|bnet|riot)\b[^\n#]{0,20}?[ :]"
        r"\K[a-z][\w.]{1,31}#\d{3,5}(?!\w)",
        0.7,
    ),
    Pattern(
        "cash tag",
        r"\b(?:cash ?app|cash ?tag|venmo|pay ?pal)\b[^\n$]{0,20}\K\$[a-z][\w-]{1,19}",
        0.6,
    ),
    Pattern(
        "called handle",
        r"\b(?:called|named|add(?: me)?|dm(?: me)?|user|player|stranger|by) "
        r"['\"]?\K(?=\w{0,30}(?-i:[A-Z\d]))(?-i:[A-Za-z]{1,15}_[A-Z]?[a-z]{2,15}"
        r"(?:_?[A-Z][a-z]{0,15}){0,2}_?\d{0,4})"
        r"(?![\w(@.=])",
        0.5,
    ),
    Pattern("framed handle", r"(?<![\w@/.])xx_[a-z0-9]\w{1,24}_xx(?![\w(@.=])", 0.6),
    Pattern(
        "user and pass",
        rf"\buser(?:name| ?id)?[ :=]{{1,2}}\K{SAID_OF_HANDLES}[a-z][\w.@-]{{2,38}}\w"
        r"(?=[ ,;/|&]{1,3}(?:(?:old|new|my|and|the|temp|current) ){0,2}"
        r"(?:pass(?:word|wd|code)?|pw|pwd)[ :=])",
        0.6,
    ),
    Pattern(
        "acting user",
        rf"\buser(?:name)? ['\"]?\K{SAID_OF_HANDLES}(?!(?:has|just|never|who|which|\w+ly)\b)"
        r"[a-z][\w.-]{3,38}\w(?=['\"]? (?:logged|signed|authenticated|connected|disconnected|"
        r"created|"
        r"deleted|removed|failed|uploaded|downloaded|accessed|attempted|added)\b)",
        0.6,
    ),
    Pattern(
        "connected as",
        r"\b(?:connect(?:ed|ion)|session|logg(?:ed|ing)|login|ssh|signed|"
        r"authenticated)\b[^\n]{0,60}? as ['\"]?"
        r"\K(?=[a-z-]{1,30}(?:[_\d]|\.\w))[a-z][\w.-]{2,38}\w(?=['\"]?(?: (?:using|from|with|"
        r"via)\b|[.,;)]?\s|[.,;)]?$))",
        0.5,
    ),
)
"""Handles of networks, games and logs."""

_PAGE = r"/[^\s<>\"'()\[\]{}|\\^`,;]{2,200}"
PROFILE_PAGES = (
    Pattern(
        "profile page",
        r"(?<![\w@/-])(?:(?:linkedin\.com/(?:in|pub)|instagram\.com|facebook\.com|fb\.(?:com|me)|"
        r"tiktok\.com|twitter\.com|t\.me|wa\.me|m\.me|reddit\.com/u(?:ser)?|snapchat\.com/add|"
        r"paypal\.me|venmo\.com|cash\.app|linktr\.ee|patreon\.com|onlyfans\.com|twitch\.tv|"
        rf"steamcommunity\.com/(?:id|profiles)|threads\.net|vk\.com|xing\.com/profile){_PAGE}"
        r"|youtube\.com/(?:@|c/|user/|channel/)[\w.-]{2,40})",
        0.6,
    ),
    # What lies deeper is a package: its name stands in every program that uses it.
    Pattern("author page", r"(?<![\w@/.-])git(?:hub|lab)\.com/[\w-]{2,39}/?(?![\w/.-])", 0.6),
)
"""Pages of people, without a scheme before them."""
