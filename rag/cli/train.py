"""``rag train``: parts that are learned from one's own data."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli import terminal
from rag.cli.eval_options import make_progress_printer
from rag.cli.options import require_folder

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def train_group() -> None:
    """Learn parts from your own data."""


@train_group.command(name="verifier")
@click.argument("labelled", type=_FILE)
@click.option(
    "-o",
    "--out",
    type=_FILE,
    default=Path("verifier.json"),
    show_default=True,
    help="File to write the coefficients to.",
)
@click.option(
    "--minilm",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all-MiniLM-L6-v2 in ONNX.  [default: the cache of Chroma]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def train_verifier(labelled: Path, out: Path, minilm: Path | None, seed: int) -> None:
    """Learn the verifier `matching` from human judgements of your own documents.

    A line of LABELLED is {"claim" or "answer", "contexts": [...], "label": 0 or 1}, as for
    `rag eval calibrate`; `rag eval label` collects such lines. At least 20 of each label are
    needed; it is worth it from some hundreds. The file is used as `verifier: matching:FILE`.
    """
    import json

    from evals.calibration import load_labelled
    from rag.embedding import MiniLMEmbedder
    from rag.training import LabelledClaim, train_matching_verifier
    from rag.verification.matching import save_coefficients

    require_folder(out)
    rows = [
        LabelledClaim(row.text, "\n\n".join(row.contexts), row.label)
        for row in load_labelled(labelled)
    ]
    embedder = MiniLMEmbedder(folder=minilm)
    head = train_matching_verifier(
        rows, embedder=embedder, seed=seed, progress=make_progress_printer()
    )
    save_coefficients(head, out, learned_from=f"{len(rows):,} labels ({labelled.name})")
    lexical_weight, match_weight, _ = head.blend_weights
    terminal.echo(
        f"wrote {out} from {len(rows):,} labels; weights: {lexical_weight:.2f} (lexical), "
        f"{match_weight:.2f} (learned)"
    )
    folder = f", embedder: {{type: minilm, folder: {json.dumps(str(minilm))}}}" if minilm else ""
    terminal.echo(f"verifier: {{type: matching, coefficients: {out}{folder}}}")
