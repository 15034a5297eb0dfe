from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.serving.public_uris import PublicUris
from tests.serving.conftest import QUESTION, REPLY, Server, serve_pipeline


def test_the_official_client_gets_an_answer_with_citations(
    server: Server, pipeline: Pipeline
) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["citewell"]
    assert client.models.retrieve("static").id == "static"
    assert client.models.retrieve("citewell").owned_by == "citewell"
    completion = client.chat.completions.create(
        model="citewell", messages=[{"role": "user", "content": QUESTION}], temperature=0.2
    )
    message: Any = completion.choices[0].message
    assert "34 minutes" in message.content and completion.choices[0].finish_reason == "stop"
    (citation,) = message.citewell["citations"]
    public_uris = PublicUris(pipeline.open().document_store.uris())
    text = pipeline.document(public_uris.resolve(citation["uri"])).text
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert citation["verified"]


def test_the_official_client_streams(pipeline: Pipeline, folder: Path) -> None:
    model = ScriptedChat(replies=(REPLY,))
    pipeline.ingest(folder)
    scripted_pipeline = pipeline.model_copy(update={"generator": GroundedGenerator(model=model)})
    with serve_pipeline(scripted_pipeline) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        stream = client.chat.completions.create(
            model="citewell",
            messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([text for text in texts if text]) > 3 and "".join(texts) == REPLY
    last: Any = next(c for c in chunks if c.choices and c.choices[0].finish_reason == "stop")
    assert last.choices[0].delta.citewell["citations"][0]["verified"]
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > 10


def test_earlier_messages_are_the_history_of_the_question(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    completion = client.chat.completions.create(
        model="citewell",
        messages=[
            {"role": "system", "content": "Speak like a pirate."},
            {"role": "user", "content": "How long does the battery last?"},
            {"role": "assistant", "content": "34 minutes."},
            {"role": "user", "content": "And how long does charging take?"},
        ],
    )
    assert "90 minutes" in (completion.choices[0].message.content or "")


def test_unsupported_requests_are_refused(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "x"}]
    for options in ({"n": 2}, {"response_format": {"type": "json_object"}}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="citewell", messages=messages, **options)  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.chat.completions.create(model="gpt-4o", messages=messages)
    picture: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    with pytest.raises(openai.BadRequestError, match="questions are only text"):
        client.chat.completions.create(model="citewell", messages=picture)
    with pytest.raises(openai.BadRequestError, match="no message of the user"):
        client.chat.completions.create(
            model="citewell", messages=[{"role": "assistant", "content": "x"}]
        )
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="citewell", messages=[])


def test_the_official_client_gets_embeddings(server: Server, pipeline: Pipeline) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    texts = ["a heron", "the pier"]
    expected = pipeline.embedder.embed_documents(texts)
    plain = client.embeddings.create(model="static", input=texts, encoding_format="float")
    assert np.allclose([item.embedding for item in plain.data], expected, atol=1e-6)
    default = client.embeddings.create(model="static", input=texts[0])
    assert np.allclose(default.data[0].embedding, expected[0], atol=1e-6)
    assert default.usage.prompt_tokens > 0
    with pytest.raises(openai.BadRequestError, match="256 values"):
        client.embeddings.create(model="static", input="x", dimensions=3)
    tokens = client.embeddings.create(model="static", input=[[64, 568, 2298]])
    assert np.allclose(tokens.data[0].embedding, expected[0], atol=1e-6)


def test_other_fields_and_parts_of_chat_clients_are_accepted(server: Server) -> None:
    body = {
        "model": "citewell",
        "stream": None,
        "stream_options": None,
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": QUESTION},
            {"role": "system", "content": "Be brief."},
        ],
    }
    response = server.client.post("/v1/chat/completions", json=body)
    assert (
        response.status_code == 200
        and "34 minutes" in response.json()["choices"][0]["message"]["content"]
    )
    vectors = {"model": "static", "input": "x", "encoding_format": None, "dimensions": None}
    assert server.client.post("/v1/embeddings", json=vectors).status_code == 200
    assert (
        server.client.post(
            "/ask", content=b"{", headers={"Content-Type": "application/json"}
        ).json()["error"]["message"]
        == "the body is not JSON"
    )


# -- tasks of chat clients -----------------------------------------------------------------

HISTORY = (
    f"### Chat History:\n<chat_history>\nUSER: {QUESTION}\nASSISTANT: 34 minutes.\n</chat_history>"
)
TITLE = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
    f'### Output:\nJSON format: {{ "title": "your title here" }}\n{HISTORY}'
)
TAGS = (
    "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.\n"
    f'### Output:\nJSON format: {{ "tags": ["tag1", "tag2"] }}\n{HISTORY}'
)
FOLLOW_UPS = (
    "### Task:\nSuggest 3-5 relevant follow-up questions or prompts.\n"
    f'### Output:\nJSON format: {{ "follow_ups": ["Question 1?"] }}\n{HISTORY}'
)
LIBRE_TITLE = (
    "Provide a concise, 5-word-or-less title for the conversation, using title case.\n\n"
    f"User: {QUESTION}\nAI: 34 minutes."
)


def ask_client(server: Server, text: str, *, stream: bool = False) -> str:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    messages: Any = [{"role": "user", "content": text}]
    if stream:
        chunks = client.chat.completions.create(model="citewell", messages=messages, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    completion = client.chat.completions.create(model="citewell", messages=messages)
    return completion.choices[0].message.content or ""


@pytest.mark.parametrize("stream", [False, True])
def test_tasks_of_chat_clients_are_no_questions(server: Server, stream: bool) -> None:
    expected_title = " ".join(QUESTION.split()[:6])
    assert json.loads(ask_client(server, TITLE, stream=stream)) == {"title": expected_title}
    assert json.loads(ask_client(server, TAGS, stream=stream)) == {"tags": []}
    assert json.loads(ask_client(server, FOLLOW_UPS, stream=stream)) == {"follow_ups": []}
    assert ask_client(server, LIBRE_TITLE, stream=stream) == expected_title


def test_tasks_go_to_the_chat_model(pipeline: Pipeline, folder: Path) -> None:
    model = ScriptedChat(replies=('{"title": "Battery life"}',) * 2)
    pipeline.ingest(folder)
    scripted_pipeline = pipeline.model_copy(update={"generator": GroundedGenerator(model=model)})
    with serve_pipeline(scripted_pipeline) as server:
        for stream in (False, True):
            assert ask_client(server, TITLE, stream=stream) == '{"title": "Battery life"}'
    assert "Generate a concise" in model.requests[0][-1].content


@pytest.mark.parametrize(
    "question",
    [QUESTION, f"### Task: {QUESTION}", f"What is the title of the chat? {QUESTION}"],
)
def test_questions_that_sound_like_tasks_are_answered(server: Server, question: str) -> None:
    assert "34 minutes" in ask_client(server, question)


def test_a_conversation_may_end_in_a_reply_or_a_result_of_a_tool(server: Server) -> None:
    for last in (
        {"role": "assistant", "content": "The battery"},
        {"role": "tool", "content": "{}", "tool_call_id": "1"},
    ):
        body = {"model": "citewell", "messages": [{"role": "user", "content": QUESTION}, last]}
        reply = server.client.post("/v1/chat/completions", json=body).json()
        assert "34 minutes" in reply["choices"][0]["message"]["content"]


def test_streams_are_not_buffered_by_proxies(server: Server) -> None:
    body = {
        "model": "citewell",
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    response = server.client.post("/v1/chat/completions", json=body)
    assert response.headers["X-Accel-Buffering"] == "no"
