"""What kind of answer a question asks for, and whether a text has one: a number, a date, a person.

The words are English and German. A question of another kind, or in another language, has no type.
"""

from __future__ import annotations

import re
from typing import Literal

from rag.text.date_forms import MONTH_PATTERN
from rag.text.tokenization import words
from rag.text.word_lists import CARDINALS

AnswerType = Literal["number", "money", "duration", "time", "person", "contact", "reason"]

_NUMBER_WORDS = "|".join(sorted(map(re.escape, CARDINALS), key=len, reverse=True))
# A number that is no year, and not of a day: "3. Werktag".
_AMOUNT = r"(?<!\d)(?!(?:19|20)\d\d(?![\d.,]?\d))\d++(?!\.\s[^\W\d])"
_NUMBER = re.compile(
    rf"{_AMOUNT}|\b(?:{_NUMBER_WORDS}|half|none|no|twice|once|ein|eine|zwei|drei|vier|fünf|sechs|sieben|"
    r"acht|neun|zehn|elf|zwölf|kein|keine)\b",
    re.IGNORECASE,
)
_MONEY = re.compile(
    rf"[€$£¥]|{_AMOUNT}|\b(?:euros?|eur|dollars?|usd|pounds?|gbp|francs?|chf|cents?|yen|kronor|kroner|free|"
    r"percent|kostenlos|prozent)\b|%",
    re.IGNORECASE,
)
_CURRENCY = re.compile(
    r"[€$£¥]\s?\d|\d\s?(?:[€$£¥]|(?:euros?|eur|dollars?|usd|pounds?|gbp|francs?|chf|cents?|yen|kronor|"
    r"kroner)\b)",
    re.IGNORECASE,
)
_HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_GERMAN_HOURS = "eins?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf"
_COUNT = re.compile(r"\bhow\smany\b|\bwie\s?viele\b|\bcombien\sde\b|\bcuánt[oa]s\b", re.IGNORECASE)
_AMOUNT_OF_MONEY = re.compile(
    r"[€$£¥]\s?\d[\d.,]{0,20}|(?<!\d)\d[\d.,]{0,20}\s?(?:[€$£¥%]|(?:euros?|eur|dollars?|usd|pounds?|"
    r"gbp|francs?|chf|cents?|kronor|kroner|percent|prozent)\b)",
    re.IGNORECASE,
)
_UNIT_OF_TIME = re.compile(
    r"\b(?:(?:every|each|jede[nmrs]?|on)\s(?:\w+\s)?(?:mon|tues|wednes|thurs|fri|satur|sun)days?|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)days|(?:every|each|jede[nmrs]?)\s"
    r"(?:morning|evening|night|afternoon|weekend|season|spring|summer|autumn|winter|morgen|abend|nacht)|"
    r"(?:mon|diens|donners|frei|sams|sonn)tags|mittwochs|"
    r"seconds?|minutes?|min|hours?|days?|weeks?|months?|quarters?|years?|shifts?|daily|weekly|"
    r"monthly|yearly|annually|quarterly|hourly|once|twice|immediately|at\sonce|overnight|permanently|"
    r"sekunden?|minuten?|stunden?|tage?n?|wochen?|monate?n?|jahre?n?|täglich|wöchentlich|"
    r"monatlich|jährlich|sofort)\b",
    re.IGNORECASE,
)
_DAY = (
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday|montag|dienstag|mittwoch|donnerstag|"
    "freitag|samstag|sonntag|today|tomorrow|noon|midday|midnight|at\\snight|mittags|mitternacht|nachts|"
    "spring|summer|autumn|winter|weekdays?|"
    "weekends?|daily|always|never|annually|yearly|quarterly|monthly|weekly|when|if|once|upon|after|"
    "before|every|each|within|(?:end|beginning|start|middle)\\sof|in\\sthe\\s(?:morning|afternoon|"
    "evening)|(?:working|business|calendar)\\sdays?|(?:first|second|third|fourth|last)\\s(?:day|week|"
    "month)|werktage?n?|arbeitstage?n?|at\\sany\\stime|as\\ssoon\\sas|during|wenn|sobald|nach|vor|jeden|jede|jährlich|monatlich|"
    "wöchentlich|täglich|ende|anfang|mitte|innerhalb|binnen|jederzeit|morgens|abends|[mdfs]\\w{3,9}tags"
)
_TIME = re.compile(
    rf"\d[:.h]\d\d(?!\d)|\d\s?(?:[ap]\.?m\b|uhr|o'clock|h\b)|(?<!\d)(?:19|20)\d\d(?![\d.,]?\d)"
    r"|\d[./-]\d\d?[./-]|\d(?:st|nd|rd|th)\b|(?<!\d)\d\d?\s?[-–]\s?\d\d?(?!\d)"
    r"|\b(?:at|from|until|till|by|around|since|between|um|ab|bis|gegen|von|zwischen|seit|am|vom|zum)"
    r"\s(?:the\s)?\d\d?(?!\d)|\b(?:q[1-4]|(?:week|day|kw|calendar\sweek)\s?\d)"
    rf"|\b(?:half|quarter|minutes?)\s(?:past|to)\b|\bhalb\s(?:{_NUMBER_WORDS}|{_GERMAN_HOURS})\b"
    rf"|\b(?:{_NUMBER_WORDS})\s(?:o'clock|[ap]\.?m\b|in\sthe\s(?:morning|afternoon|evening))"
    rf"|\b(?:{_GERMAN_HOURS})\suhr\b|\b(?:at|from|until|till|by|around)\s(?:{_HOURS})"
    r"(?=\s?(?:[.,;:!?)]|$)|\s(?:in|on|to|until|till|and|or|each|every|sharp)\b)"
    rf"|\b(?:{_DAY}|{MONTH_PATTERN})\b",
    re.IGNORECASE,
)
# A date, time, ordinal or identifier is no amount: "10:30", "5th", "SN-88213", "No. 9".
_NO_AMOUNT = re.compile(
    rf"(?<!\d)\d\d?(?:st|nd|rd|th|\.)?\s?(?:of\s)?(?:{MONTH_PATTERN})\b"
    rf"|\b(?:{MONTH_PATTERN})\.?\s\d\d?(?![\d.,]?\d)"
    r"|(?<!\d)(?:19|20)\d\d-\d[\d-]*+|(?<!\d)\d\d?([./])\d\d?\1(?:\d\d){0,2}(?!\d)"
    r"|(?<!\d)\d\d?:\d\d(?::\d\d)?(?:\s?[+-]\d{4})?|(?<!\d)\d{3,12}-\d{3,12}(?!\d)"
    r"|(?:\b(?:no|nr|num|room|flat|page|section|chapter|figure|table|version|step|item|article|"
    r"paragraph|raum|zimmer|wohnung|seite|kapitel|tabelle|artikel)\.?\s|[§#№]\s?)\d++"
    r"|\d(?:st|nd|rd|th)\b|\b(?!(?:eur|usd|gbp|chf)\d)[^\W\d_]++[-_/]?\d[\w-]*+",
    re.IGNORECASE,
)
_ASKED_LENGTH = re.compile(
    r"\bhow\slong\s(?:(?:is|are|was|were)\s(?:the|a|an)\b|.{1,80}\bbe\b)"
    r"|\bwie\slang\s(?:ist|sind|muss|darf|soll)\b",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    rf"(?:\d|\b(?:{_NUMBER_WORDS}))\s?(?:mm|cm|m|km|met(?:re|er)s?|kilomet(?:re|er)s?|miles?|feet|inches|"
    r"characters?|letters?|digits?|words?|lines?|pages?|signs?|zeichen|buchstaben|ziffern|seiten|wörter)\b",
    re.IGNORECASE,
)
_CONTACT = re.compile(r"\d[\d ()/.+-]{3,}\d|\S@\S|https?://|www\.")
_PERSON = re.compile(
    r"(?<![.!?:]\s)(?<!^)\b[^\W\d_a-zß-öø-ÿ][\w'’-]{1,60}|[^\W\d_a-zß-öø-ÿ][\w'’-]{1,60}\s[^\W\d_a-zß-öø-ÿ]"
    r"|\b(?:manager|director|team|department|head|officer|office|staff|chair|secretary|treasurer|"
    r"supervisor|owner|engineer|assistant|board|tenants?|landlord|members?|customers?|clients?|captain|"
    r"coach|employees?|employer|colleagues?|everyone|everybody|anyone|anybody|nobody|guests?|visitors?|"
    r"parents?|teachers?|doctor|nurse|drivers?|users?|applicants?|suppliers?|sellers?|buyers?|lead|chief|"
    r"leitung|leiter|leiterin|abteilung|mieter|vermieter|kunden?|mitarbeiter|jeder)\b"
    r"|\bby\s(?:the|an?|your|our|its)\s[a-z]"
)

