import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rag import Message, ScriptedChat
from rag.errors import ModelReplyError
from rag.llm import fill
from rag.llm.structured import parse_first_json, to_strict_schema

ASK = [Message(role="user", content="Fill it in.")]


class Part(BaseModel):
    name: str
    price: float | None = None


class Order(BaseModel):
    number: int
    parts: list[Part] = []


@pytest.mark.parametrize(
    "reply",
    [
        '{"a": [1, 2]}',
        'Here it is:\n```json\n{"a": [1, 2]}\n```\nAnything else?',
        'Sure! {"a": [1, 2]} is what you want.',
        '```\n{"a": [1, 2]}```',
    ],
)
def test_json_is_found_in_a_reply(reply: str) -> None:
    assert parse_first_json(reply) == {"a": [1, 2]}


@pytest.mark.parametrize("reply", ["", "no", "{half", "}{", '{"a": __import__("os")}'])
def test_reply_without_json_raises_a_value_error(reply: str) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        parse_first_json(reply)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_json_list_is_found_between_words(value: Any) -> None:
    if isinstance(value, list):
        assert parse_first_json(f"So: {json.dumps(value)} done") == value


def test_invalid_reply_is_sent_back_with_its_errors() -> None:
    chat = ScriptedChat(replies=('{"number": "many"}', '{"number": 7}'))
    assert fill(chat, ASK, Order) == Order(number=7)
    second_request = chat.requests[1]
    assert second_request[-2].content == '{"number": "many"}'
    assert "number: " in second_request[-1].content
    assert chat.schemas[0] == Order.model_json_schema()


def test_error_for_an_invalid_last_reply_does_not_quote_it() -> None:
    chat = ScriptedChat(replies=("", '{"number": "secret"}'))
    with pytest.raises(ModelReplyError, match="number: ") as failed:
        fill(chat, ASK, Order)
    assert "secret" not in str(failed.value)


def test_strict_schema_requires_all_properties_and_forbids_others() -> None:
    strict = to_strict_schema(Order.model_json_schema())
    assert strict is not None
    assert strict["required"] == ["number", "parts"]
    part = strict["$defs"]["Part"]
    assert (part["required"], part["additionalProperties"]) == (["name", "price"], False)


def test_schema_with_arbitrary_property_names_has_no_strict_form() -> None:
    class Open(BaseModel):
        prices: dict[str, float]

    assert to_strict_schema(Open.model_json_schema()) is None


class Verdict(BaseModel):
    verdict: Literal["supported", "partly", "unsupported"]


class Item(BaseModel):
    id: int
    supported: bool


class Items(BaseModel):
    items: list[Item]


ITEMS = Items(items=[Item(id=1, supported=True), Item(id=2, supported=False)])


@pytest.mark.parametrize(
    "reply",
    [
        '{"items": [{"id": 1, "supported": true}, {"id": 2, "supported": false}]}',
        "{'items': [{'id': 1, 'supported': True}, {'id': 2, 'supported': False}]}",
        '{"items": [{"id": 1, "supported": true,}, {"id": 2, "supported": false},],}',
        '{"items": [{"id": 1, "supported": true}, // yes\n{"id": 2, "supported": false}]}',
        '[{"id": 1, "supported": true}, {"id": 2, "supported": false}]',
        '{"items": [{"id": 1, "supported": "Supported"}, {"id": 2, "supported": "No"}]}',
        '{"Items": [{"ID": "1", "Supported": "yes"}, {"Id": 2, "SUPPORTED": "unsupported"}]}',
        '{"result": {"items": [{"id": 1, "supported": true}, {"id": 2, "supported": false}]}}',
        "```json\n{'items': [{'id': 1, 'supported': true}, {'id': 2, 'supported': false}]}\n```",
        "Here it is:\n{'items': [{'id': 1, 'supported': true}, {'id': 2, 'supported': false}]}",
        '{"items": [{"id": 1, "supported": true}, {"id": 2, "supported": false}',
    ],
)
def test_json_with_the_usual_mistakes_is_understood(reply: str) -> None:
    assert (
        fill(ScriptedChat(replies=(reply,)), [Message(role="user", content="?")], Items, tries=1)
        == ITEMS
    )


@pytest.mark.parametrize(
    "reply",
    ['{"verdict": "Supported"}', '{"Verdict": "SUPPORTED."}', "Supported.", "**supported**",
     '"supported"', '{"verdict": "yes"}', '["supported"]', '[{"verdict": "supported"}]'],
)  # fmt: skip
def test_a_choice_is_understood(reply: str) -> None:
    assert (
        fill(
            ScriptedChat(replies=(reply,)), [Message(role="user", content="?")], Verdict, tries=1
        ).verdict
        == "supported"
    )


@pytest.mark.parametrize(
    "reply",
    ["It is not supported by passage [1].", '{"verdict": "perhaps"}', "[1]", "", "supported or not",
     '{"verdict": ["supported", "partly"]}'],
)  # fmt: skip
def test_what_is_no_choice_is_refused(reply: str) -> None:
    with pytest.raises(ModelReplyError):
        fill(ScriptedChat(replies=(reply,)), [Message(role="user", content="?")], Verdict, tries=1)
