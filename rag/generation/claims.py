"""Claims: which sentences of an answer need the support of a source, and refusals to answer."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Set
from functools import lru_cache

from rag.text.function_words import find_stop_words
from rag.text.tokenization import stems, words

_HEADING = re.compile(r"\s*+(?:#{1,6}\s|(?:[-*_]\s*+){3,}+$|[\s:|-]++$)")
_LEAD_IN = re.compile(r"[:：][*_]*$")
_LEAD_IN_OPENING = re.compile(
    r"\W*+(?:here|below|these|the\s+following|this\s+is\s+what|in\s+short)\b", re.IGNORECASE
)
_QUESTION = re.compile(r"[?？؟][\"'”’»)*_]*$")
_QUESTION_OPENING = re.compile(
    r"\W*+(?:who|whom|whose|what|when|where|why|which|how|is|are|am|was|were|do|does|did|can|could|"
    r"will|would|shall|should|may|might|have|has|had|any|anything|need|want|so|and|or)\b",
    re.IGNORECASE,
)
_MAX_LABEL_WORDS = 6  # a longer heading or lead-in with a number in it is a claim
_HELP_NOUNS = r"(?:questions?|help|information|details|clarification|assistance|anything|more)"
_COURTESY = re.compile(
    r"\W*+(?:"
    r"(?:i\s+|we\s+)?hope\s+(?:this|that|it)\s+(?:helps|is\s+helpful|clarifies|answers)"
    r"(?:\s+(?:you|a\s+bit|your\s+question|things|it|that))?"
    rf"|(?:please\s+)?let\s+(?:me|us)\s+know\s+(?:if|whether|should|in\s+case)\s+(?:you|there)\b"
    rf"[^.!]{{0,60}}\b{_HELP_NOUNS}\b[^.!]{{0,40}}"
    r"|(?:please\s+)?feel\s+free\s+to\s+(?:ask|reach\s+out|contact\s+(?:me|us))\b[^.!]{0,60}"
    rf"|if\s+you\s+(?:have|need|would\s+like|want)\b[^.!]{{0,40}}\b{_HELP_NOUNS}\b[^.!]{{0,40}},?\s+"
    r"(?:please\s+)?(?:just\s+)?(?:let\s+(?:me|us)\s+know|feel\s+free\b[^.!]{0,40}|ask(?:\s+me)?)"
    r"|(?:many\s+)?thank(?:s|\s+you)(?:\s+(?:so|very)\s+much|\s+a\s+lot)?"
    r"(?:\s+for\s+(?:asking|reaching\s+out|the\s+question|your\s+(?:question|interest|patience)))?"
    r"|you(?:['’]re|\s+are)\s+(?:very\s+|most\s+)?welcome"
    r"|(?:sure|certainly|of\s+course|absolutely|okay|ok|great)"
    r"|(?:that(?:['’]s|\s+is)\s+)?(?:a\s+)?(?:very\s+)?(?:good|great|excellent|interesting)\s+question"
    r"|(?:i(?:['’]m|\s+am)\s+)?(?:happy|glad)\s+to\s+(?:help|assist)(?:\s+you)?(?:\s+with\s+that)?"
    r"|(?:this|the)\s+(?:answer|information|summary|response)\s+(?:above\s+)?is\s+based\s+"
    r"(?:only\s+)?on\s+the\s+(?:\w+\s+){0,3}(?:passages?|sources?|documents?|context|text|information)"
    r"(?:\s+(?:above|provided|given|you\s+\w+))?"
    r"|(?:here|below)\s+(?:is|are)\s+(?:the|a|an|my|your|what)\s+(?:\w+\s+){0,3}"
    r"(?:answers?|summary|overview|list|information|i\s+found|details|results?|response)"
    r"(?:\s+to\s+your\s+question)?"
    r"|(?:(?:in\s+)?(?:summary|conclusion|short)|to\s+(?:sum\s+up|summari[sz]e|conclude))"
    r")\W*+\Z",
    re.IGNORECASE,
)

_SOURCE_NOUNS = (
    r"(?:passages?|sources?|documents?|documentation|contexts?|texts?|excerpts?|articles?|materials?"
    r"|search\s+results|information|data)"
)
_SOURCE_ADJECTIVES = (
    r"(?:provided|given|available|retrieved|supplied|above|present|current|relevant)"
)
_SOURCE_PHRASE = (
    rf"(?:(?:any\s+of\s+)?(?:the|these|this|those|my|your)\s+)?(?:{_SOURCE_ADJECTIVES}\s+){{0,2}}{_SOURCE_NOUNS}"
    rf"(?:\s+(?:{_SOURCE_ADJECTIVES}|you\s+\w+|i\s+have|at\s+hand)){{0,2}}"
)
_NEGATED_AUXILIARY = (
    r"(?:do(?:es)?|did|is|are|was|were|could|can|has|have)\s*(?:n[o'’]?t|n’t|\s+not)"
)
_ANSWER_NOUNS = (
    r"(?:an?\s+|the\s+|any\s+|enough\s+|sufficient\s+|such\s+|that\s+|this\s+|specific\s+|further\s+|"
    r"relevant\s+)*(?:answers?|information|details?|data|evidence|context|mention|knowledge)"
)
_APOLOGY = (
    r"(?:(?:(?:i(?:['’]m|\s+am)\s+)?(?:very\s+)?(?:sorry|afraid)|sorry|unfortunately|regrettably|"
    r"i\s+apologi[sz]e)[,.:;]?\s*(?:but\s+|that\s+)?)?"
    rf"(?:(?:based\s+on|from|according\s+to|given|in|looking\s+at)\s+(?:only\s+)?{_SOURCE_PHRASE}"
    r"(?:\s+alone)?,?\s+)?"
)
_NEGATED_ABILITY = (
    r"(?:do\s*(?:n[o'’]?t)|don’t|do\s+not|cannot|can\s*not|can['’]?t|could\s+not|couldn['’]t|"
    r"(?:am|are|was|were|['’]m|['’]re)\s+(?:not\s+able|unable)\s+to)"
)
_REFUSAL = re.compile(
    rf"\W*+{_APOLOGY}(?:"
    # I do not know; I cannot find this; we cannot answer that; I do not have enough information
    rf"(?:i|we)\s*{_NEGATED_ABILITY}\s+(?:"
    r"know(?!\s+of\b)"
    r"|(?:find|answer|determine|locate|tell|say|confirm|establish|infer|conclude)\b"
    rf"|(?:provide|give|offer|have|see)\s+(?:you\s+with\s+)?{_ANSWER_NOUNS}"
    r"|(?:help|assist)(?:\s+(?:you|with))*(?:\s+(?:that|this))?(?=\W*(?:\Z|[,;]|but\b))"
    r")"
    # the passages do not mention it; none of the documents says so
    rf"|{_SOURCE_PHRASE}\s+(?:{_NEGATED_AUXILIARY})\s+(?:\w+ly\s+)?"
    r"(?:contain|mention|provide|say|state|hold|include|answer|specify|give|discuss|address|cover|offer|"
    r"explain|indicate|describe|tell|name|list|have)(?:e?d)?\b"
    rf"|(?:none|neither)\s+of\s+{_SOURCE_PHRASE}\s+\w+"
    # there is no information about it; not enough information to answer
    r"|(?:there\s+(?:is|are|was|were)\s+|there['’]s\s+)"
    rf"(?:no|not\s+(?:enough|sufficient|any)|insufficient|nothing)\s+{_ANSWER_NOUNS}"
    r"|(?:there\s+(?:is|are)\s+)?nothing\s+(?:about|on|regarding)\b"
    rf"|(?:no|not\s+enough|insufficient)\s+(?:\w+\s+)?{_ANSWER_NOUNS}"
    r"(?:\s+(?:is|are|was|were))?(?=\s+(?:about|on|regarding|in\s+the|found|available|given|provided|"
    r"to\s+(?:answer|say|determine|tell))\b|\W*\Z)"
    # it is not mentioned in the passages; this information is not available
    rf"|(?:it|this|that|(?:the|this|that)\s+{_ANSWER_NOUNS})\s+(?:{_NEGATED_AUXILIARY})\s+(?:\w+ly\s+)?"
    r"(?:mentioned|stated|specified|given|disclosed|discussed|addressed|covered)\b"
    rf"|(?:the|this|that|such)\s+{_ANSWER_NOUNS}\s+(?:{_NEGATED_AUXILIARY})\s+(?:available|provided|included|contained|"
    r"known|found|in\s+the)\b"
    r"|(?:the|this|that|your)\s+question\s+(?:cannot|can['’]?t|could\s+not|can\s+not)\s+be\s+answered"
    r"|not\s+(?:found|mentioned|stated|given|specified|available|known)(?=\s+in\b|\W*\Z)"
    r"|(?:unknown|unclear|n/?a)(?=\W*\Z)"
    r")",
    re.IGNORECASE,
)
_CONTRAST = re.compile(
    r"(?:;|(?<!\s)[,;:.]?\s++(?:but|however|though|although|yet)\b,?|,\s++(?=which\b|who\b|whose\b))\s*+",
    re.IGNORECASE,
)
_ITEM_MARK = re.compile(r"\A\s*(?:[-*•]|\d{1,3}[.)])\s+(?=\S)")
_ANSWER_IS = re.compile(
    r"(?:the\s+)?answer(?:\s+to\s+(?:the|this|that|your)\s+question)?\s+is(?:\s*+:)?\s++(?:that\s+)?"
    r"(?!not\b)|[*_]{0,2}(?:(?:final|short)\s+)?answer[*_]{0,2}\s*:[*_]{0,2}\s*(?=\w)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d")
_FRAME_WORDS = (
    "summary overview introduction conclusion answer result details detail note notes list key "
    "main important point points feature features fact facts information description "
    "background context example examples source sources reference references passage passages "
    "document documents question step steps section table item items following further more "
    "other like want know help assist need anything something else understand clarify specific "
    "explain mention say provide tell show find based according next first finally "
    "recommendation recommendations zusammenfassung überblick antwort ergebnis hinweis angaben "
    "folgende weitere frage quelle quellen dokument résumé réponse résultat suivants sources "
    "resumen respuesta resultado siguiente fuentes documento"
)
_MIN_NEW_WORDS = 2
_AUXILIARY = (
    r"(?:is|are|was|were|has|have|had|will|would|can|could|must|should|may|might|does|do|did|"
    r"never|always|isn['’]t|aren['’]t|wasn['’]t|won['’]t|can['’]t|cannot|doesn['’]t|don['’]t)"
)
# "The battery explodes after three flights", "Batteries can explode"; not "Spare parts in the box"
_STATEMENT = re.compile(
    rf"\b(?:the|this|that|each|every|an?|your|our|its|their)\s(?:[\w-]+\s){{1,3}}"
    r"(?:[a-z]{2,}[^\Ws]s|[a-z]{2,}ed)\s(?:after|before|when|if|while|until|every|each|because|the|an?|its|"
    r"their|your|all|no|people|\d)"
    rf"|\w\s+{_AUXILIARY}\s+\w"
    # "Batteries explode without warning", "The CEO stole the company funds"
    r"|(?:\A[^\w\n-]{0,8}|\b(?:the|these|our|all)\s)[^\W_]{2,30}\s"
    r"(?!for\b|with\b|from\b|into\b|and\b|about\b|during\b|under\b|over\b|the\b)[a-z]{3,20}\s"
    r"(?:after|before|when|if|while|until|every|because|without|the|their|your|all|people)\b"
    r"|\b(?:the|this|our|its|their)\s[\w-]{1,30}\s(?:stole|killed|fled|died|broke|fell|rose|won|lost|"
    r"sold|bought|made|took|gave|left|began|became|went|came|met|paid|sent|built|burnt|caught|hid)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[*_`~\\]|[<‹][^<>‹]{0,100}>")
_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_INNER_PUNCTUATION = re.compile(
    r"[,;:()\[\]{}\"“”„«»‹›–—|]|(?<!\w)-|-(?!\w)|(?<!\w)['‘’]|['‘’](?!\w)"
)
_NAMES_A_LIST = re.compile(
    r"\b(?:following|below|here|found|follows|steps?|let\s+me|what|how|why|which|who|when|where)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\W{0,8}(?:what|how|why|which|who|when|where)\b", re.IGNORECASE)
_TOLD_IN_A_QUESTION = re.compile(
    r"\b(?:know|knew|aware|reali[sz]e|believe|heard?|notice|true|forget|remember)\w*\b"
    r"|,\s(?:right|correct|no|yes|isn['’]t\sit|(?:do|does|did|is|are|was|were|has|have|will|can)n['’]t\s\w+)\?"
    r"|n['’]t\sit\s\w+\sthat\b",
    re.IGNORECASE,
)
_TOLD_AFTER_REFUSAL = re.compile(
    r"\b(?:i|we)\s[^.]{0,40}?\b(?:tell|say|reveal|disclose|admit)(?:\s+(?:you|anyone))?\s+that\s",
    re.IGNORECASE,
)
_CODE_CHARACTERS = re.compile(r"[=;<>{}$@\\|\[\]]|\(\)|:[ \t]*+$|^[ \t]*+(?:#|//)", re.M)
_COMMENT_LINE = re.compile(r"^[ >]*+(?:#+|//+|--)?[ \t]*+", re.M)
_SYMBOL_LETTER = re.compile(
    "[\u249c-\u24e9\u2801-\u28ff\U0001f110-\U0001f189\U0001f1e6-\U0001f1ff]"
)
_MIN_SYMBOL_LETTERS = 8  # some are in use: flags, ratings
_PROSE_TAGS = frozenset({"", "text", "txt", "plain", "plaintext", "markdown", "md"})
_SENTENCE_END = re.compile(r"[.!?][\"'”’»)\]*_`~]{0,4}\s*\Z")
_STARTS_WITH_LETTERS = re.compile(r"[\W\d_]{0,12}(?:[^\W\d_]{2}|[AI]\s)")
_SHORT_SENTENCE = re.compile(r"[\W\d_]{0,12}(?:The|This|That|These|Your|Our|It|He|She|We|They)\s")
_MIN_WORDS_OF_PROSE = 4
_WITHOUT_PREDICATE = re.compile(r"\b(?:is|are|was|were)[\s.:*_]*\Z", re.IGNORECASE)
_MAX_REFUSAL_CHARACTERS = 300


def has_no_claim(sentence: str) -> bool:
    """Whether a sentence is a heading, a rule, a question, "Here is the list:" or a courtesy.

    A longer heading or lead-in with a number in it is a claim. So is a sentence with a number and
    a question mark that does not begin like a question.
    """
    if _COURTESY.match(sentence) or lacks_predicate(sentence):
        return True
    has_number_claim = (
        _NUMBER.search(sentence) is not None and len(sentence.split()) > _MAX_LABEL_WORDS
    )
    if _QUESTION.search(sentence):
        return not has_number_claim or bool(_QUESTION_OPENING.match(sentence)) or "¿" in sentence
    if _HEADING.match(sentence):
        return not has_number_claim
    if _LEAD_IN.search(sentence):
        return not has_number_claim or bool(_LEAD_IN_OPENING.match(sentence))
    return False


def says_something_new(text: str, known_words: Set[str]) -> bool:
    """Whether a heading, a question, a table head or a lead-in makes a statement of its own.

    `known_words` are the stems of the passages and the question; "Care of the battery" names what
    it is about, "The battery explodes after three flights" does not. Statements are recognized in
    English only.
    """
    if _COURTESY.match(text) or not _STATEMENT.search(_strip_markup(text)):
        return False
    if _QUESTION.search(text):
        if not _TOLD_IN_A_QUESTION.search(text):
            return False
    elif _ASKS.match(text) or (text.rstrip(" *_").endswith(":") and _NAMES_A_LIST.search(text)):
        return False
    return _has_new_words(text, known_words)


def _strip_markup(text: str) -> str:
    """Return a text as it is read: without emphasis, tags, entities and punctuation within it."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = _POSSESSIVE.sub("", _MARKUP.sub("", text))
    return " ".join(_INNER_PUNCTUATION.sub(" ", text).split())


