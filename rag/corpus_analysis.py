"""What is in a pile of documents: topics, a map, what is like what, doubles, what stands apart.

A document's vector is the mean of its chunks' in the index: nothing is embedded anew.
"""

from __future__ import annotations

import hashlib
import html
import json
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.embedding.batched import normalised
from rag.errors import DocumentNotFound, MissingExtra, QueryError
from rag.retrieval.base import to_hits
from rag.text.tokenization import STOP_WORDS, words
from rag.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.filters import Where
    from rag.index import Index

_AT_ONCE = 1_000  # documents compared with all others at a time
_BOILERPLATE = 100  # documents that have a run of words, from which on it is nobody's own
_MOST_DRAWN = 5_000  # documents up to which neighbours are kept together on the map (t-SNE)
_MOST_TEXT = 20_000  # characters of a document that its topic is named by
_TERMS = 8
_MANY, _COMMON = 20, 0.25  # documents from which on, and share of them by which, a word is common


@dataclass(frozen=True, slots=True)
class DocumentVectors:
    """Documents of an index with their vectors: float32 ``[n, dimension]``, L2-normalised."""

    uris: tuple[str, ...]
    titles: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Topic:
    """Documents that belong together, by number in the pile, and the words that tell them."""

    terms: tuple[str, ...]
    documents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents that say the same: what share of the shorter one is in the other (0..1)."""

    one: str
    other: str
    shared: float


def more_like(index: Index, uri: str, *, k: int = 10, where: Where | None = None) -> list[Hit]:
    """Chunks of other documents that are nearest to the document `uri`, best first.

    One chunk, the nearest, for each document. Raises `DocumentNotFound`.
    """

    def search() -> list[Hit]:
        rows = [stretch.row for stretch in index.document_store.outline(uri)]
        if not rows:
            raise DocumentNotFound(f"the index holds no document {uri}")
        _, vectors = index.vectors_of(rows)
        mean = normalised(vectors.mean(axis=0, keepdims=True))[0]
        wanted = k + len(rows)
        while True:
            ranking = index.search_dense(mean, wanted, where)
            hits = to_hits(index, ranking, {"dense": ranking})
            best: dict[str, Hit] = {}
            for hit in hits:
                if hit.chunk.uri != uri:
                    best.setdefault(hit.chunk.uri, hit)
            if len(best) >= k or len(ranking) < wanted:
                return list(best.values())[:k]
            wanted *= 4

    return index.read_consistent(search)


def pile(index: Index) -> DocumentVectors:
    """All documents of `index` that have chunks."""
    import numpy as np

    found = [(info.uri, info.title) for info in index.document_store.documents()]
    uris, titles, means = [], [], []
    for uri, title in sorted(found):
        rows = [stretch.row for stretch in index.document_store.outline(uri)]
        held, vectors = index.vectors_of(rows)
        if held:
            uris.append(uri)
            titles.append(title)
            means.append(vectors.mean(axis=0))
    matrix = np.array(means, dtype=np.float32).reshape(len(means), index.embedder.dimension)
    return DocumentVectors(tuple(uris), tuple(titles), normalised(matrix))


def topics(index: Index, documents: DocumentVectors, *, count: int | None = None) -> list[Topic]:
    """Clusters of the documents (k-means of their vectors), the largest first.

    `count` defaults to the square root of half their number, from 2 to 30. They are named by
    class-based TF-IDF (Grootendorst, 2022): words frequent in a topic and rare in others.
    """
    number = len(documents.uris)
    if not number:
        return []
    count = min(number, count or max(2, min(30, round((number / 2) ** 0.5))))
    labels = _clustered(documents.vectors, count)
    members: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    groups = sorted(members.values(), key=lambda group: (-len(group), group))
    bags = [[_words_of(index, documents.uris[i]) for i in group] for group in groups]
    terms = telling_terms(bags)
    return [Topic(tuple(t), tuple(group)) for t, group in zip(terms, groups, strict=True)]


def _clustered(vectors: NDArray[np.float32], count: int) -> list[int]:
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different documents than clusters
        return [int(i) for i in KMeans(count, n_init=4, random_state=0).fit_predict(vectors)]


def _words_of(index: Index, uri: str) -> Counter[str]:
    try:
        text = index.document_store.text(uri, 0, _MOST_TEXT)
    except DocumentNotFound:
        return Counter()
    return Counter(w for w in words(text) if w not in STOP_WORDS and _names_something(w))


def _names_something(word: str) -> bool:
    return not word[0].isdigit() and (len(word) > 2 or not word.isascii())


def telling_terms(groups: Sequence[Sequence[Counter[str]]], count: int = _TERMS) -> list[list[str]]:
    """The words that tell each group of documents from the others, best first.

    By class-based TF-IDF. Words of more than a quarter of many documents and of most groups tell
    nothing, whatever the language: they come last.
    """
    import math

    spread: Counter[str] = Counter()
    for group in groups:
        for document in group:
            spread.update(document.keys())
    number = sum(map(len, groups))
    bags = [sum(group, Counter()) for group in groups]
    common = {
        word
        for word, count in spread.items()
        if number >= _MANY
        and count > number * _COMMON
        and sum(word in bag for bag in bags) > 2 / 3 * len(bags)
    }
    whole: Counter[str] = sum(bags, Counter())
    mean = sum(whole.values()) / max(1, len(bags))
    found = []
    for bag in bags:
        size = sum(bag.values()) or 1
        weights = {w: n / size * math.log(1 + mean / whole[w]) for w, n in bag.items()}
        found.append(sorted(weights, key=lambda w: (w in common, -weights[w], w))[:count])
    return found


def places(documents: DocumentVectors) -> NDArray[np.float32]:
    """Where each document stands on a map, ``[n, 2]``: neighbours stay neighbours (t-SNE).

    Of more than 5,000 documents the two directions in which they differ most (PCA).
    """
    import numpy as np

    number = len(documents.uris)
    centred = documents.vectors - documents.vectors.mean(axis=0) if number else documents.vectors
    if number < 4 or number > _MOST_DRAWN:
        out = np.zeros((number, 2), dtype=np.float32)
        if number > 1:
            _, _, directions = np.linalg.svd(centred, full_matrices=False)
            drawn = centred @ directions[:2].T
            out[:, : drawn.shape[1]] = drawn
        return out
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map") from None
    perplexity = min(30.0, (number - 1) / 3)
    drawn = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(centred)
    return np.asarray(drawn, dtype=np.float32)


def duplicates(index: Index, *, shared: float = 0.8, run: int = 4) -> list[Pair]:
    """Pairs of documents that say the same, most first.

    The share of runs of `run` words of the shorter one that the other has too is to be `shared`
    or more. Pairs that may be are found by a sample of those runs, told by their hashes (as in
    Broder, 1997); runs that more than 100 documents have are boilerplate and find nothing.
    Copies to the letter are paired with the first of them only.
    """
    from rag.postprocessing.deduplicate import shared_runs

    uris = sorted(info.uri for info in index.document_store.documents())
    first: dict[str, int] = {}
    pairs: list[Pair] = []
    samples: dict[int, frozenset[int]] = {}
    holders: dict[int, list[int]] = {}
    for i, uri in enumerate(uris):
        text = _text_of(index, uri)
        same = first.setdefault(hashlib.sha256(text.encode()).hexdigest(), i)
        if same != i:
            if text.strip():
                pairs.append(Pair(uris[same], uri, 1.0))
            continue
        samples[i] = _sample(_runs_of(text, run))
        for found in samples[i]:
            holders.setdefault(found, []).append(i)
    for i, sample in samples.items():
        meetings = Counter(
            j
            for found in sample
            if len(holders[found]) <= _BOILERPLATE
            for j in holders[found]
            if j < i
        )
        for j, met in sorted(meetings.items()):
            if met < shared / 2 * min(len(sample), len(samples[j])):
                continue
            one, other = (_runs_of(_text_of(index, uris[n]), run) for n in (j, i))
            found_shared = shared_runs(one, other)
            if found_shared >= shared:
                pairs.append(Pair(uris[j], uris[i], found_shared))
    return sorted(pairs, key=lambda pair: (-pair.shared, pair.one, pair.other))


def _text_of(index: Index, uri: str) -> str:
    try:
        return index.document_store.document(uri).text
    except DocumentNotFound:  # deleted meanwhile
        return ""


def _runs_of(text: str, run: int) -> frozenset[tuple[str, ...]]:
    from rag.postprocessing.deduplicate import word_runs

    return word_runs(text, run)


def _sample(runs: frozenset[tuple[str, ...]]) -> frozenset[int]:
    """An eighth of the runs, the same ones wherever they are, and at least the lowest 16."""
    hashes = sorted(zlib.crc32(" ".join(run).encode()) for run in runs)
    return frozenset([*hashes[:16], *(found for found in hashes if found % 8 == 0)])


def outliers(
    documents: DocumentVectors, *, count: int = 10, neighbours: int = 5
) -> list[tuple[str, float]]:
    """Documents that are like no others: uri and mean cosine to the nearest, least first."""
    import numpy as np

    number = len(documents.uris)
    if number < 2:
        return []
    neighbours = min(neighbours, number - 1)
    means = np.zeros(number)
    for start in range(0, number, _AT_ONCE):
        block = documents.vectors[start : start + _AT_ONCE] @ documents.vectors.T
        for i in range(len(block)):
            block[i, start + i] = -1
        nearest = np.partition(block, -neighbours, axis=1)[:, -neighbours:]
        means[start : start + len(block)] = nearest.mean(axis=1)
    order = np.argsort(means, kind="stable")[:count]
    return [(documents.uris[i], float(means[i])) for i in order]


# -- drawing -------------------------------------------------------------------------------

_COLOURS = (
    "#4e79a7 #f28e2b #59a14f #e15759 #b07aa1 #76b7b2 #edc948 #9c755f #ff9da7 #8cd17d #86bcb6 "
    "#d37295 #a0cbe8 #ffbe7d #b6992d #499894 #fabfd2 #d7b5a6 #79706e #d4a6c8"
).split()
_SHAPES = ("circle", "square", "triangle")  # with 20 colours, 60 topics look different


def draw_html(
    path: Path, documents: DocumentVectors, found: Sequence[Topic], spots: NDArray[np.float32]
) -> None:
    """Write the map as one page that needs nothing else: a search box, names at the pointer."""
    topic_of = {i: number for number, topic in enumerate(found) for i in topic.documents}
    scaled = _scaled(spots, 960, 640)
    points = [
        {
            "x": round(float(x), 1),
            "y": round(float(y), 1),
            "t": topic_of.get(i, 0),
            "n": documents.titles[i] or documents.uris[i],
            "u": documents.uris[i],
        }
        for i, (x, y) in enumerate(scaled)
    ]
    legend = "\n".join(
        f'<li data-topic="{number}"><button type="button"><svg width="14" height="14" '
        f'viewBox="-7 -7 14 14" aria-hidden="true">{_mark(number)}</svg> '
        f"<b>{len(topic.documents):,}</b> {html.escape(', '.join(topic.terms))}</button></li>"
        for number, topic in enumerate(found)
    )
    data = json.dumps(points).replace("<", "\\u003c").replace("\u2028", "").replace("\u2029", "")
    page = _PAGE.replace("{{count}}", f"{len(points):,}").replace("{{legend}}", legend)
    page = page.replace("{{colours}}", json.dumps(_COLOURS)).replace("{{points}}", data)
    path.write_text(page, encoding="utf-8")


def _mark(number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    shape = _SHAPES[number // len(_COLOURS) % len(_SHAPES)]
    if shape == "square":
        return f'<rect x="-5" y="-5" width="10" height="10" fill="{colour}"/>'
    if shape == "triangle":
        return f'<path d="M0-6L6 5H-6Z" fill="{colour}"/>'
    return f'<circle r="5" fill="{colour}"/>'


def draw_png(path: Path, documents: DocumentVectors, found: Sequence[Topic], spots: Any) -> None:
    """Write the map as a picture of 2400 by 1600 points."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map as a picture") from None
    figure = Figure(figsize=(12, 8), dpi=200, layout="constrained")
    axes = figure.subplots()
    marks = {"circle": "o", "square": "s", "triangle": "^"}
    size = max(4.0, min(60.0, 12_000 / max(1, len(documents.uris))))
    for number, topic in enumerate(found):
        members = list(topic.documents)
        axes.scatter(
            spots[members, 0],
            -spots[members, 1],
            s=size,
            marker=marks[_SHAPES[number // len(_COLOURS) % len(_SHAPES)]],
            color=_COLOURS[number % len(_COLOURS)],
            label=f"{len(members):,}  {_drawable(', '.join(topic.terms[:4]))}",
            linewidths=0,
        )
    axes.set_axis_off()
    if found:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, markerscale=1
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # signs that the font does not have
        figure.savefig(path)


def _drawable(text: str) -> str:
    """Matplotlib takes text between two dollar signs for a formula."""
    return text.replace("$", r"\$")


def _scaled(spots: NDArray[np.float32], width: float, height: float) -> NDArray[np.float32]:
    import numpy as np

    if not len(spots):
        return spots
    low, high = spots.min(axis=0), spots.max(axis=0)
    span = np.where(high > low, high - low, 1)
    found: NDArray[np.float32] = 20 + (spots - low) / span * (
        np.array([width, height], dtype=np.float32) - 40
    )
    return found


def draw(index: Index, *, to_html: Path, to_png: Path | None, count: int | None = None) -> Drawn:
    """Draw the map of `index`, as a page and a picture; see the functions above.

    Raises `QueryError` where the index is empty.
    """
    documents = pile(index)
    if not documents.uris:
        raise QueryError("the index has no documents to draw")
    found = topics(index, documents, count=count)
    spots = places(documents)
    draw_html(to_html, documents, found, spots)
    if to_png is not None:
        draw_png(to_png, documents, found, spots)
    return Drawn(documents, found, spots)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A map: documents, their topics, and where each stands (``[n, 2]``)."""

    documents: DocumentVectors
    topics: list[Topic]
    spots: NDArray[np.float32]


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Map of {{count}} documents</title>
<style>
  :root { color-scheme: light dark; --dim: #767676; --line: #8884; }
  body { font: 15px/1.4 system-ui, sans-serif; margin: 1.2rem; }
  header { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
  h1 { font-size: 1.2rem; margin: 0; }
  main { display: grid; grid-template-columns: minmax(0, 1fr) 20rem; gap: 1rem; }
  @media (max-width: 50rem) { main { grid-template-columns: 1fr; } }
  svg.map { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 6px; }
  svg.map .off { opacity: .08; }
  svg.map a:focus-visible { outline: 3px solid; }
  ol { list-style: none; margin: 0; padding: 0; max-height: 80vh; overflow: auto; }
  li button { all: unset; cursor: pointer; display: block; padding: .25rem; }
  li button:focus-visible { outline: 2px solid; }
  li button[aria-pressed=true] { background: var(--line); border-radius: 4px; }
  input { font: inherit; padding: .25rem .5rem; }
  #named { color: var(--dim); min-height: 2.8em; overflow-wrap: anywhere; }
</style>
<header>
  <h1>Map of {{count}} documents</h1>
  <label>Find <input type="search" id="find" placeholder="part of a title or address"></label>
</header>
<p id="named" aria-live="polite">Near on the map is alike in meaning. Point at a document for
its name, choose a topic to see it alone.</p>
<main>
  <svg class="map" viewBox="0 0 960 640" role="img" aria-label="Documents by meaning"></svg>
  <ol>{{legend}}</ol>
</main>
<script>
const colours = {{colours}}, points = {{points}};
const svg = document.querySelector("svg.map"), named = document.getElementById("named");
const find = document.getElementById("find");
const make = (name, set) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in set) made.setAttribute(key, set[key]);
  return made;
};
const size = Math.max(2.5, Math.min(6, 400 / Math.sqrt(points.length + 1) / 4));
const drawn = points.map(p => {
  const group = make("g", {transform: `translate(${p.x} ${p.y})`,
                           fill: colours[p.t % colours.length]});
  const shape = Math.floor(p.t / colours.length) % 3;
  group.append(shape === 1 ? make("rect", {x: -size, y: -size, width: 2 * size, height: 2 * size})
    : shape === 2 ? make("path", {d: `M0 ${-size}L${size} ${size}H${-size}Z`})
    : make("circle", {r: size}));
  const title = make("title", {});
  title.textContent = p.n + "\\n" + p.u;
  group.append(title);
  group.addEventListener("pointerenter", () => { named.textContent = p.n + " \\u2014 " + p.u; });
  svg.append(group);
  return group;
});
let topic = null;
const show = () => {
  const wanted = find.value.trim().toLowerCase();
  points.forEach((p, i) => {
    const on = (topic === null || p.t === topic) &&
               (p.n + " " + p.u).toLowerCase().includes(wanted);
    drawn[i].classList.toggle("off", !on);
  });
};
find.addEventListener("input", show);
document.querySelectorAll("li").forEach(item => item.addEventListener("click", () => {
  const number = Number(item.dataset.topic);
  topic = topic === number ? null : number;
  document.querySelectorAll("li").forEach(other =>
    other.firstElementChild.setAttribute(
      "aria-pressed", String(Number(other.dataset.topic) === topic)));
  show();
}));
</script>
</html>
"""
