"""A run as one HTML file: scores with intervals, and every sentence with what it rests on.

The file asks for nothing from anywhere and runs no script; every text in it is escaped. The same
run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from evals.scores import Score, Summary, Unit

if TYPE_CHECKING:
    from evals.questions import Question
    from evals.runs import Item, RunResult
    from evals.samples import Passage, Sample

_LONGEST = 20_000  # characters of a text that are shown
_BINS = 10
_LEDGERS = ("faithfulness", "citation_recall")  # metrics whose units cover the whole answer

_STYLE = """
:root{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d8dee4;--card:#f6f8fa;
--ok:#d7f0dd;--ok-line:#1a7f37;--part:#fdf0c8;--part-line:#9a6700;--no:#fddcd9;--no-line:#b3261e;
--fail:#e4d9f5;--fail-line:#6639ba;--bar:#0969da}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#30363d;
--card:#161b22;--ok:#12361f;--ok-line:#3fb950;--part:#3b2e0a;--part-line:#d29922;--no:#4a1512;
--no-line:#f47067;--fail:#2f2150;--fail-line:#a371f7;--bar:#58a6ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 4rem;background:var(--bg);color:var(--fg);
font:1rem/1.55 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}.soft{color:var(--soft);font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:.32rem .7rem .32rem 0;border-bottom:1px solid var(--line);
vertical-align:middle;white-space:nowrap}td.num{font-variant-numeric:tabular-nums}
details.q{border:1px solid var(--line);border-radius:.5rem;margin:.55rem 0;background:var(--card)}
details.q>summary{cursor:pointer;padding:.55rem .8rem;font-weight:600}
details.q>summary .soft{font-weight:400;margin-left:.4rem}
.in{padding:0 .8rem .8rem}
.answer,.quote,.ctx{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--bg);
border:1px solid var(--line);border-radius:.4rem;padding:.6rem .75rem;margin:.4rem 0}
.s{border-bottom:2px solid;border-radius:2px;padding:0 1px}
.supported{background:var(--ok);border-color:var(--ok-line)}
.partly{background:var(--part);border-color:var(--part-line);border-bottom-style:dashed}
.unsupported{background:var(--no);border-color:var(--no-line);border-bottom-style:double}
.failed{background:var(--fail);border-color:var(--fail-line);border-bottom-style:dotted}
.tag{display:inline-block;font-size:.8rem;border-radius:1rem;padding:0 .5rem;border:1px solid;
margin-right:.3rem}
ol{padding-left:1.6rem;margin:.4rem 0}li{margin:.35rem 0}
mark{background:var(--ok);color:inherit;border-bottom:2px solid var(--ok-line)}
svg{display:block}
"""


def as_html(result: RunResult) -> str:
    """The report of a run."""
    return "".join(_page(result))


def _page(result: RunResult) -> Iterator[str]:
    name = escape(result.name)
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{name}</title><style>{_STYLE}</style></head><body>"
    )
    answered = sum(item.sample is not None for item in result.items.values())
    refused = sum(item.sample is not None and item.sample.refused for item in result.items.values())
    yield f"<h1>{name}</h1>"
    yield (
        f"<p>{len(result.questions):,} questions: {answered - refused:,} answered, "
        f"{refused:,} refused, {len(result.questions) - answered:,} without an answer. "
        f"{_many(result.failures, 'question')} with a failure.</p>"
        f'<p class="soft">Support is judged by: {escape(str(result.settings.get("backend", "")))}. '
        "Intervals are 95%, over questions.</p>"
    )
    if result.stopped:
        yield f'<p><span class="tag failed">stopped</span>{escape(result.stopped)}</p>'
    for gate in result.gates:
        kind = {"passed": "supported", "regressed": "unsupported"}.get(gate["outcome"], "partly")
        yield (
            f'<p><span class="tag {kind}">{escape(gate["outcome"])}</span>gate '
            f"{escape(gate['gate'])}: {escape(gate['why'])}</p>"
        )
    yield from _scores(result)
    yield from _corrected(result)
    pipeline = str(result.settings.get("pipeline", "")).strip()
    if pipeline not in ("", "{}"):
        yield (
            '<h2>Pipeline</h2><p class="soft">What is not as usual.</p>'
            f'<div class="ctx">{escape(pipeline)}</div>'
        )
    yield (
        '<h2>Questions</h2><p><span class="tag supported">supported</span>'
        '<span class="tag partly">partly</span><span class="tag unsupported">unsupported</span>'
        '<span class="tag failed">could not be judged</span></p>'
    )
    for position, question in enumerate(result.questions):
        yield from _question(result, position, question)
    yield "</body></html>\n"


def _scores(result: RunResult) -> Iterator[str]:
    yield (
        '<h2>Scores</h2><div class="wide"><table><thead><tr><th>metric</th><th>mean</th>'
        "<th>interval</th><th>0 to 1</th><th>answers by value</th><th>scored</th>"
        "<th>not applicable</th><th>failed</th></tr></thead><tbody>"
    )
    for metric in result.metrics:
        summary = result.summaries[metric.name]
        lower = ' <span class="soft">(lower is better)</span>' if metric.better == "lower" else ""
        yield (
            f'<tr><td title="{escape(metric.summary)}">{escape(metric.name)}{lower}</td>'
            f"{_numbers(summary)}<td>{_bar(summary)}</td>"
            f"<td>{_histogram(result.scores[metric.name])}</td>"
            f'<td class="num">{summary.scored:,} of {summary.n:,}</td>'
            f'<td class="num">{summary.not_applicable:,}</td>'
            f'<td class="num">{_failed(summary)}</td></tr>'
        )
    yield "</tbody></table></div>"
    spreads = [s for s in result.summaries.values() if s.spread]
    for summary in spreads:
        yield (
            f'<p class="soft">{escape(summary.metric)}: variance {summary.spread:.4f} between a '
            "judge's repeats of the same answer; the interval is that between answers.</p>"
        )


def _numbers(summary: Summary) -> str:
    if summary.estimate is None:
        return '<td class="num">-</td><td></td>'
    found = summary.estimate
    return (
        f'<td class="num"><b>{found.value:.3f}</b></td>'
        f'<td class="num">{found.low:.3f} to {found.high:.3f}</td>'
    )


def _failed(summary: Summary) -> str:
    if not summary.failed:
        return "0"
    if summary.low_bound is None or summary.high_bound is None:
        return f"{summary.failed:,}"
    return f"{summary.failed:,} ({summary.low_bound:.3f} to {summary.high_bound:.3f} with them)"


def _bar(summary: Summary) -> str:
    if summary.estimate is None:
        return ""
    low, at, high = (
        120 * x for x in (summary.estimate.low, summary.estimate.value, summary.estimate.high)
    )
    return (
        '<svg width="124" height="14" role="img" aria-label="interval">'
        '<rect x="2" y="6" width="120" height="2" fill="var(--line)"/>'
        f'<rect x="{2 + low:.1f}" y="4" width="{max(1.0, high - low):.1f}" height="6" '
        'fill="var(--bar)" opacity=".4"/>'
        f'<rect x="{1 + at:.1f}" y="1" width="2.5" height="12" fill="var(--bar)"/></svg>'
    )


def _histogram(scores: Sequence[Score]) -> str:
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return ""
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, max(0, int(value * _BINS)))] += 1
    most = max(counts)
    bars = "".join(
        f'<rect x="{10 * i}" y="{22 - 20 * count / most:.1f}" width="9" '
        f'height="{20 * count / most:.1f}" fill="var(--bar)" opacity=".7"/>'
        for i, count in enumerate(counts)
        if count
    )
    return (
        '<svg width="100" height="23" role="img" aria-label="answers by value">'
        f'<rect x="0" y="22" width="100" height="1" fill="var(--line)"/>{bars}</svg>'
    )


def _corrected(result: RunResult) -> Iterator[str]:
    if not result.corrected:
        return
    yield (
        "<h2>Corrected by judgements of people</h2>"
        '<p class="soft">Rates as people would have judged, with prediction-powered intervals.</p>'
        '<div class="wide"><table><thead><tr><th>metric</th><th>as judged</th><th>corrected</th>'
        "<th>interval</th><th>labels</th></tr></thead><tbody>"
    )
    for name, found in sorted(result.corrected.items()):
        yield (
            f'<tr><td>{escape(name)}</td><td class="num">{found["uncorrected"]:.3f}</td>'
            f'<td class="num"><b>{found["value"]:.3f}</b></td>'
            f'<td class="num">{found["low"]:.3f} to {found["high"]:.3f}</td>'
            f'<td class="num">{found["labels"]:,}</td></tr>'
        )
    yield "</tbody></table></div>"


# -- a question ----------------------------------------------------------------------------


def _question(result: RunResult, position: int, question: Question) -> Iterator[str]:
    item = result.items.get(question.id)
    scores = {metric.name: result.scores[metric.name][position] for metric in result.metrics}
    shown = [
        f"{name} {score.value:.2f}"
        for name, score in scores.items()
        if score.value is not None and name in ("faithfulness", "citation_f1", "token_f1")
    ]
    state = _state(item, question)
    yield (
        f'<details class="q" id="q{position + 1}"><summary>{escape(_cut(question.question, 300))}'
        f'<span class="soft">{escape(" · ".join([state, *shown]))}</span></summary>'
        '<div class="in">'
    )
    if item is None or item.sample is None:
        why = item.error if item else "it was not asked"
        yield f'<p><span class="tag failed">failed</span>{escape(why)}</p></div></details>'
        return
    sample = item.sample
    ledger = next((name for name in _LEDGERS if name in scores and scores[name].units), "")
    units = scores[ledger].units if ledger else ()
    sources = sample.contexts if ledger == "faithfulness" else sample.citable
    yield f'<div class="answer">{_coloured(sample, units)}</div>'
    yield from _citations(sample)
    yield from _claims(sources, units)
    if question.answers:
        yield "<p><b>Reference</b>: " + escape(_cut(" | ".join(question.answers), 2_000)) + "</p>"
    if question.gold:
        yield f'<p class="soft">Gold: {escape(_cut(", ".join(question.gold), 1_000))}</p>'
    yield from _values(scores)
    if sample.contexts:
        yield f"<details><summary>{_many(len(sample.contexts), 'passage')} shown</summary><ol>"
        for passage in sample.contexts:
            yield (
                f'<li><span class="soft">{escape(_source(passage))}</span>'
                f'<div class="ctx">{escape(_cut(passage.text))}</div></li>'
            )
        yield "</ol></details>"
    yield "</div></details>"


def _state(item: Item | None, question: Question) -> str:
    if item is None or item.sample is None:
        return "failed"
    able = item.sample.answerable
    if item.sample.refused:
        return "refused, though it can be answered" if able else "refused"
    return "answered, though it cannot be" if able is False else "answered"


def _coloured(sample: Sample, units: Iterable[Unit]) -> str:
    text = sample.answer
    parts: list[str] = []
    at = 0
    for unit in sorted((u for u in units if 0 <= u.start < u.end), key=lambda u: u.start):
        if unit.start < at or unit.end > len(text):
            continue
        support = "not judged" if unit.support is None else f"support {unit.support:.2f}"
        parts.append(escape(text[at : unit.start]))
        parts.append(
            f'<span class="s {unit.verdict}" title="{unit.verdict}, {support}">'
            f"{escape(text[unit.start : unit.end])}</span>"
        )
        at = unit.end
    return "".join([*parts, escape(text[at:])])


def _citations(sample: Sample) -> Iterator[str]:
    cited = [i for statement in sample.statements for i in statement.cited]
    if not cited:
        return
    yield "<p><b>Citations</b></p><ol>"
    for i in sorted(set(cited)):
        passage = sample.citable[i]
        verified = {True: " · verbatim in its source", False: " · NOT in its source there"}
        said = verified.get(passage.verified, "") if passage.verified is not None else ""
        yield (
            f'<li value="{i + 1}"><span class="soft">{escape(_source(passage) + said)}</span>'
            f'<div class="quote">{escape(_cut(passage.text, 4_000))}</div></li>'
        )
    yield "</ol>"


def _claims(sources: Sequence[Passage], units: Sequence[Unit]) -> Iterator[str]:
    if not units:
        return
    yield f"<details><summary>{_many(len(units), 'claim')}, and what supports them</summary><ol>"
    for unit in units:
        support = "" if unit.support is None else f" {unit.support:.2f}"
        yield (
            f'<li><span class="tag {unit.verdict}">{unit.verdict}{support}</span>'
            f"{escape(_cut(unit.claim, 2_000))}"
        )
        if unit.note:
            yield f' <span class="soft">{escape(unit.note)}</span>'
        if unit.passage is not None and unit.evidence and unit.passage < len(sources):
            passage = sources[unit.passage]
            start, end = unit.evidence
            if 0 <= start < end <= len(passage.text):
                place = f"{passage.uri} {passage.start + start}-{passage.start + end}"
                place = place if passage.uri else passage.title
                yield (
                    f'<div class="quote"><span class="soft">{escape(place)}</span>\n'
                    f"<mark>{escape(_cut(passage.text[start:end], 4_000))}</mark></div>"
                )
        yield "</li>"
    yield "</ol></details>"


def _values(scores: dict[str, Score]) -> Iterator[str]:
    said = []
    for name, score in scores.items():
        if score.value is not None:
            of = f" ({score.numerator:g} of {score.denominator:g})" if score.denominator else ""
            said.append(f"{name} {score.value:.3f}{of}")
        elif score.status == "failed":
            said.append(f"{name} failed: {score.reason}")
    yield f'<p class="soft">{escape(" · ".join(said))}</p>'


def _source(passage: Passage) -> str:
    if not passage.uri:
        return passage.title
    end = passage.start + len(passage.text)
    return f"{passage.uri} {passage.start}-{end}"


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]} ... ({len(text):,} characters)"


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
