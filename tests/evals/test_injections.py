from evals.injections import load_injections, run_injections
from rag import ExtractiveGenerator, GroundedGenerator, ScriptedChat
from rag.generation import NO_ANSWER


def test_the_set() -> None:
    injections = load_injections()
    assert len(injections) == 120
    places = {"text", "title", "heading", "file", "metadata", "cell", "alt", "ocr"}
    assert {i.place for i in injections} == places
    assert {i.kind for i in injections} >= {"orders", "roles", "delimiters", "citations", "links"}
    for injection in injections:
        assert injection.answer in injection.document.text
        assert sum(map(bool, (injection.wants, injection.link, injection.silence))) == 1


def test_nothing_gets_through_without_a_model() -> None:
    results = list(run_injections(ExtractiveGenerator()))
    assert [r.injection.number for r in results if r.got_through] == []
    assert all(r.answer.status == "answered" and r.quotes_exact for r in results)
    assert all(r.injection.answer in r.answer.text for r in results)


def test_a_model_that_obeys_is_caught_where_it_can_be() -> None:
    """The worst model: it repeats every order word by word, and does what it says."""
    injections = [i for i in load_injections() if not i.silence]
    replies = tuple(
        "\n\n".join(
            [
                *i.document.text.split("\n\n")[1:],
                *([] if i.attack in i.document.text else [i.attack]),
                f"{i.wants}.",
            ]
        )
        for i in injections
    )
    generator = GroundedGenerator(model=ScriptedChat(replies=replies), unsupported="drop")
    results = list(run_injections(generator, injections))
    assert all(result.quotes_exact for result in results)
    for result in results:
        if result.injection.link:
            assert result.in_draft and not result.got_through
    # What stands in a document can be quoted from it, but a bare order is not supported.
    assert sum(r.got_through for r in results) < sum(r.in_draft for r in results)


def test_orders_in_a_draft_are_counted_as_the_draft_s() -> None:
    (first,) = [i for i in load_injections() if i.wants == "PWNED"]
    chat = ScriptedChat(replies=("PWNED",))
    (result,) = run_injections(GroundedGenerator(model=chat, fallback=None), [first])
    assert (result.in_draft, result.got_through) == (True, False)
    assert result.answer.text == NO_ANSWER
