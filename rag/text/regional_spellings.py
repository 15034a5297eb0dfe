"""British and American spellings of English words: "tyre" and "tire", "colour" and "color"."""

from __future__ import annotations

_OUR = """arbour ardour armour behaviour candour clamour colour demeanour enamour endeavour favour
favourite favourable flavour fervour harbour honour honourable humour labour misdemeanour neighbour
neighbourhood odour parlour rancour rigour rumour saviour savour splendour succour tumour valour
vapour vigour"""
_RE = """calibre centre centimetre epicentre fibre kilolitre kilometre litre lustre meagre
metre millilitre millimetre nanometre ochre reconnoitre sabre sceptre sepulchre sombre spectre
theatre"""
_ISE = """accessorise agonise apologise authorise capitalise categorise centralise characterise
civilise colonise commercialise computerise criticise crystallise customise decentralise demonise
deputise digitise economise emphasise energise equalise familiarise fertilise finalise formalise
generalise globalise harmonise hospitalise hypothesise idealise immunise individualise
industrialise initialise internationalise itemise jeopardise legalise liberalise localise magnetise
marginalise materialise maximise mechanise memorise minimise mobilise modernise monetise
nationalise naturalise neutralise normalise optimise organise oxidise parameterise pasteurise
penalise personalise polarise popularise prioritise privatise publicise randomise rationalise
realise recognise regularise reorganise revolutionise sanitise scrutinise serialise socialise
specialise stabilise standardise sterilise subsidise summarise symbolise sympathise synchronise
synthesise tokenise unionise unrecognised utilise vandalise vaporise visualise vectorise
organisation authorisation customisation optimisation organiser optimiser organisational"""
_YSE = "analyse catalyse dialyse electrolyse paralyse analyser"
_ENCE = "defence offence licence pretence"
_OGUE = "analogue catalogue dialogue monologue prologue epilogue"
_PAIRS = """\
aeroplane airplane|ageing aging|aluminium aluminum|anaemia anemia|anaesthesia anesthesia|
anaesthetic anesthetic|archaeology archeology|artefact artifact|caesium cesium|chequebook checkbook|
cosy cozy|diarrhoea diarrhea|encyclopaedia encyclopedia|enrol enroll|
enrolment enrollment|foetus fetus|fulfil fulfill|fulfilment fulfillment|grey gray|
gynaecology gynecology|haemoglobin hemoglobin|haemorrhage hemorrhage|instalment installment|
jewellery jewelry|judgement judgment|kerb curb|leukaemia leukemia|manoeuvre maneuver|
mould mold|mouldy moldy|moult molt|moustache mustache|oesophagus esophagus|oestrogen estrogen|
orthopaedic orthopedic|paediatric pediatric|paediatrician pediatrician|plough plow|
practise practice|programme program|programmes programs|pyjamas pajamas|sceptic skeptic|
sceptical skeptical|smoulder smolder|sulphate sulfate|
sulphide sulfide|sulphur sulfur|traveller traveler|tyre tire|
woollen woolen|yoghurt yogurt|modelling modeling|labelling labeling|labelled labeled|
cancelled canceled|cancelling canceling|travelled traveled|travelling traveling|
fuelled fueled|levelled leveled|signalled signaled|counsellor counselor|marvellous marvelous|
channelled channeled|dialled dialed|totalled totaled|unravelled unraveled"""


_METRE = ("metre", "meter")


def _list_pairs() -> list[tuple[str, str]]:
    pairs = [(word, word.replace("our", "or")) for word in _OUR.split()]
    pairs += [(word, f"{word[:-2]}er") for word in _RE.split()]
    pairs += [(word, word.replace("ys", "yz")) for word in _YSE.split()]
    pairs += [(word, f"{word[:-2]}se") for word in _ENCE.split()]
    pairs += [(word, word[:-2]) for word in _OGUE.split()]
    for pair in _PAIRS.split("|"):
        british, american = pair.split()
        pairs.append((british, american))
    return pairs


def _divide_ise(word: str) -> tuple[str, str]:
    head, _, tail = word.rpartition("is")
    return head, tail


REGIONAL_SPELLINGS = tuple(dict.fromkeys(_list_pairs()))
"""Pairs of words in lower case: the British spelling, and the American one."""

ISE_SPELLINGS = tuple((word, "iz".join(_divide_ise(word))) for word in _ISE.split())
"""The same for verbs in -ise and -ize, and what is derived from them."""

SEARCHED_SPELLINGS = tuple(pair for pair in (*REGIONAL_SPELLINGS, *ISE_SPELLINGS) if pair != _METRE)
"""Pairs of which a search for one finds the other. A meter is also an instrument."""

_ISE_HEADS = frozenset(head for head, _ in map(_divide_ise, _ISE.split()))


def spell_ize_as_ise(word: str) -> str:
    """Return "organised" for "organized". The stem of "authorized" would be that of "author"."""
    head, middle, tail = word.rpartition("iz")
    return f"{head}is{tail}" if middle and head in _ISE_HEADS else word
