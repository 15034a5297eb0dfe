"""Speakers: who "I" and "we" are in a mail."""

from __future__ import annotations

import re

from rag.text.tokenization import words

_HEAD = re.compile(
    r"(?:From|Von|De): (?P<sender>[^\n<:]{1,80})"
    r"(?:[\n<]|\s(?:To|Sent|Date|Cc|Subject|An|Gesendet|Datum|Betreff|À|Para):)"
)
_QUOTED = re.compile(r"\bwrote:|\bschrieb\b|a écrit|(?:^|\s)>", re.IGNORECASE)
_FIRST_PERSON = re.compile(
    r"\b(?:I|we|We|my|our|ich|Ich|wir|Wir|mein\w*|unser\w*|je|Je|nous|Nous)\b"
)
_GREETING = re.compile(
    r"(?:Hi|Hello|Hey|Dear|Hallo|Liebe[rs]?|Guten Tag|Bonjour|Cher|Chère|Hola)\b[^\n,]{0,60}[,\n]"
)
_SUBJECT = re.compile(r"[A-ZÄÖÜÀ-Þ][a-zß-ÿ]+(?:\s[A-ZÄÖÜÀ-Þ][a-zß-ÿ]+)?(?=\s[a-zß-ÿ])")


def is_by_another_person(claim: str, sentence: str, passage: str) -> bool:
    """Whether a claim says of one person what a mail says of another.

    In a sentence with "I" or "we", it is the sender. A sentence that begins with the name of
    somebody else is not about the person with whose name the claim begins.
    """
    head = _HEAD.match(passage)
    subject = _SUBJECT.match(claim) if head else None
    if head is None or subject is None:
        return False
    sentence = sentence.strip()
    if _QUOTED.search(passage[: max(0, passage.find(sentence)) + len(sentence)]):
        return False  # it may be what somebody else wrote
    if greeting := _GREETING.match(sentence):
        sentence = sentence[greeting.end() :].strip()
    names = set(words(subject.group()))
    if not names <= set(words(passage)) or names & set(words(sentence)):
        return False  # the subject is no person of the mail, or the sentence names it
    if _FIRST_PERSON.search(sentence):
        return names.isdisjoint(words(head["sender"]))
    named_person = _SUBJECT.match(sentence)
    return (
        named_person is not None and set(words(named_person.group())) <= set(words(passage)) - names
    )
