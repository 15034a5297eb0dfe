"""Time that a framework adds to a question, without the time of the model.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.overhead ../shared/data .venv-peers/bin/python

Every side gets the same eight passages of SQuAD 2 and a model that returns its four sentences with
markers at once. Each question has other passages and another reply, so nothing is cached. The time
includes the prompt, the parsing of markers and, for citewell, the verification of every sentence.
The sentences are copies from the passages; for "reworded" each lacks one word in its middle.
The result is the median of 200 questions. Each side runs in a process of its own, the sides take
turns, and the best of three runs counts.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from rag import Chunk, GroundedGenerator, Hit
from rag.llm import ChatModel, Completion
from rag.text.sentences import sentences

QUESTIONS, PASSAGES, ROUNDS = 200, 8, 3


class Instant(ChatModel):
    """A chat model that replies at once."""

    name: ClassVar[str] = "instant"

    def _complete(self, messages: Any, **_: Any) -> Completion:
        return Completion(SAID["reply"])

    def count_tokens(self, text: str) -> int:
        return super().count_tokens(text)


SAID = {"reply": ""}


def main(data: Path, peers: str | None) -> None:
    lines = "\n".join(json.dumps(question) for question in load_questions(data)) + "\n"
    own_command = [sys.executable, "-m", "benchmarks.overhead", "--own"]
    commands = {"citewell": own_command, "reworded": [*own_command, "--reworded"]}
    for name in ("haystack", "langchain", "llama-index") if peers else ():
        script = str(Path(__file__).with_name("answers_peers.py"))
        commands[name] = [str(peers), script, name, "instant", "", "0"]
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            done = subprocess.run(command, input=lines, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            p50 = json.loads(done.stdout.splitlines()[-1])["p50"]
            best[name] = min(best.get(name, p50), p50)
    for name, p50 in best.items():
        print(f"{name:14}{p50 * 1000:7.2f} ms  {p50 / best['citewell']:5.2f} of citewell's")


def load_questions(data: Path) -> list[dict[str, Any]]:
    generator = random.Random(0)
    corpus = data / "retrieval" / "squad2" / "corpus.jsonl"
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    out = []
    for _ in range(QUESTIONS):
        passages = generator.sample(rows, PASSAGES)
        copied, reworded = [], []
        for i in (0, 2, 5, 0):
            text = passages[i]["text"]
            a, b = generator.choice(sentences(text))
            said = text[a:b].rstrip(". ").split(" ")
            copied.append(f"{' '.join(said)} [{i + 1}].")
            middle = len(said) // 2
            reworded.append(f"{' '.join(said[:middle] + said[middle + 1 :])} [{i + 1}].")
        out.append(
            {
                "question": "What do the passages say?",
                "passages": [[f"doc:{p['_id']}", p["text"]] for p in passages],
                "reply": " ".join(copied),
                "reworded": " ".join(reworded),
            }
        )
    return out


def own() -> None:
    generator = GroundedGenerator(model=Instant())
    times = []
    for line in sys.stdin:
        question = json.loads(line)
        SAID["reply"] = question["reworded" if "--reworded" in sys.argv else "reply"]
        hits = [
            Hit(chunk=Chunk(id=uri, uri=uri, start=0, end=len(text), text=text), score=1 / (i + 1))
            for i, (uri, text) in enumerate(question["passages"])
        ]
        started = time.perf_counter()
        answer = generator.answer(question["question"], hits)
        times.append(time.perf_counter() - started)
        assert answer.status == "answered"
    print(json.dumps({"p50": statistics.median(times[len(times) // 10 :])}))


if __name__ == "__main__":
    if "--own" in sys.argv:
        own()
    else:
        main(
            Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"),
            sys.argv[2] if len(sys.argv) > 2 else None,
        )
