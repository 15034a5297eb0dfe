"""Dialects: what a server that speaks OpenAI's API turned out not to accept.

Compatible servers refuse parameters that they do not know. A refusal is understood from its
message, remembered for the endpoint and the model as long as the process lives, logged once, and
the request is sent again without the parameter.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Literal, get_args

_log = logging.getLogger(__name__)

Feature = Literal[
    "stream_options",
    "stream",
    "json_schema",
    "json_object",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "reasoning_effort",
    "system",
    "encoding_format",
    "dimensions",
    "unversioned_url",
]
"""What a server may not accept.

``json_schema`` and ``json_object`` are values of ``response_format``; ``system`` are system
messages; ``unversioned_url`` is a base URL without ``/v1``.
"""

Endpoint = tuple[str, str]
"""A base URL and a model."""

_MESSAGES: Mapping[str, str] = {
    "stream_options": r"stream.?options|include_usage",
    "stream": r"\bstream(?:ing|ed)?\b(?!.?options)",
    "json_schema": r"response.?format|json.?schema|structured.?output|guided|grammar",
    "json_object": r"response.?format|json.?(?:object|mode)",
    "temperature": r"\btemperature\b",
    "max_tokens": r"\bmax_tokens\b|max_completion_tokens",
    "max_completion_tokens": r"\bmax_completion_tokens\b",
    "seed": r"\bseed\b(?!-)",
    "reasoning_effort": r"reasoning.?effort",
    "system": (
        r"\bsystem['\"`]?\s+(?:role|message|prompt|instruction)|role\b[^.]{0,40}\bsystem\b"
        r"|developer instruction|roles? must alternate|only (?:the )?user and assistant"
    ),
    "encoding_format": r"encoding.?format|base64",
    "dimensions": r"\bdimensions?\b|matryoshka",
}
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _MESSAGES.items()}
_OPTIONAL: tuple[Feature, ...] = (
    "stream_options",
    "json_schema",
    "json_object",
    "seed",
    "reasoning_effort",
    "temperature",
    "encoding_format",
)
_DROPPED: tuple[Feature, ...] = (
    "stream_options",
    "temperature",
    "seed",
    "reasoning_effort",
    "encoding_format",
    "dimensions",
)
_WITHOUT_REASON = re.compile(
    r"\W*(?:no reason given|bad request|invalid (?:request|input)|unprocessable entity|"
    r"unknown error|error)?\W*",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"unsupported|not support|unavailable|not available|unknown|unrecogni[sz]ed|unexpected|"
    r"not (?:a )?(?:permitted|allowed|accepted|valid|implemented|enabled)|extra|invalid|"
    r"does not|must be|must alternate|only|cannot|can't|deprecated|instead|bad\b",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(
    r"\b(?:allowed|supported|accepted|valid|known|expected)(?: (?:fields?|parameters?|keys?|names?|"
    r"values?|one of))?\s*(?::|are\b).*",
    re.IGNORECASE | re.DOTALL,
)
_CONTENT = re.compile(
    r"polic(?:y|ies)|moderation|harmful|unsafe|violat|context (?:length|window)|too long|too large|"
    r"reduce the length|exceeds",
    re.IGNORECASE,
)
_MAX_BATCH = re.compile(
    r"(?:larger|greater|more|exceed\w{0,5}|at most|maximum|max|limit|up to|under|<=)\D{0,40}?"
    r"(\d{1,5})(?!\d|\s*(?:[kmg]i?b\b|bytes?|s\b|sec|ms\b|tokens?|char))",
    re.IGNORECASE,
)
_BATCH = re.compile(
    r"\bbatch|too many|number of (?:inputs?|texts?|items)|array\b.{0,30}\b(?:long|length|size|"
    r"items)|"
    r"(?:at most|maximum(?: of)?|more than) \d+ (?:inputs?|texts?|items|documents|strings)",
    re.IGNORECASE,
)
_LONG_TEXT = re.compile(r"\btokens?\b|too long|context", re.IGNORECASE)

_refused: dict[Endpoint, set[Feature]] = {}
_batch_sizes: dict[Endpoint, int] = {}
_lock = Lock()


def list_refused(endpoint: Endpoint) -> frozenset[Feature]:
    """Return what an endpoint was found to refuse."""
    with _lock:
        return frozenset(_refused.get(endpoint, ()))


def find_refused(reason: str, request: Mapping[str, Any], parameter: str = "") -> Feature | None:
    """Return what in a `request` its refusal is about; None if its `reason` names nothing of it.

    `parameter` is what the error itself names. A reason has to say that something is not accepted;
    lists of what is accepted, and the name of the model, do not count.
    """
    features = _list_features(request)
    if parameter:
        names = parameter.replace("response_format.", "").split(".")
        return next((f for f in features if f in names or _PATTERNS[f].fullmatch(names[0])), None)
    model = re.escape(str(request.get("model") or "\0"))
    text = _ACCEPTED.sub(" ", re.sub(rf"(?<![\w-]){model}(?![\w-])", " ", reason))
    if not _REFUSED.search(text) or _CONTENT.search(text):
        return None
    return next((f for f in features if _PATTERNS[f].search(text)), None)


def guess_refused(reason: str, request: Mapping[str, Any]) -> Feature | None:
    """Return an optional parameter of a request that was refused without a reason, if any."""
    if not _WITHOUT_REASON.fullmatch(reason):
        return None
    features = _list_features(request)
    return next((feature for feature in _OPTIONAL if feature in features), None)


def remember_refusal(
    endpoint: Endpoint, feature: Feature, reason: str = "", key: Endpoint | None = None
) -> None:
    """Remember that an endpoint refuses a feature, and log it.

    `key` is the endpoint as it is looked up, if that differs from how messages name it.
    """
    with _lock:
        features = _refused.setdefault(key or endpoint, set())
        if feature in features:
            return
        features.add(feature)
    url, model = endpoint
    if feature == "unversioned_url":
        _log.warning("%s answers below %s/v1; set this as base_url", url, url.rstrip("/"))
        return
    _log.warning(
        "%s (%s) does not accept %s; requests go without it: %s",
        url, model, feature, reason[:200],
    )  # fmt: skip


def forget_refusals() -> None:
    """Forget what all endpoints were found to refuse."""
    with _lock:
        _refused.clear()
        _batch_sizes.clear()


def find_batch_size(endpoint: Endpoint) -> int | None:
    """Return the number of texts that an endpoint takes in a request; None if it never refused."""
    with _lock:
        return _batch_sizes.get(endpoint)


def learn_batch_size(endpoint: Endpoint, reason: str, count: int) -> bool:
    """Learn from the refusal of a request with `count` texts; return whether to send fewer."""
    if count < 2 or not _BATCH.search(reason) or _LONG_TEXT.search(reason):
        return False
    limits = [int(number) for number in _MAX_BATCH.findall(reason)]
    size = next((limit for limit in limits if 0 < limit < count), count // 2)
    with _lock:
        _batch_sizes[endpoint] = size
    _log.warning("%s (%s) takes at most %d texts in a request", *endpoint, size)
    return True


def apply_dialect(request: Mapping[str, Any], refused: frozenset[Feature]) -> dict[str, Any]:
    """Return a request without what the server refuses.

    A schema goes into the prompt, the limit of tokens takes its other name, and system messages
    become part of the first message of the user.
    """
    adapted = dict(request)
    for name in _DROPPED:
        if name in refused:
            adapted.pop(name, None)
    if "stream" in refused:
        adapted.pop("stream", None)
        adapted.pop("stream_options", None)
    if "max_tokens" in refused and "max_tokens" in adapted:
        adapted["max_completion_tokens"] = adapted.pop("max_tokens")
    elif "max_completion_tokens" in refused and "max_completion_tokens" in adapted:
        adapted["max_tokens"] = adapted.pop("max_completion_tokens")
    if {"max_tokens", "max_completion_tokens"} <= refused:
        adapted.pop("max_tokens", None)
        adapted.pop("max_completion_tokens", None)
    if "json_schema" in refused and (response_format := adapted.pop("response_format", None)):
        schema = json.dumps(response_format["json_schema"]["schema"], ensure_ascii=False)
        order = f"Reply only with JSON that matches this schema, without other text:\n{schema}"
        adapted["messages"] = [*adapted["messages"]]
        last = adapted["messages"][-1]
        adapted["messages"][-1] = last | {"content": f"{last['content']}\n\n{order}"}
        if "json_object" not in refused:
            adapted["response_format"] = {"type": "json_object"}
    if "system" in refused and "messages" in adapted:
        adapted["messages"] = _merge_system_messages(adapted["messages"])
    return adapted


def _merge_system_messages(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the messages with the system messages in the first one of the user.

    Neighbours of the same role become one message, since some servers want them to alternate.
    """
    system = [message["content"] for message in messages if message["role"] == "system"]
    merged: list[dict[str, str]] = [{"role": "user", "content": part} for part in system]
    merged += [dict(message) for message in messages if message["role"] != "system"]
    alternating: list[dict[str, str]] = []
    for message in merged:
        if alternating and alternating[-1]["role"] == message["role"]:
            alternating[-1]["content"] += f"\n\n{message['content']}"
        else:
            alternating.append(message)
    return alternating


def _list_features(request: Mapping[str, Any]) -> list[Feature]:
    """Return the features of a request that a server may refuse, most specific first."""
    response_format = request.get("response_format") or {}
    features: list[Feature] = [f for f in get_args(Feature) if f in request]
    if response_format.get("type") in ("json_schema", "json_object"):
        features.insert(0, response_format["type"])
    if any(message.get("role") == "system" for message in request.get("messages", ())):
        features.append("system")
    return features
