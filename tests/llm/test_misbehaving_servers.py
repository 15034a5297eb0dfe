"""Every client of a model server, on servers that misbehave as real ones do."""

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rag import AnswerCompleted, GroundedGenerator, Message, OpenAIChat
from rag.cli.output import answer_notes
from rag.embedding.openai import OpenAIEmbedder
from rag.errors import ModelError, RagError
from rag.generation import Generator
from rag.llm import fill
from rag.llm.completion import Completion
from rag.postprocessing import LlmReranker
from rag.providers.dialects import forget_refusals
from rag.testing import SHAPES, ModelServer, Shape
from rag.testing.model_server import REPLY, THOUGHT, Json
from rag.verification import LlmVerifier
from tests.generation.samples import HITS, QUESTION

MESSAGES = [
    Message(role="system", content="Answer from the passages."),
    Message(role="user", content="How long does the battery last?"),
]
ANSWERS = {name: shape for name, shape in SHAPES.items() if shape.expects == "answer"}
ERRORS = {name: shape for name, shape in SHAPES.items() if shape.expects == "error"}
# A stream that says neither why nor that it ends may have been cut off.
UNSAFE_TOGETHER = {"no [DONE]", "JSON lines in place of events"}
WITHOUT_FINISH = {"no finish_reason", "empty finish_reason", "finish_reason null"}


@pytest.fixture(autouse=True)
def _know_no_server() -> Iterator[None]:
    yield
    forget_refusals()


def make_chat(server: ModelServer, **options: object) -> OpenAIChat:
    fields = {"model": "m", "base_url": server.url, "retries": 1, "seed": 1, "timeout": 20}
    return OpenAIChat.model_validate(fields | options)


def complete(chat: OpenAIChat) -> Completion:
    return chat.complete(MESSAGES)


def stream(chat: OpenAIChat) -> Completion:
    text = ""
    for delta in chat.stream(MESSAGES):
        text = delta.text if delta.restarts else text + delta.text
    assert delta.completion is not None
    assert text == delta.completion.text
    return delta.completion


def stream_async(chat: OpenAIChat) -> Completion:
    async def run() -> Completion:
        text, completion = "", None
        async for delta in chat.astream(MESSAGES):
            text = delta.text if delta.restarts else text + delta.text
            completion = delta.completion
        assert completion is not None and text == completion.text
        return completion

    return asyncio.run(run())


def complete_async(chat: OpenAIChat) -> Completion:
    return asyncio.run(chat.acomplete(MESSAGES))


CALLS = [complete, stream, stream_async, complete_async]


# Each shape goes through two of the four calls; the neighbours of its kind through the others.
_TWO_CALLS = [
    (name, CALLS[(i + shift) % len(CALLS)]) for i, name in enumerate(ANSWERS) for shift in (0, 1)
]
_TWO_ERRORS = [
    (name, CALLS[(i + shift) % len(CALLS)]) for i, name in enumerate(ERRORS) for shift in (0, 1)
]


@pytest.mark.parametrize(("name", "call"), _TWO_CALLS)
def test_the_answer_arrives(name: str, call: Callable[[OpenAIChat], Completion]) -> None:
    with ModelServer(ANSWERS[name]) as server:
        completion = call(make_chat(server))
    assert completion.text == REPLY
    assert completion.usage.input_tokens > 0 and completion.usage.output_tokens > 0
    reports_none = name.startswith("usage ") and name != "usage in every chunk"
    assert completion.usage.is_estimated == reports_none
    assert completion.finish_reason in ("stop", "STOP", "unknown")
    if THOUGHT in ANSWERS[name].text or "reasoning" in name or "thinking parts" in name:
        assert THOUGHT in completion.thoughts


@pytest.mark.parametrize(("name", "call"), _TWO_ERRORS)
def test_there_is_one_clear_error(name: str, call: Callable[[OpenAIChat], Completion]) -> None:
    with ModelServer(ERRORS[name]) as server, pytest.raises(ModelError) as caught:
        call(make_chat(server, retries=0))
    message = str(caught.value)
    assert len(message) > 20 and "\n" not in message
    assert "Traceback" not in message


@pytest.mark.parametrize("name", [name for name in SHAPES if name in ANSWERS])
def test_what_is_refused_is_learned_once(name: str) -> None:
    with ModelServer(ANSWERS[name]) as server:
        chat = make_chat(server)
        complete(chat)
        first_count = len(server.requests)
        complete(chat)
    assert len(server.requests) == first_count + 1


def test_the_setting_avoids_the_refused_request() -> None:
    with ModelServer(SHAPES["temperature"]) as server:
        complete(make_chat(server, refuses=("temperature",)))
    assert len(server.requests) == 1


