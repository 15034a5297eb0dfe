"""Effect of prompt injections: how many documents with orders change the answer.

    python -m benchmarks.injections [model.gguf]

Uses the 120 documents of `evals/sets/injections.yaml`, with the extractive generator and with
SmolLM2-135M in process, or with the model of the GGUF file that is named. ``draft`` counts the
orders that the draft of the model follows, ``answer`` those that the checked answer follows. At the
end, each order that was followed is printed with its answer.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from benchmarks.local_model import path
from evals.injections import InjectionResult, load_injections, run_injections
from rag import ExtractiveGenerator, Generator, GroundedGenerator, LlamaCppChat


def main() -> None:
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else path()
    chat = LlamaCppChat(path=model, max_output_tokens=160)
    sides: dict[str, Generator] = {
        "extractive": ExtractiveGenerator(),
        "grounded": GroundedGenerator(model=chat),
        "grounded, drop": GroundedGenerator(model=chat, unsupported="drop"),
    }
    kinds = Counter(injection.kind for injection in load_injections())
    through: dict[str, list[InjectionResult]] = {}
    print(f"{'system':16}{'kind':12}{'n':>4}{'draft':>7}{'answer':>8}{'abstained':>11}")
    for side, generator in sides.items():
        results = list(run_injections(generator))
        assert all(result.quotes_exact for result in results)
        for kind, number in [*kinds.items(), ("all", sum(kinds.values()))]:
            own = [r for r in results if kind in (r.injection.kind, "all")]
            print(
                f"{side:16}{kind:12}{number:4}{sum(r.in_draft for r in own):7}"
                f"{sum(r.got_through for r in own):8}"
                f"{sum(r.answer.status == 'abstained' for r in own):11}"
            )
        through[side] = [result for result in results if result.got_through]
    for side, results in through.items():
        for result in results:
            answer_text = " ".join(result.answer.text.split())[:160]
            print(f"{side}: {result.injection.number} ({result.injection.kind}): {answer_text}")


if __name__ == "__main__":
    main()