_REASON = re.compile(
    r"\b(?:because|due\sto|owing\sto|driven\sby|caused\sby|led\sby|as\sa\sresult|results?\sfrom|resulted\sfrom|"
    r"thanks\sto|reasons?|causes?|in\sorder\sto|so\sthat|therefore|since|otherwise|attributable\sto|reflect(?:s|ed|ing)|"
    r"weil|da|wegen|aufgrund|denn|damit|deshalb|daher|grund|gründe|ursache|sonst|um\s.{1,80}\szu|"
    r"parce\sque|car|à\scause|en\sraison|grâce\sà|afin|porque|debido|gracias\sa|para\sque)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_QUESTIONS: tuple[tuple[AnswerType, re.Pattern[str]], ...] = (
    (
        "contact",
        re.compile(
            r"\b(?:phone|telephone|fax|extension|e-?mail\saddress|number\sof\sthe\s(?:office|desk)|"
            r"telefonnummer|durchwahl)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "duration",
        re.compile(
            r"\bhow\s(?:long|quickly|soon|fast|often|frequently|regularly|far\sin\sadvance)\b|\bhow\smany\s(?:days|weeks|"
            r"months|years|hours|minutes)\b|\bwie\s(?:lange|oft|schnell)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "reason",
        re.compile(
            r"^\W*(?:why|how\scome|warum|wieso|weshalb|pourquoi|por\squé)\b|\bwhat\s(?:drove|caused|led\sto|"
            r"explains|explained)\b|\breasons?\s(?:for|why|of)\b|\b(?:grund|gründe|ursache)\s(?:für|dafür)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "time",
        re.compile(
            r"^\W*(?:since\s|until\s|till\s|by\s|from\s)?when\b|\bwhat\s(?:time|date|day|year|month)\b"
            r"|\b(?:on|in)\s(?:which|what)\s(?:day|date|year|month)\b|\bwhich\s(?:day|date|year|month)\b"
            r"|\b(?:opening|closing)\s(?:hours|times)\b|^\W*(?:seit\s|bis\s)?wann\b"
            r"|\bwelche[mnrs]?\s(?:wochentag|tag|tage|tagen|datum|jahr|monat|woche|uhrzeit)\b|\bwie\sviel\suhr\b",
            re.IGNORECASE,
        ),
    ),
    (
        "person",
        re.compile(
            r"^\W*(?:to\s|by\s|from\s|for\s)?(?:who|whom|whose|wer|wem|wen)\b"
            r"|\bname\sof\s(?:the|our|a|an)\s(?:[\w-]+\s)?(?:person|firm|company|contractor|"
            r"supplier|employee|owner|customer|partner|agency|insurer|bank|shop|manager|director)\b"
            r"|\bwhich\s(?:[\w-]+\s)?(?:person|firm|company|contractor|supplier|employee|colleague|"
            r"customer|partner|agency|insurer|bank|director|manager)\b",
            re.I,
        ),
    ),
    (
        "money",
        re.compile(
            r"\bhow\smuch\b|\b(?:price|fee|budget|salary|wage|rent|discount)\b"
            r"|\bwhat\s(?:does|do|did|is|are|was|were|will)\b.{0,200}\bcosts?\b"
            r"|\bwhat\s(?:do|does|did|must|should|will)\s\w+\s(?:pay|charge|bill)\b|\bwie\s?viel\b|\bwas\skoste[nt]\b",
            re.IGNORECASE,
        ),
    ),
    (
        "number",
        re.compile(
            r"\bhow\s(?:many|large|big|high|tall|heavy|far|deep|wide|thick|warm|hot|cold|old|accurate|"
            r"precise|loud|strong)\b|\bwie\s?(?:viele|groß|hoch|schwer|weit|tief|breit|alt|genau|warm)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "number",
        re.compile(
            r"\b(?:weight|height|length|width|depth|speed|temperature|temp|share|percentage|percent|"
            r"capacity|load|limit|ceiling|cap|maximum|minimum|max|min|consumption|total|revenue|"
            r"turnover|sales|profit|distance|area|volume|number\sof|average|kwh?|km|gewicht|höhe|länge|"
            r"breite|tiefe|anteil|temperatur|umsatz|verbrauch|anzahl|höchst\w+|mindest\w+)\b",
            re.IGNORECASE,
        ),
    ),
)
_ANSWERS: dict[AnswerType, re.Pattern[str]] = {
    "number": _NUMBER,
    "money": _MONEY,
    "time": _TIME,
    "person": _PERSON,
    "contact": _CONTACT,
    "reason": _REASON,
}


def find_answer_type(question: str) -> AnswerType | None:
    """Return the kind of answer that a question asks for; None if it asks for no such kind."""
    return next((kind for kind, pattern in _QUESTIONS if pattern.search(question)), None)


def has_new_answer(question: str, text: str, kind: AnswerType) -> bool:
    """Whether a text has an answer of this kind, and a person whom the question does not name.

    "Ask the captain." does not say who the captain is. "How long must a password be?" asks for a
    time or for a length. A price is no answer to "how many".
    """
    text = text.replace("_", " ")  # service_interval_months
    if kind == "number" and _COUNT.search(question):
        text = _AMOUNT_OF_MONEY.sub(" ", text)
    if kind == "duration" and _ASKED_LENGTH.search(question) and _LENGTH.search(text):
        return True
    if kind == "person":
        asked_words = set(words(question))
        text = _WORD.sub(lambda m: " " if m.group().lower() in asked_words else m.group(), text)
    return has_answer_of_type(text, kind)


def has_currency(text: str) -> bool:
    """Whether a text has an amount of money with its currency."""
    return _CURRENCY.search(text) is not None


def has_answer_of_type(text: str, kind: AnswerType) -> bool:
    """Whether a text has an answer of this kind."""
    if kind in ("number", "money"):
        text = _NO_AMOUNT.sub(" ", text)
    if kind == "duration":
        return bool(_UNIT_OF_TIME.search(text)) or bool(re.search(r"\d\d?:\d\d", text))
    return bool(_ANSWERS[kind].search(text))