def test_a_refusal_of_the_content_is_not_taken_for_one_of_a_parameter() -> None:
    with ModelServer(SHAPES["always a bad request"]) as server:
        with pytest.raises(ModelError, match="Bad Request"):
            complete(make_chat(server, retries=0))
        server.shape = Shape()
        complete(make_chat(server))
    assert {"temperature", "seed"} <= server.requests[-1].keys()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(list(ANSWERS)), min_size=2, max_size=4, unique=True),
    call=st.sampled_from(CALLS),
)
def test_answers_arrive_from_servers_with_several_habits(
    names: list[str], call: Callable[[OpenAIChat], Completion]
) -> None:
    chosen = set(names)
    if chosen & UNSAFE_TOGETHER and chosen & WITHOUT_FINISH:
        return
    shape = Shape()
    for name in sorted(names, key=list(SHAPES).index):
        shape = shape.combine(SHAPES[name])
    try:
        with ModelServer(shape) as server:
            completion = call(make_chat(server))
    except ModelError as error:  # two shapes may contradict each other; never in silence
        assert str(error)
        return
    finally:
        forget_refusals()
    assert completion.text == REPLY


# -- the other clients ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_vectors_arrive_in_order(name: str) -> None:
    texts = ["x" * (i + 1) for i in range(25)]
    with ModelServer(ANSWERS[name]) as server:
        embedder = OpenAIEmbedder(model="m", base_url=server.url, retries=1)
        vectors = embedder.embed_documents(texts)
    lengths = vectors[:, 0] / vectors[:, 1]
    assert [round(float(value)) for value in lengths] == [len(text) for text in texts]


@pytest.mark.parametrize(
    "edit",
    [
        lambda item: {k: v for k, v in item.items() if k != "index"},
        lambda item: item | {"index": 0},
        lambda item: {k: v for k, v in item.items() if k != "index" or v},
        lambda item: item | {"object": None},
    ],
)
def test_vectors_without_an_index_have_the_order_of_the_texts(edit: Callable[[Json], Json]) -> None:
    shape = Shape(edit=(lambda reply: reply | {"data": [edit(item) for item in reply["data"]]},))
    with ModelServer(shape) as server:
        vectors = OpenAIEmbedder(model="m", base_url=server.url).embed_documents(["a", "bb", "ccc"])
    assert [round(float(v[0] / v[1])) for v in vectors] == [1, 2, 3]


@pytest.mark.parametrize("name", [n for n in ERRORS if "stream" not in n and "finish" not in n])
def test_a_failing_embedding_server_gives_one_clear_error(name: str) -> None:
    if "content" in name or "choices" in name:
        return  # embeddings have neither
    with ModelServer(ERRORS[name]) as server, pytest.raises(RagError) as caught:
        OpenAIEmbedder(model="m", base_url=server.url, retries=0).embed_documents(["a"])
    assert len(str(caught.value)) > 10


class Facts(BaseModel):
    minutes: int


def with_text(shape: Shape, text: str) -> Shape:
    return Shape(
        refuses=shape.refuses,
        status=shape.status,
        text=shape.text.replace(REPLY, text),
        edit=shape.edit,
        encode=shape.encode,
        headers=shape.headers,
        failures=shape.failures,
    )


@pytest.mark.parametrize("name", ANSWERS)
def test_structured_replies_verdicts_and_grades_arrive(name: str) -> None:
    shape = ANSWERS[name]
    with ModelServer(with_text(shape, '{"minutes": 34}')) as server:
        assert fill(make_chat(server), MESSAGES, Facts) == Facts(minutes=34)
        server.shape = with_text(shape, '{"verdict": "supported"}')
        verifier = LlmVerifier(model=make_chat(server), parallel=1)
        assert verifier.scores([("It lasts.", "It lasts 34 minutes.")])[0] == 1
        server.shape = with_text(shape, "[2] > [1]")
        reranker = LlmReranker(model=make_chat(server))
        assert len(reranker.score(QUESTION, [hit.chunk.text for hit in HITS])) == len(HITS)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_of_a_pipeline_is_cited(name: str, live: bool) -> None:
    with ModelServer(ANSWERS[name]) as server:
        generator: Generator = GroundedGenerator(model=make_chat(server), fallback=None)
        if live:
            *_, last = generator.stream(QUESTION, HITS)
            assert isinstance(last, AnswerCompleted)
            answer = last.answer
        else:
            answer = generator.answer(QUESTION, HITS)
    assert answer.text == REPLY
    assert [sentence.status for sentence in answer.sentences] == ["supported"]


def test_there_are_enough_shapes() -> None:
    assert len(SHAPES) >= 60
    assert len(ERRORS) >= 15


# -- refusals that are about something else ------------------------------------------------


