"""The Responses API and the Completions API, with OpenAI's client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from rag import GroundedGenerator, OpenAIChat, Pipeline, ScriptedChat
from tests.serving.conftest import QUESTION, REPLY, Server, serve_pipeline


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_a_response_has_the_answer_and_its_citations(client: openai.OpenAI) -> None:
    response = client.responses.create(model="citewell", input=QUESTION)
    assert response.status == "completed"
    assert "34 minutes" in response.output_text
    [part] = response.output[0].content  # type: ignore[union-attr]
    annotation = part.annotations[0]  # type: ignore[union-attr]
    assert annotation.type == "file_citation"
    assert annotation.file_id.endswith("handbook.md")  # type: ignore[union-attr]
    end = annotation.index  # type: ignore[union-attr]
    sentence = response.citewell["sentences"][0]  # type: ignore[attr-defined]
    assert end == sentence["end"] <= len(response.output_text)
    assert response.citewell["citations"][0]["quote"] in response.output_text  # type: ignore[attr-defined]


def test_the_events_of_a_stream_build_the_same_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="citewell", input=QUESTION)
    with client.responses.stream(model="citewell", input=QUESTION) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    whole_part, final_part = (r.output[0].content[0] for r in (whole, final))  # type: ignore[union-attr]
    assert final_part.annotations == whole_part.annotations  # type: ignore[union-attr]


def test_items_before_the_question_are_the_conversation(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    model = ScriptedChat(replies=(QUESTION, REPLY))
    scripted = pipeline.model_copy(update={"generator": GroundedGenerator(model=model)})
    items: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "What is the Kite 4?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "A drone.", "annotations": []}],
        },
        {"type": "function_call_output", "call_id": "1", "output": "{}"},
        {"role": "user", "content": [{"type": "input_text", "text": "And its battery?"}]},
    ]
    with serve_pipeline(scripted) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        response = client.responses.create(model="citewell", input=items)
    assert "34 minutes" in response.output_text
    prompts = "\n".join(m.content for request in model.requests for m in request)
    assert "A drone." in prompts and "And its battery?" in prompts


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"previous_response_id": "resp_1"}, "nothing is stored"),
        ({"text": {"format": {"type": "json_object"}}}, "not JSON"),
        ({"model": "gpt-5"}, "no model"),
        ({"input": []}, "no message of the user"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "only text"),
    ],
)
def test_what_cannot_be_fulfilled_is_refused(
    client: openai.OpenAI, fields: dict[str, Any], message: str
) -> None:
    request: dict[str, Any] = {"model": "citewell", "input": QUESTION} | fields
    with pytest.raises(openai.APIStatusError, match=message):
        client.responses.create(**request)


@pytest.mark.parametrize("body", [{"text": 3}, {"text": {"format": "x"}}, {"input": 5}, {}])
def test_bodies_of_other_shapes_are_bad_requests(server: Server, body: dict[str, Any]) -> None:
    request = {"model": "citewell"} | body
    assert server.client.post("/v1/responses", json=request).status_code in (400, 422)


def test_completions_answer_the_prompt(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="citewell", prompt=QUESTION)
    assert "34 minutes" in whole.choices[0].text
    assert whole.choices[0].finish_reason == "stop"
    assert whole.citewell["citations"]  # type: ignore[attr-defined]
    chunks = list(client.completions.create(model="citewell", prompt=[QUESTION], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks][-1] == "stop"


def test_completions_take_one_prompt(client: openai.OpenAI) -> None:
    for fields in ({"prompt": ["a", "b"]}, {"prompt": "a", "n": 2}):
        with pytest.raises(openai.BadRequestError, match="only one"):
            client.completions.create(model="citewell", **fields)  # type: ignore[call-overload]


def test_an_error_of_the_model_ends_the_stream(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    model = OpenAIChat(model="m", base_url="http://127.0.0.1:9/v1", retries=0)
    failing = pipeline.model_copy(update={"generator": GroundedGenerator(model=model)})
    with serve_pipeline(failing) as server:
        for path, field in (("responses", "input"), ("completions", "prompt")):
            body = {"model": "citewell", field: QUESTION, "stream": True}
            response = server.client.post(f"/v1/{path}", json=body)
            assert "cannot be reached" in response.text
            assert response.status_code >= 400 or "DONE" not in response.text
