"""A line, or a few, in whatever a model writes around them."""

import pytest

from rag.llm.line_replies import parse_line, parse_lines

Q = "How long does it take to charge the battery of the Kite 4?"
FOUR = ["How long is the flight time?", "What is the battery life?", "How many minutes per charge?"]


@pytest.mark.parametrize(
    "reply",
    [
        Q,
        f"  {Q}\n",
        f"Here is the rewritten question:\n\n{Q}",
        f"Here's the standalone question: {Q}",
        f"Sure! Here is the rewritten question:\n“{Q}”",
        f"Rewritten question: {Q}",
        f"**Standalone question:** {Q}",
        f"**Rewritten Question**\n{Q}",
        f"## Rewritten question\n{Q}",
        f"```\n{Q}\n```",
        f"```text\n{Q}\n```\n",
        f'{{"question": "{Q}"}}',
        f'```json\n{{"rewritten_question": "{Q}", "reason": "it refers to the Kite"}}\n```',
        f"{{'question': '{Q}',}}",
        f"1. {Q}",
        f"- **{Q}**",
        f"> {Q}",
        f'"{Q}"',
        f"{Q} (Focuses on charging)",
        f"{Q}\n\nThis question is standalone because it names the drone.",
        f"{Q}\n\nNote: I replaced 'it' by the battery.",
        f"Okay, let me think about it.\n{Q}",
        f"The standalone question is:\n{Q}",
        f"Question 1: {Q}",
        f"Frage: {Q}",
    ],
)
def test_the_question_is_found(reply: str) -> None:
    assert parse_line(reply) == Q


@pytest.mark.parametrize(
    "reply",
    [
        "\n".join(FOUR),
        "Here are three alternative versions of the question:\n\n"
        f"1. **{FOUR[0]}** (Focuses on endurance)\n2. **{FOUR[1]}**\n3. **{FOUR[2]}**",
        f"Sure!\n- {FOUR[0]}\n- {FOUR[1]}\n- {FOUR[2]}\nLet me know if you want more.",
        f"Version 1: {FOUR[0]}\nVersion 2: {FOUR[1]}\nVersion 3: {FOUR[2]}",
        f'["{FOUR[0]}", "{FOUR[1]}", "{FOUR[2]}"]',
        f'{{"questions": ["{FOUR[0]}", "{FOUR[1]}", "{FOUR[2]}"], "count": 3}}',
        f'[{{"query": "{FOUR[0]}"}}, {{"query": "{FOUR[1]}"}}, {{"query": "{FOUR[2]}"}}]',
        f"```json\n['{FOUR[0]}', '{FOUR[1]}', '{FOUR[2]}',]\n```",
        f"### Alternative 1\n{FOUR[0]}\n### Alternative 2\n{FOUR[1]}\n### Alternative 3\n{FOUR[2]}",
        f"(1) {FOUR[0]}\n(2) {FOUR[1]}\n(3) {FOUR[2]}",
        f"a) {FOUR[0]}\nb) {FOUR[1]}\nc) {FOUR[2]}",
    ],
)
def test_several_questions_are_found_and_nothing_else(reply: str) -> None:
    assert parse_lines(reply) == FOUR


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        ("", []),
        ("```\n```", []),
        ("kite battery charging time", ["kite battery charging time"]),
        ("- charging time\n- flight time", ["charging time", "flight time"]),
        ("Query language: which is supported?", ["Query language: which is supported?"]),
        ("What is [3.2] about?", ["What is [3.2] about?"]),
        ("2024 revenue (in euros)", ["2024 revenue (in euros)"]),
        ("バッテリーの充電時間は？", ["バッテリーの充電時間は？"]),
        ("Sure, what is the price?", ["Sure, what is the price?"]),
        ("What does 'SLA' mean?", ["What does 'SLA' mean?"]),
        ("{}", ["{}"]),
    ],
)
def test_lines_that_are_no_questions_or_look_odd(reply: str, lines: list[str]) -> None:
    assert parse_lines(reply) == ([] if reply == "{}" else lines)


def test_long_replies_take_no_long_time() -> None:
    for text in ("the " * 20_000 + ":", "*" * 40_000, "(" * 40_000, "{" * 40_000, "'" * 40_000):
        parse_lines(text)


@pytest.mark.parametrize(
    "reply",
    [
        "Original question: What about Pro?\nRewritten question: What does Pro cost?",
        "User: What about Pro?\nAssistant: ...\nRewritten: What does Pro cost?",
        "Follow-up question: And?\nStandalone question: What does Pro cost?",
        '{"original_question": "And Pro?", "rewritten_question": "What does Pro cost?"}',
        "Rephrased: What does Pro cost?",
        "Die Frage lautet: What does Pro cost?",
    ],
)
def test_the_question_before_is_not_taken_for_the_new_one(reply: str) -> None:
    assert parse_line(reply) == "What does Pro cost?"


@pytest.mark.parametrize(
    "question",
    [
        "How do I set `output: json`?",
        "What is the result: success or failure?",
        "Which version: 2 or 3?",
        "Compare versions: 1.0 and 2.0",
        "Error response: 404 not found",
        "What's new in version 2: features",
        "Support response: how long?",
        "[ERR-07] meaning",
        "[tool.poetry] section meaning",
        "{name} placeholder meaning",
        "Note 10 battery life",
        "Note taking apps price",
        "Reasoning models supported",
        "Explanation of benefits form",
        "Below zero temperatures effects",
        "this query is slow in Postgres",
        "Hope College tuition",
        "I have a fever",
        "The following day delivery price",
        "Sure Petcare price",
        "What does Pro cost? (per month)",
        "price of Team (using annual billing)",
        "10. Mai 2024 Termine",
        "3. Quartal Umsatz",
        "'vacation days' policy 'Germany'",
    ],
)
def test_a_question_alone_is_unchanged(question: str) -> None:
    assert parse_line(question) == question
