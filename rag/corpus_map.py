"""A map of the documents of an index, as an HTML page and as a PNG image.

Nearby documents have similar meaning, and a document's colour and shape show its topic.
"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.corpus_analysis import DocumentVectors, Topic, find_topics, load_document_vectors
from rag.errors import MissingExtra, QueryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index

_MAX_TSNE_DOCUMENTS = 5_000  # a larger collection is projected with PCA: t-SNE would be too slow
_MAX_PERPLEXITY = 30.0  # default of scikit-learn's t-SNE
_WIDTH, _HEIGHT, _MARGIN = 960, 640, 20  # of the page's map, in SVG units
_COLORS = (
    "#4e79a7 #f28e2b #59a14f #e15759 #b07aa1 #76b7b2 #edc948 #9c755f #ff9da7 #8cd17d #86bcb6 "
    "#d37295 #a0cbe8 #ffbe7d #b6992d #499894 #fabfd2 #d7b5a6 #79706e #d4a6c8"
).split()
_SHAPES = ("circle", "square", "triangle")  # with 20 colours, they distinguish 60 topics


@dataclass(frozen=True, slots=True)
class CorpusMap:
    """Documents, their topics, and the position of each document: float32 ``[n, 2]``."""

    documents: DocumentVectors
    topics: list[Topic]
    positions: NDArray[np.float32]


def draw_map(
    index: Index, *, to_html: Path, to_png: Path | None, count: int | None = None
) -> CorpusMap:
    """Write the map of `index` as an HTML page and, with `to_png`, as an image.

    `count` is the number of topics, as in `find_topics`. Raises `QueryError` for an empty index.
    """
    documents = load_document_vectors(index)
    if not documents.uris:
        raise QueryError("the index has no documents to draw")
    topics = find_topics(index, documents, count=count)
    positions = project_to_plane(documents)
    draw_html(to_html, documents, topics, positions)
    if to_png is not None:
        draw_png(to_png, documents, topics, positions)
    return CorpusMap(documents, topics, positions)


def project_to_plane(documents: DocumentVectors) -> NDArray[np.float32]:
    """Return the position of each document on the map: float32 ``[n, 2]``.

    t-SNE (van der Maaten and Hinton, 2008) keeps neighbours together. For more than 5,000
    documents, and for fewer than 4, the two main directions of variance (PCA) are used.
    """
    import numpy as np

    count = len(documents.uris)
    centred = documents.vectors - documents.vectors.mean(axis=0) if count else documents.vectors
    if count < 4 or count > _MAX_TSNE_DOCUMENTS:
        positions = np.zeros((count, 2), dtype=np.float32)
        if count > 1:
            _, _, directions = np.linalg.svd(centred, full_matrices=False)
            projected = centred @ directions[:2].T
            positions[:, : projected.shape[1]] = projected
        return positions
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map") from None
    perplexity = min(_MAX_PERPLEXITY, (count - 1) / 3)
    projected = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(centred)
    return np.asarray(projected, dtype=np.float32)


def draw_html(
    path: Path,
    documents: DocumentVectors,
    topics: Sequence[Topic],
    positions: NDArray[np.float32],
) -> None:
    """Write the map as one self-contained page with a search box and a legend."""
    topic_of = {i: number for number, topic in enumerate(topics) for i in topic.documents}
    points = [
        {
            "x": round(float(x), 1),
            "y": round(float(y), 1),
            "t": topic_of.get(i, 0),
            "n": documents.titles[i] or documents.uris[i],
            "u": documents.uris[i],
        }
        for i, (x, y) in enumerate(_scale_to_page(positions))
    ]
    legend = "\n".join(
        f'<li data-topic="{number}"><button type="button"><svg width="14" height="14" '
        f'viewBox="-7 -7 14 14" aria-hidden="true">{_render_marker(number)}</svg> '
        f"<b>{len(topic.documents):,}</b> {html.escape(', '.join(topic.terms))}</button></li>"
        for number, topic in enumerate(topics)
    )
    # "<" is escaped so that no title can close the script element.
    data = json.dumps(points).replace("<", "\\u003c").replace("\u2028", "").replace("\u2029", "")
    page = _PAGE.replace("{{count}}", f"{len(points):,}").replace("{{legend}}", legend)
    page = page.replace("{{colours}}", json.dumps(_COLORS)).replace("{{points}}", data)
    path.write_text(page, encoding="utf-8")


def _scale_to_page(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale positions to the map of the page, inside its margin."""
    import numpy as np

    if not len(positions):
        return positions
    low, high = positions.min(axis=0), positions.max(axis=0)
    extent = np.where(high > low, high - low, 1)
    inner_size = np.array([_WIDTH, _HEIGHT], dtype=np.float32) - 2 * _MARGIN
    scaled: NDArray[np.float32] = _MARGIN + (positions - low) / extent * inner_size
    return scaled


