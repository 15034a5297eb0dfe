"""Function words of seven languages: question words, pronouns, and words of follow-ups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rag.text.tokenization import STOP_WORDS, content_stems, stems

_MIN_PART_CHARACTERS = 5  # of a compound
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, eq=False)
class FunctionWords:
    """The words of one language, in lower case.

    ``noun_substitutes`` are words such as "one" in "the large one".
    ``openings`` begin a follow-up ("what about"). ``things`` and ``persons`` are pronouns;
    ``statements`` point to what was said ("why is that?"); ``places`` are words such as "there".
    ``ordinals`` are the words for the first, the second, ... and the last of a list; ``former`` and
    ``latter`` are those for one of two. ``corrections`` begin a correction ("no, I meant"). Words
    of the same group of ``prepositions`` mean the same. ``fillers`` are phrases in which a pronoun
    does not point back ("does it take"). ``has_compounds`` says that nouns are written as one word
    ("Kündigungsfrist").
    """

    openings: tuple[str, ...]
    things: frozenset[str]
    persons: frozenset[str]
    statements: frozenset[str]
    places: frozenset[str]
    noun_substitutes: frozenset[str]
    ordinals: tuple[frozenset[str], ...]
    last: frozenset[str]
    former: frozenset[str]
    latter: frozenset[str]
    corrections: tuple[str, ...]
    negations: tuple[str, ...]
    articles: frozenset[str]
    prepositions: tuple[frozenset[str], ...]
    question_words: frozenset[str]
    who: frozenset[str]
    auxiliaries: frozenset[str]
    fillers: tuple[str, ...] = ()
    has_capitalized_nouns: bool = False
    has_compounds: bool = False

    @cached_property
    def preposition_groups(self) -> dict[str, int]:
        """The number of the group of each preposition."""
        return {word: i for i, group in enumerate(self.prepositions) for word in group}

    @cached_property
    def function_words(self) -> frozenset[str]:
        """Every word that says nothing about the topic of a question."""
        return frozenset().union(
            self.things, self.persons, self.statements, self.places, self.articles,
            self.noun_substitutes, self.preposition_groups, self.question_words, self.auxiliaries,
        )  # fmt: skip

    @cached_property
    def list_counts(self) -> Counter[str]:
        """In how many of the lists of function words, question words and openings a word is."""
        return Counter((*self.function_words, *self.question_words, *self.openings))

    @cached_property
    def opening_pattern(self) -> re.Pattern[str]:
        """Matches the opening of a follow-up at the beginning of a question."""
        return _match_phrases(self.openings, suffix=r"\b[\s,:]*")

    @cached_property
    def correction_pattern(self) -> re.Pattern[str]:
        """Matches the beginning of a correction, up to what is meant."""
        return _match_phrases(self.corrections, suffix=r"\b[\s,:]*")

    @cached_property
    def negation_pattern(self) -> re.Pattern[str]:
        """Matches "not Oslo, " at the beginning of a correction and ", not Oslo" at its end."""
        words = "|".join(map(re.escape, self.negations))
        return re.compile(
            rf"^\W*(?:{words})\s+[^,;–—]{{1,80}}[,;–—]\s*(?:(?:but|sondern|sino|mas|ma|maar|mais)\s+)?"
            rf"|\s*[,;–—]\s*(?:{words})\s+[^,;?]{{1,80}}$",
            re.IGNORECASE,
        )

    @cached_property
    def filler_pattern(self) -> re.Pattern[str] | None:
        """Matches phrases in which a pronoun does not point back."""
        return re.compile(rf"\b(?:{'|'.join(self.fillers)})\b", re.I) if self.fillers else None


def _match_phrases(phrases: tuple[str, ...], suffix: str) -> re.Pattern[str]:
    by_length = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"^\W*(?:(?:{'|'.join(by_length)}){suffix})+", re.IGNORECASE)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _groups(lines: str) -> tuple[frozenset[str], ...]:
    return tuple(_set(line) for line in lines.split(","))


_ENGLISH = FunctionWords(
    openings=("and", "or", "but", "so", "then", "also", "what about", "how about", "what of",
              "what if", "why not", "ok", "okay"),
    things=_set("it its itself they them their theirs these those same such this that"),
    persons=_set("he him his himself she her hers herself"),
    statements=_set("that this so"),
    places=_set("there"),
    noun_substitutes=_set("one ones"),
    ordinals=_groups("first,second,third,fourth,fifth,sixth,seventh,eighth,ninth,tenth"),
    last=_set("last"),
    former=_set("former"),
    latter=_set("latter"),
    corrections=(r"(?:no|sorry|wait)(?=\s*[,;:–—.!]|\s+i\b|\s+not\b)", "i (?:mean|meant)",
                 r"actually(?=\s*,)", "rather", "correction", "instead of that"),
    negations=("not",),
    articles=_set("the a an our your my"),
    prepositions=_groups(
        "in at,for,on,to,from,with,of,by,during,under,over,without,about,within,outside,after,"
        "before,between,since,until"
    ),
    question_words=_set("what which who whom whose when where why how"),
    who=_set("who"),
    auxiliaries=_set(
        "do does did is are was were be been has have had can could will would shall should may "
        "might must am isn aren don doesn didn i you we me us"
    ),
    fillers=(r"(?:does|did|will|would) it take", r"it takes?", r"take it",
             r"(?:is|was) it (?:possible|allowed|necessary|true|required|ok|okay|forbidden|safe|"
             r"permitted|legal|mandatory|better|best)", "(?:is|are|was|were) there(?: any)?",
             "there (?:is|are|was|were)",
             "th(?:is|ese) (?:year|month|week|quarter|morning|company|folder|collection|days)"),
)  # fmt: skip
_GERMAN = FunctionWords(
    openings=("und", "oder", "aber", "was ist mit", "wie ist es mit", r"wie sieht es (?:mit|bei)",
              "wie steht es (?:mit|um)", "und wie ist das mit", "also", "auch", "dann"),
    things=_set(
        "es dieser diese dieses diesem diesen deren dessen davon dafür damit daran dazu darin "
        "darüber dabei jener jene jenes"
    ),
    persons=_set("er ihn ihm sie ihr ihre ihren ihrem ihrer sein seine seinen seinem seiner ihnen"),
    statements=_set("das dies"),
    places=_set("dort da dahin dorthin"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "erste ersten erster erstes,zweite zweiten zweiter zweites,dritte dritten dritter drittes,"
        "vierte vierten,fünfte fünften,sechste sechsten,siebte siebten,achte achten,"
        "neunte neunten,zehnte zehnten"
    ),
    last=_set("letzte letzten letzter letztes"),
    latter=_set("letztere letzteren letzterer letzteres"),
    former=_set("erstere ersteren ersterer ersteres"),
    corrections=(r"(?:nein|sorry|entschuldigung|moment)(?=\s*[,;:–—.!]|\s+ich\b|\s+nicht\b)",
                 "ich (?:meine|meinte)", "ich habe", "gemeint war", "eigentlich(?=\\s*,)"),
    negations=("nicht",),
    articles=_set("der die das den dem des ein eine einen einem einer eines unser unsere"),
    prepositions=_groups(
        "in im ins,für,auf,zu zum zur,von vom,mit,bei beim,an am,nach,während,über,um,ab,bis,ohne"
    ),
    question_words=_set(
        "was welche welcher welches welchen welchem wer wen wem wessen wann wo warum wieso wie "
        "wieviel wohin woher womit"
    ),
    who=_set("wer"),
    auxiliaries=_set(
        "ist sind war waren wird werden wurde wurden hat haben hatte hatten kann können darf "
        "dürfen muss müssen soll sollen gibt viel viele lange hoch kostet kosten ich du wir ihr "
        "man mich dich uns euch mir dir mein meine meinen meinem meiner dein deine deinen deinem "
        "deiner unser unsere unseren unserem unserer euer eure euren eurem bin bist seid habe "
        "hast habt kannst könnt könnte könnten darfst dürft musst müsst müsste müssten sollst "
        "sollte sollten will willst wollen möchte möchten werde wirst"
    ),
    fillers=("gibt es", "geht es", "ist es (?:möglich|erlaubt|nötig|verboten)", "handelt es sich",
             "dies(?:es|er|en|em) (?:jahr|monat|woche|quartal)s?"),
    has_capitalized_nouns=True,
    has_compounds=True,
)  # fmt: skip
_FRENCH = FunctionWords(
    openings=("et", "ou", "mais", "alors", "et pour", "qu['’]en est-il (?:de|du|des|d['’])",
              "quid (?:de|du|des|d['’])", "et concernant", "aussi"),
    things=_set(
        "ça cela celui celle ceux celles celui-ci celle-ci ceux-ci celles-ci "
        "celui-là celle-là y en son sa ses leur leurs ce cette ces lui il elle ils "
        "elles"
    ),
    persons=_set(""),
    statements=_set("ça cela"),
    places=_set("là là-bas"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "premier première,deuxième second seconde,troisième,quatrième,cinquième,sixième,septième,"
        "huitième,neuvième,dixième"
    ),
    last=_set("dernier dernière"),
    latter=_set(""),
    former=_set(""),
    corrections=(r"(?:non|pardon|désolée?)(?=\s*[,;:–—.!]|\s+je\b|\s+pas\b)",
                 "je (?:voulais dire|veux dire|parlais d[eu]s?|pensais à)", "plutôt",
                 r"en fait(?=\s*,)"),
    negations=("pas",),
    articles=_set("le la les l un une des notre nos"),
    prepositions=_groups(
        "à au aux,en dans,pour,de du d des,avec,sur,par,chez,pendant,sans,sous"
    ),
    question_words=_set(
        "que qu quoi quel quelle quels quelles qui quand où pourquoi comment combien "
        "lequel laquelle"
    ),
    who=_set("qui"),
    auxiliaries=_set(
        "est sont était étaient a ont avait avaient peut peuvent doit doivent fait font t coûte "
        "coûtent je j tu nous vous m moi mon ma mes ton tes notre nos votre vos suis sommes êtes "
        "ai avons avez avoir être peux pouvons pouvez puis dois devons devez veux voulons voulez"
    ),
    fillers=("y a-t-il", "il y a", "est-il", "faut-il", "cette (?:année|semaine)", "ce mois",
             "est-ce qu['’]?(?:e|il)?"),
)  # fmt: skip
_SPANISH = FunctionWords(
    openings=("y", "e", "o", "pero", "entonces", "y para", "qué (?:hay|pasa) (?:de|del|con)",
              "y qué (?:hay|pasa|tal) (?:de|del|con)", "qué tal", "también"),
    things=_set(
        "esto eso ello este esta estos estas ese esa esos esas su sus suyo suya lo le les él ella "
        "ellos ellas"
    ),
    persons=_set(""),
    statements=_set("eso esto"),
    places=_set("allí ahí allá"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "primero primera primer,segundo segunda,tercero tercera tercer,cuarto cuarta,quinto quinta,"
        "sexto sexta,séptimo séptima,octavo octava,noveno novena,décimo décima"
    ),
    last=_set("último última"),
    latter=_set(""),
    former=_set(""),
    corrections=(r"(?:no|perdón|perdona)(?=\s*[,;:–—.!]|\s+(?:me|quise|quería)\b)",
                 "(?:me refería|me refiero) (?:a|al)", "quise decir", "quería decir",
                 "mejor dicho"),
    negations=("no",),
    articles=_set("el la los las un una unos unas nuestro nuestra"),
    prepositions=_groups("en,para,de del,con,a al,por,sobre,desde,durante,sin"),
    question_words=_set(
        "qué cuál cuáles quién quiénes cuándo dónde cómo cuánto cuánta cuántos cuántas por"
    ),
    who=_set("quién quiénes"),
    auxiliaries=_set(
        "es son era eran está están estaba ha han hay puede pueden debe deben tiene tienen cuesta "
        "cuestan fue fueron yo tú usted ustedes nosotros me nos mi mis tus nuestro nuestra "
        "nuestros nuestras soy somos he hemos puedo podemos debo debemos tengo tenemos quiero "
        "queremos tener"
    ),
    fillers=("est[ea] (?:año|mes|semana|trimestre)", "a lo largo"),
)  # fmt: skip
_ITALIAN = FunctionWords(
    openings=("e", "ed", "o", "ma", "allora", "e per", "che (?:dire|ne è) (?:di|del|della)",
              "e per quanto riguarda", "anche"),
    things=_set(
        "esso essa essi esse questo questa questi queste quello quella quelli quelle suo sua suoi "
        "sue ne lo loro ci lui lei gli"
    ),
    persons=_set(""),
    statements=_set("ciò questo quello"),
    places=_set("lì là"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "primo prima,secondo seconda,terzo terza,quarto quarta,quinto quinta,sesto sesta,"
        "settimo settima,ottavo ottava,nono nona,decimo decima"
    ),
    last=_set("ultimo ultima"),
    latter=_set(""),
    former=_set(""),
    corrections=(r"(?:no|scusa|scusi)(?=\s*[,;:–—.!]|\s+(?:intendevo|volevo)\b)",
                 "intendevo", "volevo dire", "anzi", "piuttosto"),
    negations=("non",),
    articles=_set("il lo la i gli le l un uno una nostro nostra"),
    prepositions=_groups(
        "in nel nella nello nell nei nelle,per,di del della dello dell dei delle d,con,"
        "a al alla allo all ai alle,da dal dalla,su sul sulla,durante,senza"
    ),
    question_words=_set(
        "che cosa quale quali chi quando dove perché come quanto quanta quanti quante cos qual"
    ),
    who=_set("chi"),
    auxiliaries=_set(
        "è sono era erano ha hanno può possono deve devono c costa costano fu io noi voi mi ti ci "
        "mio mia miei mie nostro nostra nostri nostre vostro vostra siamo ho abbiamo avere posso "
        "possiamo devo dobbiamo voglio vogliamo"
    ),
    fillers=("quest['’]?[oa]? ?(?:anno|mese|settimana|trimestre)", "c['’]è", "ci sono"),
)  # fmt: skip
_PORTUGUESE = FunctionWords(
    openings=("e", "ou", "mas", "então", "e para", "e quanto (?:a|ao|à|aos|às)", "que tal",
              "também"),
    things=_set(
        "isto isso aquilo este esta estes estas esse essa esses essas aquele aquela seu sua seus "
        "suas dele dela deles delas disso disto ele ela eles elas nele nela"
    ),
    persons=_set(""),
    statements=_set("isso isto"),
    places=_set("lá ali aí"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "primeiro primeira,segundo segunda,terceiro terceira,quarto quarta,quinto quinta,"
        "sexto sexta,sétimo sétima,oitavo oitava,nono nona,décimo décima"
    ),
    last=_set("último última"),
    latter=_set(""),
    former=_set(""),
    corrections=(r"(?:não|desculpe|desculpa)(?=\s*[,;:–—.!]|\s+eu\b)",
                 "(?:eu )?(?:quis|queria|quero) dizer",
                 "(?:eu )?(?:me )?referia(?:-me)? (?:a|ao|à)", "aliás", "ou melhor"),
    negations=("não",),
    articles=_set("o a os as um uma uns umas nosso nossa"),
    prepositions=_groups(
        "em no na nos nas,para,de do da dos das,com,ao à aos às,por pelo pela,sobre,desde,durante,"
        "sem"
    ),
    question_words=_set(
        "que quê qual quais quem quando onde porquê por como quanto quanta quantos quantas"
    ),
    who=_set("quem"),
    auxiliaries=_set(
        "é são era eram está estão há pode podem deve devem tem têm custa custam foi foram eu "
        "você vocês nós me meu minha meus minhas nosso nossa nossos nossas sou somos estou tenho "
        "temos ter posso podemos devo devemos quero queremos"
    ),
    fillers=("est[ea] (?:ano|mês|semana|trimestre)",),
)  # fmt: skip
_DUTCH = FunctionWords(
    openings=("en", "of", "maar", "dus", "en voor", "hoe zit het met", "en hoe zit het met",
              "wat is er met", "ook", "dan"),
    things=_set(
        "het deze die dit dat ervan ervoor ermee eraan erin erover daarvan daarvoor daarmee hun ze "
        "hen"
    ),
    persons=_set("hij hem zijn zij haar"),
    statements=_set("dat dit"),
    places=_set("daar er"),
    noun_substitutes=_set(""),
    ordinals=_groups(
        "eerste,tweede,derde,vierde,vijfde,zesde,zevende,achtste,negende,tiende"
    ),
    last=_set("laatste"),
    latter=_set("laatstgenoemde"),
    former=_set("eerstgenoemde"),
    corrections=(r"(?:nee|sorry)(?=\s*[,;:–—.!]|\s+ik\b|\s+niet\b)", "ik (?:bedoel|bedoelde)",
                 "eigenlijk(?=\\s*,)"),
    negations=("niet",),
    articles=_set("de het een onze ons"),
    prepositions=_groups("in,voor,op,naar,van,met,bij,aan,om,vanaf,tot,tijdens,over,zonder,te"),
    question_words=_set("wat welke welk wie wanneer waar waarom hoe hoeveel waarmee waarheen"),
    who=_set("wie"),
    auxiliaries=_set(
        "is zijn was waren wordt worden werd heeft hebben had kan kunnen mag mogen moet moeten "
        "zal zullen kost kosten lang doet ik jij je u wij we jullie mij ons mijn jouw uw onze ben "
        "bent heb hebt kun kunt wil willen wilt word"
    ),
    fillers=("is het (?:mogelijk|toegestaan|nodig|waar)", "(?:is|zijn|waren) er", "duurt het",
             "dit (?:jaar|kwartaal)", "deze (?:maand|week)"),
    has_compounds=True,
)  # fmt: skip

LANGUAGES = (_ENGLISH, _GERMAN, _FRENCH, _SPANISH, _ITALIAN, _PORTUGUESE, _DUTCH)
"""English, German, French, Spanish, Italian, Portuguese and Dutch."""


VAGUE_VERBS = frozenset(
    "want wants wanted need needs needed get gets got give gives gave take takes took tell know "
    "find look say says said make makes made happen happens happened möchte möchten brauche "
    "brauchen wollen bekomme bekommen veux voulons besoin quiero queremos necesito".split()
)
"""Verbs of a question that a passage with the answer need not have."""


@lru_cache(maxsize=1_024)
def find_function_words(text: str) -> FunctionWords:
    """Return the words of the language of `text`, by its function words; English if in doubt."""
    text_words = [word.lower() for word in _WORD.findall(text)]

    def count_known(language: FunctionWords) -> int:
        return sum(language.list_counts.get(word, 0) for word in text_words)

    return max(LANGUAGES, key=count_known)


_FORMAL_ADDRESS = re.compile(r"^\W*Sie\s[^\W\d_]+(?:en|ern|eln|ind)\b")  # or "they", in German
_EXPLETIVE = re.compile(
    r"^\W*(?:it(?:['’]s|\s(?:is|was|will\sbe|may\sbe))\s(?:not\s)?[\w-]+\s(?:to|that|for|if|when)\b"
    r"|es\s(?:gibt|gilt|ist\s(?:nicht\s)?[\w-]+,?\s(?:zu|dass|wenn))\b"
    r"|il\s(?:y\sa|n['’]y\sa|faut|est\s(?:[\w-]+\s){1,2}(?:de|que))\b)",
    re.IGNORECASE,
)


_TAKES = re.compile(
    r"^it\stakes?\s(?!(?:[\w-]+\s){0,3}(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|long|time)\b)",
    re.IGNORECASE,
)  # a sample, not two days


_CHANGE = re.compile(
    r"^\W*(?:the\s(?:[$€£]?\d[\d.,]*\s?(?:million\s|billion\s|thousand\s|percent\s|%\s|euros?\s)?)?"
    r"(?:increase|decrease|rise|decline|reduction|growth|drop|fall|change|improvement|difference|delay|"
    r"reason|cause)|(?:der|die)\s(?:anstieg|rückgang|unterschied|grund|ursache|erhöhung|senkung|änderung|"
    r"verzögerung))\s(?:is|are|was|were|comes?|came|resulted|reflects?|ist|sind|war|waren|liegt|kommt)\b",
    re.IGNORECASE,
)


def points_back(sentence: str) -> bool:
    """Whether a sentence begins with a pronoun for something that an earlier sentence names.

    So does "The increase was due to ...".
    """
    first_word = _WORD.search(sentence)
    if first_word is None or _EXPLETIVE.match(sentence) or _FORMAL_ADDRESS.match(sentence):
        return False
    language = find_function_words(sentence)
    filler = language.filler_pattern.match(sentence) if language.filler_pattern else None
    if filler and not _TAKES.match(sentence):
        return False
    if _CHANGE.match(sentence):
        return True
    return first_word.group().lower() in language.things | language.persons


def question_stems(question: str) -> list[str]:
    """Return the stems of a question's words, without the function words of its language.

    If nothing else is left, all stems are returned.
    """
    content = content_stems(question)
    language = find_function_words(question)
    if language is _ENGLISH:
        return content
    function_stems = _stem_function_words(language)
    return [stem for stem in content if stem not in function_stems] or content


def find_stop_words(question: str) -> Set[str]:
    """Return the words, in lower case, that say nothing about the topic of a question."""
    language = find_function_words(question)
    return STOP_WORDS if language is _ENGLISH else STOP_WORDS | language.function_words


@lru_cache(maxsize=16)
def _stem_function_words(language: FunctionWords) -> frozenset[str]:
    return frozenset(stems(" ".join(language.function_words))) | language.function_words


def is_part_of_compound(word: str, compound: str) -> bool:
    """Whether one of two words begins or ends with the other: Frist, Kündigungsfrist."""
    shorter, longer = sorted((word, compound), key=len)
    return _MIN_PART_CHARACTERS <= len(shorter) < len(longer) and (
        longer.startswith(shorter) or longer.endswith(shorter)
    )
