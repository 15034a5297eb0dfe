"""Words that show where a sentence can end: abbreviations and function words."""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof sr jr st vs etc eg ie cf al fig figs no nos vol pp p ed eds inc ltd corp co
    llc dept est approx jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri
    sat sun u.s u.k e.g i.e a.m p.m ph.d sec eq ch art para gen col sgt capt lt hon rev
    bzw ggf evtl inkl exkl zzgl vgl bspw sog z.b d.h u.a i.d.r p.ex attn hd z.hd idnr betr
    bzgl""".split()
)
_ABBREVIATIONS_BEFORE_NUMBERS = frozenset(
    """ext extn tel fax mob nr num ref rm apt pos max min ca ver abs kap bd tab abb hr dl pag pág
    núm av ap""".split()
)
_LAST_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_](?:[\w.]{0,60}\w)?)\.$")

# A line that ends with one of these words continues on the next line.
CONTINUED_WORDS = frozenset(
    """a an the of for to from by with without in on at into onto over under between through during
    about around approximately least most than per and or nor but that which who whose when where
    while because if as is are was were be been has have had will would can could may might must
    should shall its their his her our your this these those says said only nearly almost
    der die das den dem des ein eine einen einem einer eines von vom für zu zum zur mit ohne bei
    beim im ins auf aus nach über unter zwischen durch gegen um bis seit und oder aber dass wenn
    weil als wie ist sind war waren wird werden wurde wurden hat haben kann können muss müssen etwa
    rund mindestens höchstens pro je laut nur herr herrn frau
    le la les un une du des de et ou dans sur par pour avec sans chez est sont été que qui à au aux
    environ monsieur madame el los las una uno del y o en con sin por para es son fue desde hasta
    entre unos il lo gli di da nel nella per con su che è het een van voor met naar op aan door te
    os uma do dos das em no na com av og som til på med är och för att är""".split()
)

# A capitalized one begins a sentence, a heading or a verse. Some names begin with it, too.
SENTENCE_STARTERS = frozenset(
    """the a an this that these those it its he she we they you his her our your their there here
    and or but so if when where while because although as for from in on at by with without to of
    after before until then thus also however please what which who why how do does is are was
    der die das dem den ein eine einen einem einer dieser diese dieses es er wir und oder aber doch
    wenn weil als wie im in bei beim mit ohne für von vom nach vor zu zum zur auf aus seit dann
    hier dort bitte was wer wo warum""".split()
)

# "3. Mai": the full stop is that of an ordinal number. Months in German, Danish, Norwegian,
# Swedish, Finnish, Czech, Hungarian, Slovenian and Croatian.
ORDINAL_DATE = re.compile(
    r"\s++(?:januar|jänner|januari|februar|februari|feber|märz|marts|mars|april|mai|maj|juni|juli|august"
    r"|augusti|september|oktober|november|dezember|desember|december"
    r"|tammikuuta|helmikuuta|maaliskuuta|huhtikuuta|toukokuuta|kesäkuuta|heinäkuuta|elokuuta"
    r"|syyskuuta|lokakuuta|marraskuuta|joulukuuta"
    r"|ledna|února|března|dubna|května|června|července|srpna|září|října|listopadu|prosince"
    r"|január|február|március|április|május|június|július|augusztus|szeptember|október"
    r"|januarja|februarja|marca|aprila|maja|junija|julija|avgusta|septembra|oktobra|novembra|decembra"
    r"|siječnja|veljače|ožujka|travnja|svibnja|lipnja|srpnja|kolovoza|rujna|listopada|studenoga)\b",
    re.IGNORECASE,
)


def ends_with_abbreviation(text_before: str, text_after: str) -> bool:
    """Whether `text_before` ends with a full stop of an abbreviation or an initial.

    `text_after` is the text that follows the white space after the full stop.
    """
    if (word := _LAST_WORD.search(text_before)) is None:
        return False
    lowercase_word = word.group(1).lower()
    if len(lowercase_word) == 1 and lowercase_word != "i":  # an initial
        return True
    if lowercase_word in _ABBREVIATIONS_BEFORE_NUMBERS:
        is_unit = text_before[: word.start()].rstrip()[-1:].isdigit()  # "10 min."
        return not is_unit and text_after[:2].lstrip("+(")[:1].isdigit()
    return lowercase_word in _ABBREVIATIONS and not (
        lowercase_word in {"etc", "inc", "co"} and text_after[:1].isupper()
    )


_MONTH_NAMES = """january jan januar jänner janvier janv enero ene gennaio genn janeiro januari
february feb februar feber février févr fév febrero febbraio fevereiro fev februari
march mar märz mär mrz mars marzo março maart mrt
april apr avril avr abril abr aprile
may mai mayo maggio maio mei
june jun juni juin junio giugno giu junho
july jul juli juillet juil julio luglio lug julho
august aug août aou agosto ago augustus
september sep sept septembre septiembre settembre sett setembro set
october oct oktober okt octobre octubre ottobre ott outubro out
november nov novembre noviembre novembro
december dec dezember dez décembre déc diciembre dic dicembre dezembro"""
MONTH_NUMBERS = {
    name: number
    for number, line in enumerate(_MONTH_NAMES.splitlines(), start=1)
    for name in line.split()
}
"""The month (1 to 12) by its name or abbreviation in lower case: English, German, French, Spanish,
Italian, Portuguese and Dutch."""


_UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_IRREGULAR_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def _make_ordinal(word: str) -> str:
    regular = word[:-1] + "ieth" if word.endswith("y") else word + "th"
    return _IRREGULAR_ORDINALS.get(word, regular)


CARDINALS = (
    {word: number for number, word in enumerate(_UNITS, start=1)}
    | {word: 10 * number for number, word in enumerate(_TENS, start=2)}
    | {
        f"{tens}-{unit}": 10 * number + digit
        for number, tens in enumerate(_TENS, start=2)
        for digit, unit in enumerate(_UNITS[:9], start=1)
    }
    | {"hundred": 100}
)
"""English number words up to 100, with their numbers."""

ORDINALS = {
    "-".join([*word.split("-")[:-1], _make_ordinal(word.split("-")[-1])]): number
    for word, number in CARDINALS.items()
}
"""English ordinals up to 100, with their numbers."""
