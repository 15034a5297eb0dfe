"""Thoughts of reasoning models, in every form that models and servers write them."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import AnswerCompleted, GroundedGenerator, Message, ScriptedChat, TextDelta
from rag.llm.completion import Completion, Delta
from rag.llm.thoughts import ThoughtFilter, separate_thoughts
from rag.types import GenerateStep
from tests.generation.samples import HITS, QUESTION

REPLY = "The battery lasts 34 minutes [1]."
THOUGHT = "Perhaps the battery lasts 99 minutes [1]."
MARKED = {
    "pair": f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}",
    "upper case": f"<THINK>{THOUGHT}</THINK>\n{REPLY}",
    "other names": f"<thinking>{THOUGHT}</thinking><thought>{THOUGHT}</thought>{REPLY}",
    "reasoning": f"<reasoning>{THOUGHT}</reasoning>{REPLY}",
    "attributes": f'<think type="deep" n=1>{THOUGHT}</think>\n{REPLY}',
    "several": f"<think>{THOUGHT}</think>\n<think>{THOUGHT}</think>\n{REPLY}",
    "nested": f"<think>{THOUGHT} <think>{THOUGHT}</think> {THOUGHT}</think>\n{REPLY}",
    "empty": f"<think>\n\n</think>\n\n{REPLY}",
    "self-closing": f"<think/>{REPLY}",
    "spaces": f"< think >{THOUGHT}</ think >{REPLY}",
    "harmony": (
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{REPLY}<|return|>"
    ),
    "harmony, three channels": (
        f"<|start|>assistant<|channel|>analysis<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>commentary<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{REPLY}"
    ),
    "square brackets": f"[THINK]{THOUGHT}[/THINK]{REPLY}",
    "triangles": f"◁think▷{THOUGHT}◁/think▷{REPLY}",
    "seed": f"<seed:think>{THOUGHT}</seed:think>{REPLY}",
    "begin and end": f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>{REPLY}",
    "end of a turn": f"<think>{THOUGHT}</think>{REPLY}<|im_end|>",
    "end of a turn of Llama": f"<think>{THOUGHT}</think>{REPLY}<|eot_id|>",
    "end of a turn of Gemma": f"<think>{THOUGHT}</think>{REPLY}<end_of_turn>",
    "end of a sequence": f"<think>{THOUGHT}</think>{REPLY}</s>",
    "harmony without tokens": f"analysis{THOUGHT}assistantfinal{REPLY}",
}
CLOSED_ONLY = {
    "closing tag": f"{THOUGHT}\n</think>\n\n{REPLY}",
    "closing tag in a line": f"{THOUGHT}</think>{REPLY}",
    "closing tags": f"{THOUGHT}\n</think>\n{THOUGHT}\n</thinking>\n{REPLY}",
}
TEXTS = [
    "Write `<think>` first.",
    "Use <think> tags, they work.",
    "End it with </think> and go on.",
    "<thinking is hard>",
    "- <think> opens a thought\n- </think> closes it",
    "Wrap it in <think> and </think> tags [1].",
    'The closing tag is "</think>". It ends thoughts [1].',
    "It ends with </think>, then the reply [1].",
    "The token `<|channel|>` names the channel, `<|message|>` begins text [1].",
    "Use `<think>` to hide [1].",
    "I think [this] and [That] are [THIS].",
    "a < b and x <y> z",
    "<b>bold</b> <",
    "analysis of the assistant",
    "|channel| < |",
    "The <s>old</s> new price [1].",
    "`<|im_end|>` ends a turn.",
]


def stream(text: str, cuts: list[int]) -> str:
    """Return the visible text of a stream that is cut into pieces."""
    bounds = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    thoughts, visible = ThoughtFilter(), ""
    for start, end in zip(bounds, bounds[1:], strict=False):
        piece = thoughts.feed(text[start:end], is_last=end == len(text))
        visible = piece.text if piece.restarts else visible + piece.text
    return visible


@pytest.mark.parametrize("raw", [*MARKED.values(), *CLOSED_ONLY.values()])
def test_only_the_reply_is_left(raw: str) -> None:
    reply = separate_thoughts(raw)
    assert reply.text == REPLY
    assert reply.thoughts.count(THOUGHT) == raw.count(THOUGHT)


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_looks_like_a_tag_is_kept(text: str) -> None:
    assert separate_thoughts(text).text == text
    assert stream(text, list(range(len(text)))) == text


def test_a_thought_that_never_ends_leaves_no_reply() -> None:
    assert separate_thoughts(f"<think>{THOUGHT}").text == ""
    assert separate_thoughts(f"{REPLY}\n<think>{THOUGHT}").text == f"{REPLY}\n"


pieces = st.sampled_from(
    ["<think>", "</think>", "<THOUGHT a=1>", "</thinking>", "<|channel|>", "<|message|>", "<|end|>",
     "[THINK]", "[/THINK]", "</s>", "<|im_end|>", "◁think▷", "\"", "<|start|>", "final", "analysis", "assistant", "a", "b c", "\n", " ", "<", ">", "`", "</", "|"]
)  # fmt: skip


@given(st.lists(pieces, max_size=14).map("".join), st.lists(st.integers(0, 200), max_size=12))
def test_a_stream_has_the_text_of_the_complete_reply(raw: str, cuts: list[int]) -> None:
    reply = separate_thoughts(raw)
    if raw:
        assert stream(raw, cuts) == reply.text
    for i, character in enumerate(raw):
        position = reply.shift(i)
        assert position is None or reply.text[position] == character


class PiecewiseChat(ScriptedChat):
    """Streams its reply in pieces of three characters."""

    name: ClassVar[str] = "test-piecewise"

    def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
        text = self.replies[0]
        for i in range(0, len(text), 3):
            yield Delta(text[i : i + 3])
        yield Delta("", Completion(text))


@pytest.mark.parametrize("raw", [*MARKED.values(), *CLOSED_ONLY.values()])
@pytest.mark.parametrize("unsupported", ["flag", "drop", "repair"])
def test_no_thought_is_in_a_streamed_answer(raw: str, unsupported: str) -> None:
    generator = GroundedGenerator(
        model=PiecewiseChat(replies=(raw, raw)), unsupported=unsupported, fallback=None
    )
    *events, completed = generator.stream(QUESTION, HITS)
    assert isinstance(completed, AnswerCompleted)
    answer = completed.answer
    assert answer.text == REPLY
    assert [sentence.status for sentence in answer.sentences] == ["supported"]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert (text == REPLY) or "thoughts" in answer.reason
    (step,) = [step for step in answer.trace if type(step) is GenerateStep]
    assert (step.thoughts or "").count(THOUGHT) == raw.count(THOUGHT)


def test_a_long_reply_takes_no_long_time() -> None:
    for text in ("<think>" * 20_000, "</think>\n" * 20_000, "<" * 100_000, "<|channel|>" * 20_000):
        assert separate_thoughts(text).text.strip("<") == ""
