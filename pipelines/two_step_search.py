"""A search loop of your own: the first passage gives the words for a second search.

python -m pipelines.two_step_search
"""

from __future__ import annotations

from pathlib import Path

from rag import Answer, Pipeline, Query

SAMPLE = Path(__file__).parent / "sample"
FIRST, SECOND = "Which gauge kept working throughout the gusts?", "How often does it take a sample?"


def ask_in_two_steps(pipeline: Pipeline, first: str, second: str) -> Answer:
    """Answer `first`, then `second` with the new words of the first quote."""
    first_answer = pipeline.ask(first, k=4)
    if not first_answer.citations:
        return first_answer
    quote = first_answer.citations[0].quote.strip(".")
    new_terms = tuple(word for word in quote.split() if word not in first)
    follow_up = Query(second, carried_terms=new_terms)
    hits = [*first_answer.hits[:1], *pipeline.search(follow_up, k=4)]
    return pipeline.answer(follow_up, hits)


def main(index: Path = Path(".rag-demo")) -> Answer:
    """Ask which instrument survived the storm, and then what the manual says about it."""
    with Pipeline(index=index) as pipeline:
        pipeline.ingest(SAMPLE)
        answer = ask_in_two_steps(pipeline, FIRST, SECOND)
    print(answer.text, *(citation.verified for citation in answer.citations))
    return answer


if __name__ == "__main__":
    main()
