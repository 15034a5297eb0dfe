"""Context length of a model: read from the server, if its API says it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

from rag.providers.base import strip_query
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow, fetch

_log = logging.getLogger(__name__)

ASSUMED_CONTEXT_TOKENS = 8_192
"""What a model is taken to read whose server does not tell."""

OLLAMA_CONTEXT_TOKENS = 16_384
"""Most tokens that Ollama is asked to make room for; the memory that it takes grows with it."""

_OLLAMA_DEFAULT_TOKENS = 4_096  # of a model without num_ctx; longer prompts lose their beginning
_LIMITS = ReplyLimits(read=3.0, total=6.0, max_bytes=20_000_000)
_MIN_TOKENS = 256
_FIELDS = ("max_model_len", "context_length", "max_context_length", "context_window", "n_ctx")

_AnswerIterator = Callable[[Callable[..., Any], str, str, str], Iterator[Any]]

_known: dict[tuple[str, str, _AnswerIterator], int] = {}
_lock = Lock()


def choose_ollama_context(url: str, model: str, key: str) -> int:
    """Return the context window to ask Ollama for, in tokens.

    That of the Modelfile, else what the model can read, at most `OLLAMA_CONTEXT_TOKENS`;
    `ASSUMED_CONTEXT_TOKENS` if the server does not tell.
    """
    return _find(url, model, key, _iterate_ollama_choices)


def find_context_length(url: str, model: str, key: str) -> int:
    """Return the context window of a model in tokens.

    llama.cpp, Ollama, vLLM, LM Studio, TGI and others tell it; else `ASSUMED_CONTEXT_TOKENS`. The
    answer of a server is kept as long as the process lives; no answer is asked for again.
    """
    return _find(url, model, key, _iterate_answers)


def _find(url: str, model: str, key: str, iterate_answers: _AnswerIterator) -> int:
    with _lock:
        if (tokens := _known.get((url, model, iterate_answers))) is not None:
            return tokens
    try:
        tokens = _ask_server(url, model, key, iterate_answers)
    except _Unreachable:
        return ASSUMED_CONTEXT_TOKENS
    if tokens is None:
        _log.warning(
            "%s does not tell how much %s reads: %d tokens are assumed; set `context`",
            strip_query(url), model, ASSUMED_CONTEXT_TOKENS,
        )  # fmt: skip
    with _lock:
        return _known.setdefault((url, model, iterate_answers), tokens or ASSUMED_CONTEXT_TOKENS)


class _Unreachable(Exception):
    """The server does not answer."""


def _ask_server(url: str, model: str, key: str, iterate_answers: _AnswerIterator) -> int | None:
    import httpx

    base = url.rstrip("/")
    root = base.removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(method: str, address: str, **options: Any) -> Any:
        with suppress(httpx.HTTPStatusError, ValueError):
            response = fetch(_LIMITS, method, address, headers=headers, **options)
            response.raise_for_status()
            return response.json()
        return None

    try:
        for tokens in iterate_answers(ask, base, root, model):
            if isinstance(tokens, int) and tokens >= _MIN_TOKENS:
                return tokens
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ReplyTooSlow, ReplyTooLong):
        raise _Unreachable from None
    return None


def _iterate_answers(ask: Callable[..., Any], base: str, root: str, model: str) -> Iterator[Any]:
    """Yield what each kind of server answers, in the order of how exact it is."""
    props = ask("GET", f"{root}/props")  # llama.cpp: what it was started with
    yield _get(_get(props, "default_generation_settings"), "n_ctx")
    yield _get(props, "n_ctx")
    if ask("GET", f"{root}/api/version") is not None:  # Ollama: the loaded model, its settings
        for running in _list(ask("GET", f"{root}/api/ps"), "models"):
            if model in (_get(running, "name"), _get(running, "model")):
                yield _get(running, "context_length")
        description = ask("POST", f"{root}/api/show", json={"model": model})
        yield from _read_ollama_parameters(description)
        yield _OLLAMA_DEFAULT_TOKENS
    for address in (f"{root}/api/v0/models", f"{base}/models"):  # LM Studio; vLLM and others
        for listed in _list(ask("GET", address), "data"):
            if _get(listed, "id") == model:
                yield _get(listed, "loaded_context_length")
                yield from (_get(listed, field) for field in _FIELDS)
    yield _get(ask("GET", f"{root}/info"), "max_total_tokens")  # TGI


def _iterate_ollama_choices(
    ask: Callable[..., Any], base: str, root: str, model: str
) -> Iterator[Any]:
    description = ask("POST", f"{root}/api/show", json={"model": model})
    yield from _read_ollama_parameters(description)
    info = _get(description, "model_info")
    for name, value in info.items() if isinstance(info, Mapping) else ():
        if str(name).endswith(".context_length") and isinstance(value, int):
            yield min(value, OLLAMA_CONTEXT_TOKENS)


def _read_ollama_parameters(description: Any) -> Iterator[int]:
    """Yield ``num_ctx`` of a Modelfile."""
    for line in str(_get(description, "parameters") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "num_ctx" and value.strip().isdigit():
            yield int(value)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _list(value: Any, name: str) -> list[Any]:
    found = _get(value, name)
    return found if isinstance(found, list) else []
