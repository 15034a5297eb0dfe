"""Chat with a folder: follow-up questions, and the quotes behind each answer.

    python -m pipelines.gallery.chat_with_folder FOLDER [MODEL]

MODEL is a chat model such as ollama:qwen2.5:3b or openai:gpt-4.1-mini; without one, the answers are
quotes.
"""

from __future__ import annotations

import sys

from rag import Answer, ExtractiveGenerator, GroundedGenerator, Pipeline


def main(folder: str, model: str | None = None) -> None:
    """Index what has changed in the folder, and answer questions until the input ends."""
    generator = GroundedGenerator(model=model) if model else ExtractiveGenerator()
    with Pipeline(index=f"{folder}/.rag", generator=generator) as pipeline:
        report = pipeline.ingest(folder)
        print(f"{report.added} new, {report.updated} changed, {len(report.failed)} failed")
        conversation = pipeline.chat()
        for question in iter(read_question, None):
            print_answer(conversation.ask(question))


def read_question() -> str | None:
    """Return the next question; None at the end of the input."""
    try:
        return input("\n> ").strip() or "What is this about?"
    except EOFError:
        return None


def print_answer(answer: Answer) -> None:
    """Print an answer with its quotes; an abstention, with what comes closest."""
    print(answer.text)
    for citation in answer.citations:
        check = "" if citation.verified else "  NOT VERIFIED"
        print(f"  [{citation.marker}] {citation.title}: “{citation.quote}”{check}")
    for passage in answer.closest:
        print(f"  close: {passage.title}: “{passage.quote[:200]}” ({passage.reason})")


if __name__ == "__main__":
    main(*sys.argv[1:3])
