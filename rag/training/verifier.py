"""Learns the coefficients of `rag.verification.MatchingVerifier` from labelled claims."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rag.embedding import MiniLMEmbedder
from rag.errors import ConfigError, MissingExtra
from rag.verification.lexical import LexicalVerifier
from rag.verification.matching import (
    MAX_CLAIM_TOKENS,
    MatchingHead,
    flag_equal_tokens,
    select_tokens,
    to_log_odds,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_LABELS_PER_KIND = 20
"""The fewest labels of each kind, supported and not, to learn from."""

_DIMENSION = 384
_WIDTH = 48  # of the vectors that are compared
_HIDDEN = 48
_BATCH = 32
_SORTED_BATCHES = 64  # batches of texts of similar length are made of so many at a time
_DROPOUT = 0.3
_WEIGHT_DECAY = 0.05
_LEARNING_RATE = 2e-3
_EPOCHS = 4
_MIN_STEPS = 300  # a small set is read more often
_BLEND_PENALTY = 1.0


class LabelledClaim(NamedTuple):
    """A claim, a passage, and whether a person judged that the passage supports the claim.

    ``group`` names the set that it is from: each set counts by the square root of its size.
    """

    claim: str
    passage: str
    is_supported: bool
    group: str = ""


class Example(NamedTuple):
    """A labelled claim as the network reads it."""

    claim: NDArray[np.float16]
    passage: NDArray[np.float16]
    flags: NDArray[np.float32]
    is_supported: bool
    log_odds: float  # of the lexical support
    weight: float


def train_matching_verifier(
    rows: Sequence[LabelledClaim],
    *,
    embedder: MiniLMEmbedder | None = None,
    lexical: LexicalVerifier | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> MatchingHead:
    """Learn the network, and how it is blended with the lexical verifier.

    The blend is fitted on what networks say about claims and passages that they have not seen (in
    `folds`), by logistic regression: a network that adds nothing gets a small weight. `progress` is
    called with (steps done, steps). The result is the same for the same rows, seed and machine.
    Raises `ConfigError` for fewer than 20 rows of a kind, `MissingExtra` without torch, and
    `EmbeddingError` if the model of the embedder is not at hand.
    """
    import numpy as np

    labels = np.array([row.is_supported for row in rows], dtype=bool)
    if min(labels.sum(), (~labels).sum()) < MIN_LABELS_PER_KIND:
        raise ConfigError(
            f"{labels.sum():,} supported claims and {(~labels).sum():,} others: at least "
            f"{MIN_LABELS_PER_KIND} of each are needed"
        )
    report = progress or (lambda done, total: None)
    steps = folds + 2
    report(0, steps)
    _import_torch()
    examples = make_examples(rows, embedder or MiniLMEmbedder(), lexical or LexicalVerifier())
    report(1, steps)
    divisions = divide_rows(rows, folds, seed)
    matches = predict_unseen(
        examples, divisions, seed=seed, progress=lambda done: report(done + 1, steps)
    )
    head = to_head(train_network(examples, seed), fit_blend(examples, matches))
    report(steps, steps)
    return head


def predict_unseen(
    examples: Sequence[Example],
    divisions: NDArray[np.int64],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Return what networks say about examples that they were not trained on: float64 ``[n]``.

    `divisions` numbers the division of each example; a network is trained without each of them.
    """
    import numpy as np

    matches = np.zeros(len(examples))
    for done, division in enumerate(np.unique(divisions), start=1):
        is_tested = divisions == division
        tested = [e for e, is_one in zip(examples, is_tested, strict=True) if is_one]
        others = [e for e, is_one in zip(examples, is_tested, strict=True) if not is_one]
        matches[is_tested] = predict(train_network(others, seed), tested)
        if progress:
            progress(done)
    return matches