def refuse_always(reason: str, status: int = 400) -> Shape:
    return Shape(expects="error", status=status, refuses=(lambda _: reason,))


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("This model's maximum context length is 2048 tokens: reduce messages or max_tokens", 400),
        ("'max_tokens' is too large: 1024. This model supports at most 512 tokens", 400),
        ("Prompt rejected by policy: question mentions grammar and temperature", 400),
        ("the system message violates our content policy", 400),
        ("model 'seed-oss' not found", 404),
        ("The model guided-json-schema-7b does not exist", 404),
        ("temperature sensor overheated", 500),
        ("Bad gateway for temperature", 502),
        ("Unknown request. Allowed: model, messages, temperature, seed, max_tokens", 400),
    ],
)
def test_other_refusals_teach_nothing(reason: str, status: int) -> None:
    with ModelServer(refuse_always(reason, status)) as server:
        chat = make_chat(server, retries=0)
        with pytest.raises(ModelError):
            chat.complete(MESSAGES, schema={"title": "x", "type": "object", "properties": {}})
        assert len(server.requests) == 1
        server.shape = Shape()
        complete(chat)
    assert {"temperature", "seed", "max_tokens"} <= server.requests[-1].keys()


def test_only_the_last_guess_is_remembered() -> None:
    with ModelServer(SHAPES["no reason, for temperature"]) as server:
        chat = make_chat(server)
        complete(chat)
        complete(chat)
    assert "temperature" not in server.requests[-1] and "seed" in server.requests[-1]


def test_a_text_that_is_too_long_does_not_change_the_size_of_batches() -> None:
    shape = refuse_always("Input 3 is too long: max 512 tokens")
    with ModelServer(shape) as server:
        embedder = OpenAIEmbedder(model="m", base_url=server.url, retries=0, dimensions=3)
        with pytest.raises(RagError, match="too long"):
            embedder.embed_documents(["a"] * 8)
        assert len(server.requests) == 1
        server.shape = Shape()
        assert len(embedder.embed_documents(["a"] * 8)) == 8
    assert len(server.requests) == 2


def test_the_parameter_of_an_error_is_understood() -> None:
    class Refusing(ModelServer):
        def answer(self, request: Json, path: str) -> tuple[int, str, bytes]:
            if "seed" in request:
                self.requests.append(request)
                error = {"error": {"message": "Unsupported parameter", "param": "seed"}}
                return 400, "application/json", json.dumps(error).encode()
            return super().answer(request, path)

    with Refusing() as server:
        assert complete(make_chat(server)).text == REPLY
    assert "temperature" in server.requests[-1]


def test_a_model_that_is_not_pulled_is_no_wrong_address() -> None:
    with ModelServer(refuse_always("model 'm' not found, try pulling it first", 404)) as server:
        chat = make_chat(server, base_url=server.url.removesuffix("/v1"), retries=0)
        with pytest.raises(ModelError, match="try pulling"):
            complete(chat)


@pytest.mark.parametrize(
    "event", [{"detail": "worker died"}, {"object": "error", "message": "worker died", "code": 500}]
)
def test_other_errors_within_a_stream_are_errors(event: Json) -> None:
    half = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
    shape = Shape(encode=(lambda body, _: body[: body.index(b"data: ", 300)] + half,))
    with ModelServer(shape) as server, pytest.raises(ModelError, match="worker died"):
        stream(make_chat(server))


# -- what the reader is told ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("content_filter", "cut off by its provider's content filter"),
        ("SAFETY", "cut off by its provider's content filter"),
        ("length", "cut off at its token limit"),
        ("", "did not say whether its reply is complete"),
    ],
)
def test_the_reader_is_told_how_a_reply_ended(reason: str, note: str) -> None:
    def end(item: Json) -> Json:
        for choice in item.get("choices") or ():
            if choice.get("finish_reason"):
                choice["finish_reason"] = reason
        return item

    with ModelServer(Shape(edit=(end,))) as server:
        answer = GroundedGenerator(model=make_chat(server)).answer(QUESTION, HITS)
    assert any(note in line for line in answer_notes(answer))


def test_a_context_error_halves_the_conversation_and_the_passages() -> None:
    def refuse_long(request: Json) -> str | None:
        length = sum(len(message["content"]) for message in request["messages"])
        return "maximum context length exceeded" if length > 3_000 else None

    history = [
        Message(role=role, content=f"{role} {i} " + "word " * 120)
        for i in range(8)
        for role in ("user", "assistant")
    ]
    with ModelServer(Shape(refuses=(refuse_long,))) as server:
        generator = GroundedGenerator(model=make_chat(server, context=8192), fallback=None)
        answer = generator.answer(QUESTION, HITS, history=history)
    assert answer.text == REPLY
    prompts = [str(request["messages"]) for request in server.requests]
    counts = [sum(f"user {i} " in prompt for i in range(8)) for prompt in prompts]
    assert counts == [8, 4, 2, 1]
    assert "assistant 7 " in prompts[-1]  # the latest stay
    assert all(hit.chunk.text in prompts[-1] for hit in HITS)  # the passages were not in the way