def _has_new_words(text: str, known_words: Set[str]) -> bool:
    stop_words = find_stop_words(text)
    content = " ".join(word for word in words(text) if word not in stop_words)
    return len(set(stems(content)) - known_words - _list_frame_stems()) >= _MIN_NEW_WORDS


@lru_cache(maxsize=1)
def _list_frame_stems() -> frozenset[str]:
    """Return the stems of words that announce what follows."""
    return frozenset(stems(_FRAME_WORDS))


def has_symbol_letters(text: str) -> bool:
    """Whether a text is written in signs that look like letters and are none: Ⓣⓗⓔ, 🆃🅷🅴, ⠞⠓⠑."""
    return len(_SYMBOL_LETTER.findall(text)) >= _MIN_SYMBOL_LETTERS


def find_prose(block: str, tag: str = "") -> str:
    """Return the sentences in the content of a fenced block; "" if it is code.

    `tag` is what stands behind the fence, such as ``python``. Comments of code are code.
    """
    lines = block.splitlines()
    if len(tag.split()) >= _MIN_WORDS_OF_PROSE:
        lines, tag = [tag, *lines], ""
    lines = [line.lstrip(" >").rstrip(" ;|") for line in lines]
    codes = [line for line in lines if _CODE_CHARACTERS.search(line)]
    if tag.split()[:1] not in ([], *([name] for name in _PROSE_TAGS)) and codes:
        return ""
    if codes and len(codes) == sum(bool(line) for line in lines):  # a block of comments only
        lines = [_COMMENT_LINE.sub("", line) for line in lines]
    return "\n".join(
        line for line in lines if not _CODE_CHARACTERS.search(line) and _is_sentence(line)
    )