def _render_marker(number: int) -> str:
    """Return the SVG of a topic's marker in the legend."""
    color = _COLORS[number % len(_COLORS)]
    shape = _SHAPES[number // len(_COLORS) % len(_SHAPES)]
    if shape == "square":
        return f'<rect x="-5" y="-5" width="10" height="10" fill="{color}"/>'
    if shape == "triangle":
        return f'<path d="M0-6L6 5H-6Z" fill="{color}"/>'
    return f'<circle r="5" fill="{color}"/>'


def draw_png(
    path: Path,
    documents: DocumentVectors,
    topics: Sequence[Topic],
    positions: NDArray[np.float32],
) -> None:
    """Write the map as an image of 2400 by 1600 pixels."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map as a picture") from None
    figure = Figure(figsize=(12, 8), dpi=200, layout="constrained")
    axes = figure.subplots()
    markers = {"circle": "o", "square": "s", "triangle": "^"}
    size = max(4.0, min(60.0, 12_000 / max(1, len(documents.uris))))
    for number, topic in enumerate(topics):
        members = list(topic.documents)
        axes.scatter(
            positions[members, 0],
            -positions[members, 1],
            s=size,
            marker=markers[_SHAPES[number // len(_COLORS) % len(_SHAPES)]],
            color=_COLORS[number % len(_COLORS)],
            label=f"{len(members):,}  {_escape_dollars(', '.join(topic.terms[:4]))}",
            linewidths=0,
        )
    axes.set_axis_off()
    if topics:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, markerscale=1
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font does not have
        figure.savefig(path)


def _escape_dollars(text: str) -> str:
    """Escape dollar signs: matplotlib reads text between two of them as a formula."""
    return text.replace("$", r"\$")


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
  #caption { color: var(--dim); min-height: 2.8em; overflow-wrap: anywhere; }
</style>
<header>
  <h1>Map of {{count}} documents</h1>
  <label>Find <input type="search" id="find" placeholder="part of a title or address"></label>
</header>
<p id="caption" aria-live="polite">Nearby documents have similar meaning. Point at a document
to see its name, or select a topic to highlight it.</p>
<main>
  <svg class="map" viewBox="0 0 960 640" role="img" aria-label="Documents by meaning"></svg>
  <ol>{{legend}}</ol>
</main>
<script>
const colours = {{colours}}, points = {{points}};
const svg = document.querySelector("svg.map"), caption = document.getElementById("caption");
const find = document.getElementById("find");
const createSvg = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  return element;
};
const size = Math.max(2.5, Math.min(6, 400 / Math.sqrt(points.length + 1) / 4));
const markers = points.map(p => {
  const group = createSvg("g", {transform: `translate(${p.x} ${p.y})`,
                           fill: colours[p.t % colours.length]});
  const shape = Math.floor(p.t / colours.length) % 3;
  const square = {x: -size, y: -size, width: 2 * size, height: 2 * size};
  group.append(shape === 1 ? createSvg("rect", square)
    : shape === 2 ? createSvg("path", {d: `M0 ${-size}L${size} ${size}H${-size}Z`})
    : createSvg("circle", {r: size}));
  const title = createSvg("title", {});
  title.textContent = p.n + "\\n" + p.u;
  group.append(title);
  group.addEventListener("pointerenter", () => { caption.textContent = p.n + " \\u2014 " + p.u; });
  svg.append(group);
  return group;
});
let topic = null;
const show = () => {
  const query = find.value.trim().toLowerCase();
  points.forEach((p, i) => {
    const isMatch = (topic === null || p.t === topic) &&
               (p.n + " " + p.u).toLowerCase().includes(query);
    markers[i].classList.toggle("off", !isMatch);
  });
};
find.addEventListener("input", show);
document.querySelectorAll("li").forEach(item => item.addEventListener("click", () => {
  const number = Number(item.dataset.topic);
  topic = topic === number ? null : number;
  document.querySelectorAll("li").forEach(entry =>
    entry.firstElementChild.setAttribute(
      "aria-pressed", String(Number(entry.dataset.topic) === topic)));
  show();
}));
</script>
</html>
"""
