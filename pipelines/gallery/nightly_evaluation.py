"""A nightly evaluation: ingest, ask the question set, compare with the night before.

    python -m pipelines.gallery.nightly_evaluation FOLDER QUESTIONS.jsonl RUNS

Exits with 1 if a metric is worse than in the last run, beyond what chance explains.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import evals
from rag import Pipeline


def main(folder: Path, questions: Path, runs: Path) -> int:
    """Return how many metrics became worse."""
    runs.mkdir(parents=True, exist_ok=True)
    earlier_runs = sorted(runs.iterdir())
    night = f"{datetime.datetime.now():%Y-%m-%dT%H%M%S.%f}"
    with Pipeline(index=runs.parent / "index") as pipeline:
        pipeline.ingest(folder)
        result = evals.run(pipeline, evals.load_questions(questions), runs / night)
    for name, summary in result.summaries.items():
        print(f"{name:24} {summary}")
    if not earlier_runs:
        return 0
    comparisons = evals.compare_runs(evals.read_run(earlier_runs[-1]), result)
    worse = [comparison for comparison in comparisons if comparison.is_regression]
    for comparison in worse:
        message = f"{comparison.metric}: {comparison.a:.3f} before, now {comparison.b:.3f}"
        print(f"worse than in {earlier_runs[-1].name}: {message}", file=sys.stderr)
    return len(worse)


if __name__ == "__main__":
    sys.exit(bool(main(*map(Path, sys.argv[1:4]))))