def divide_rows(rows: Sequence[LabelledClaim], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the number of the division of each row: int64 ``[n]``, from 0 to `count` - 1.

    Rows with the same claim or the same passage are in one division: of two versions of a claim
    about one passage, one would give the answer to the other away. Only if more than half of the
    rows belong together are they divided one by one.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    claims = np.unique([row.claim for row in rows], return_inverse=True)[1]
    passages = np.unique([row.passage for row in rows], return_inverse=True)[1] + claims.max() + 1
    size = int(passages.max()) + 1
    graph = coo_array((np.ones(len(rows)), (claims, passages)), shape=(size, size))
    _, components = connected_components(graph, directed=False)
    groups = np.unique(components[claims], return_inverse=True)[1]
    if np.bincount(groups).max() > len(rows) / 2:
        groups = np.arange(len(rows))
    group_divisions = np.random.default_rng(seed).permutation(np.arange(groups.max() + 1) % count)
    divisions: NDArray[np.int64] = group_divisions[groups].astype(np.int64)
    return divisions


def make_examples(
    rows: Sequence[LabelledClaim], embedder: MiniLMEmbedder, lexical: LexicalVerifier
) -> list[Example]:
    """Return the vectors, the flags and the lexical support of each row."""
    import numpy as np

    supports = lexical.scores([(row.claim, row.passage) for row in rows])
    texts = list(dict.fromkeys(text for row in rows for text in (row.claim, row.passage)))
    ids = dict(zip(texts, embedder.list_token_ids(texts), strict=True))
    vectors = {text: embedder.embed_tokens([text], "document")[0] for text in texts}
    weights = _weigh(rows)
    examples = []
    for row, support, weight in zip(rows, supports, weights, strict=True):
        claim, passage = vectors[row.claim][:MAX_CLAIM_TOKENS], vectors[row.passage]
        token_rows = select_tokens(claim, passage) if len(claim) else np.arange(0)
        examples.append(
            Example(
                claim.astype(np.float16),
                passage[token_rows].astype(np.float16),
                flag_equal_tokens(ids[row.claim][:MAX_CLAIM_TOKENS], ids[row.passage][token_rows]),
                row.is_supported,
                to_log_odds(float(support)),
                weight,
            )
        )
    return examples


def _weigh(rows: Sequence[LabelledClaim]) -> NDArray[np.float64]:
    """Return the weight of each row: a set counts by the root of its size, its kinds equally."""
    import numpy as np

    counts: dict[tuple[str, bool], int] = {}
    for row in rows:
        key = row.group, row.is_supported
        counts[key] = counts.get(key, 0) + 1
    sizes: dict[str, int] = {}
    for (group, _), count in counts.items():
        sizes[group] = sizes.get(group, 0) + count
    weights = np.array(
        [math.sqrt(sizes[row.group]) / counts[row.group, row.is_supported] for row in rows]
    )
    scaled: NDArray[np.float64] = weights / weights.mean()
    return scaled


# -- the network -----------------------------------------------------------------------------


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra.of("local", "training") from None
    return torch


def _make_network() -> Any:
    """Return the network of `MatchingHead` as a torch module."""
    torch = _import_torch()
    from torch.nn import functional

    class Network(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.projection = torch.nn.Linear(_DIMENSION, _WIDTH, bias=False)
            self.temperature = torch.nn.Parameter(torch.tensor(10.0))
            self.convolution = torch.nn.Conv1d(4 * _WIDTH + 3, _HIDDEN, 3, padding=1)
            self.output = torch.nn.Linear(2 * _HIDDEN, 1)
            self.dropout = torch.nn.Dropout(_DROPOUT)

        def forward(self, *batch: Any) -> Any:
            claim, claim_mask, passage, passage_mask, flags = batch
            claim = functional.normalize(self.projection(claim), dim=-1)
            passage = functional.normalize(self.projection(passage), dim=-1)
            similarities = claim @ passage.transpose(1, 2)
            is_padding = ~passage_mask[:, None, :]
            weights = (similarities * self.temperature).masked_fill(is_padding, -1e4).softmax(-1)
            aligned = weights @ passage
            best = similarities.masked_fill(is_padding, -1).amax(-1, keepdim=True)
            parts = [claim, aligned, claim * aligned, claim - aligned, flags, best]
            features = torch.cat(parts, -1) * claim_mask[..., None]
            hidden = torch.relu(self.convolution(self.dropout(features).transpose(1, 2)))
            hidden = hidden * claim_mask[:, None, :]
            mean = hidden.sum(-1) / claim_mask.sum(-1, keepdim=True)
            pooled = torch.cat([mean, hidden.amax(-1)], -1)
            return self.output(self.dropout(pooled))[:, 0]

    return Network()


def _make_batch(examples: Sequence[Example]) -> tuple[Any, ...]:
    torch = _import_torch()
    claim_length = max(1, *(len(example.claim) for example in examples))
    passage_length = max(1, *(len(example.passage) for example in examples))
    n = len(examples)
    claim = torch.zeros(n, claim_length, _DIMENSION)
    passage = torch.zeros(n, passage_length, _DIMENSION)
    claim_mask = torch.zeros(n, claim_length)
    passage_mask = torch.zeros(n, passage_length, dtype=torch.bool)
    flags = torch.zeros(n, claim_length, 2)
    for i, example in enumerate(examples):
        claim[i, : len(example.claim)] = torch.from_numpy(example.claim)
        passage[i, : len(example.passage)] = torch.from_numpy(example.passage)
        claim_mask[i, : max(1, len(example.claim))] = 1
        passage_mask[i, : len(example.passage)] = True
        flags[i, : len(example.flags)] = torch.from_numpy(example.flags)
    return claim, claim_mask, passage, passage_mask, flags


def train_network(examples: Sequence[Example], seed: int) -> Any:
    """Return a torch module that is trained on examples."""
    import numpy as np

    torch = _import_torch()
    from torch.nn import functional

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = _make_network()
    lengths = np.array([len(example.passage) for example in examples])
    steps_per_epoch = math.ceil(len(examples) / _BATCH)
    epochs = max(_EPOCHS, math.ceil(_MIN_STEPS / steps_per_epoch))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=epochs * (steps_per_epoch + 1) + 1
    )
    network.train()
    for _ in range(epochs):
        order = random.permutation(len(examples))
        batches = []
        for i in range(0, len(order), _BATCH * _SORTED_BATCHES):
            part = order[i : i + _BATCH * _SORTED_BATCHES]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[j : j + _BATCH] for j in range(0, len(part), _BATCH)]
        for number in random.permutation(len(batches)):
            batch = [examples[i] for i in batches[number]]
            labels = torch.tensor([float(example.is_supported) for example in batch])
            weights = torch.tensor([example.weight for example in batch], dtype=torch.float32)
            losses = functional.binary_cross_entropy_with_logits(
                network(*_make_batch(batch)), labels, reduction="none"
            )
            optimizer.zero_grad()
            (losses * weights).mean().backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def predict(network: Any, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Return the output of a network for each example: float64 ``[n]``."""
    import numpy as np

    torch = _import_torch()
    matches = np.zeros(len(examples))
    order = np.argsort([len(example.passage) for example in examples], kind="stable")
    with torch.no_grad():
        for i in range(0, len(order), 2 * _BATCH):
            part = order[i : i + 2 * _BATCH]
            matches[part] = network(*_make_batch([examples[j] for j in part])).numpy()
    return matches


def fit_blend(
    examples: Sequence[Example], matches: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the weights of a logistic regression, none of them negative, and its intercept."""
    import numpy as np
    from scipy.optimize import minimize

    columns = np.column_stack([[example.log_odds for example in examples], matches])
    labels = np.array([example.is_supported for example in examples], dtype=float)
    weights = np.array([example.weight for example in examples])

    def loss(parameters: NDArray[np.float64]) -> float:
        total = columns @ parameters[:2] + parameters[2]
        losses = np.logaddexp(0, total) - labels * total
        return float(weights @ losses + _BLEND_PENALTY * (parameters[:2] ** 2).sum())

    bounds = [(0, None), (0, None), (None, None)]
    minimum = minimize(loss, np.array([1.0, 0.5, 0.0]), method="L-BFGS-B", bounds=bounds)
    lexical_weight, match_weight, intercept = map(float, minimum.x)
    return lexical_weight, match_weight, intercept


def to_head(network: Any, blend: tuple[float, float, float]) -> MatchingHead:
    """Return the parameters of a network, with how it is blended."""
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return MatchingHead(
        projection=state["projection.weight"].T.copy(),
        temperature=float(state["temperature"]),
        convolution=state["convolution.weight"].transpose(2, 1, 0).copy(),
        convolution_bias=state["convolution.bias"],
        output=state["output.weight"][0],
        output_bias=float(state["output.bias"][0]),
        blend_weights=blend,
    )