def _is_sentence(line: str) -> bool:
    word_count = len(words(line))
    return (
        word_count >= (3 if _SHORT_SENTENCE.match(line) else _MIN_WORDS_OF_PROSE)
        and _STARTS_WITH_LETTERS.match(line) is not None
        and bool(_SENTENCE_END.search(line) or _STATEMENT.search(_strip_markup(line)))
    )


def lacks_predicate(sentence: str) -> bool:
    """Whether a sentence ends before it says anything: "The orders are", without its marker."""
    return bool(_WITHOUT_PREDICATE.search(sentence))


def is_refusal(sentence: str, known_words: Set[str] | None = None) -> bool:
    """Whether a sentence says only that the sources have no answer.

    "I cannot tell you that the battery explodes." is none, if the sources and the question do not
    have these words (`known_words`, stems).

    "The passages do not say why, but it began in 1960." is no refusal, nor is "No information is
    lost." A sentence with a number in it makes a claim, unless it is in the first person.
    """
    refusal = _REFUSAL.match(sentence[:_MAX_REFUSAL_CHARACTERS])
    if refusal is None or extract_claim(sentence) != _ITEM_MARK.sub("", sentence, count=1):
        return False
    remaining_text = sentence[refusal.end() :]
    statement = _TOLD_AFTER_REFUSAL.search(sentence)
    if (
        known_words is not None
        and statement
        and _has_new_words(sentence[statement.end() :], known_words)
    ):
        return False
    return not _NUMBER.search(remaining_text) or bool(re.match(r"\W*+(?:.{0,40}\b)?I\b", sentence))


def starts_with_refusal(text: str) -> bool:
    """Whether a text begins by saying that there is no answer, whatever follows."""
    return bool(_REFUSAL.match(text[:_MAX_REFUSAL_CHARACTERS]))


def extract_claim(sentence: str) -> str:
    """Return the claim after "1.", "The passages do not say why, but" or "The answer is"."""
    sentence = _ITEM_MARK.sub("", sentence, count=1)
    if refusal := _REFUSAL.match(sentence[:_MAX_REFUSAL_CHARACTERS]):
        contrast = _CONTRAST.search(
            sentence, refusal.end(), refusal.end() + _MAX_REFUSAL_CHARACTERS
        )
        if contrast and re.search(r"\w", sentence[contrast.end() :]):
            return sentence[contrast.end() :]
        return sentence
    if answer_opening := _ANSWER_IS.match(sentence):
        return sentence[answer_opening.end() :]
    return sentence
