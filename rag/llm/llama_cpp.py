"""Chat models from GGUF files, run in this process by llama.cpp."""

from __future__ import annotations

import json
import math
import secrets
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any, ClassVar

from pydantic import Field

from rag.component import NotFingerprinted
from rag.errors import (
    ConfigError,
    MissingExtra,
    ModelContextExceeded,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
)
from rag.llm.base import ChatModel, JsonSchema, KnownChat
from rag.llm.completion import Completion, Delta, Source
from rag.types import Message, Usage, to_well_formed

# Small vocabularies need more tokens than the one that `ChatModel.count_tokens` uses.
_TOKEN_ESTIMATE_FACTOR = 1.3


class LlamaCppChat(ChatModel):
    """A GGUF file, run by llama.cpp in this process (xllamacpp): no server, key or network.

    ``path`` is the file. ``context`` is the context window in tokens (input and reply),
    ``threads`` the number of CPU threads (default: llama.cpp's choice), and ``gpu_layers`` the
    number of layers on a GPU (-1: as many as fit). The file is loaded on first use, once for all
    components with the same settings. ``timeout`` is the longest wait for the next token, in
    seconds.

    xllamacpp also listens on a port of the loopback interface; a random key protects it.
    """

    name: ClassVar[str] = "llama-cpp"
    extra: ClassVar[str] = "llama-cpp"
    main_setting: ClassVar[str] = "path"

    path: Path
    context: int = Field(4_096, ge=256)
    max_output_tokens: int = Field(512, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int = Field(0, ge=0, lt=2**32)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=1_024)
    gpu_layers: Annotated[int, NotFingerprinted] = Field(-1, ge=-1)
    timeout: Annotated[float, NotFingerprinted] = Field(600.0, gt=0, le=86_400)
    concurrency: Annotated[int, NotFingerprinted] = Field(1, ge=1, le=64)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        return self.context

    @property
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        return self.max_output_tokens

    def count_tokens(self, text: str) -> int:
        """See `ChatModel.count_tokens`; the estimate is rather too high than too low."""
        return math.ceil(super().count_tokens(text) * _TOKEN_ESTIMATE_FACTOR)

    @property
    def _known_model(self) -> KnownChat | None:
        return KnownChat(self.path.name, self.context, 0.0, 0.0)

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        for delta in self._stream(messages, schema=schema, sources=sources):
            if delta.completion is not None:
                return delta.completion
        raise ModelReplyError(f"{self.path.name} returned no reply", model=self.path.name)

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        request: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": dict(schema)},
            }
        server = _get_server(self)
        replies: SimpleQueue[str | BaseException | None] = SimpleQueue()
        stop = threading.Event()

        def put_reply(reply: str) -> bool:
            replies.put(reply)
            return stop.is_set()  # True makes llama.cpp stop

        def run() -> None:
            try:
                server.handle_chat_completions(json.dumps(request), put_reply)
                replies.put(None)
            except BaseException as error:
                replies.put(error)

        threading.Thread(target=run, daemon=True, name="llama.cpp").start()
        try:
            yield from self._read_events(replies)
        finally:
            stop.set()

    def _read_events(self, replies: SimpleQueue[str | BaseException | None]) -> Iterator[Delta]:
        parts: list[str] = []
        usage, finish = Usage(), ""
        while True:
            try:
                reply = replies.get(timeout=self.timeout)
            except Empty:
                raise ModelUnreachable(
                    f"{self.path.name} did not answer in {self.timeout:g} s", model=self.path.name
                ) from None
            if reply is None:
                break
            if isinstance(reply, BaseException):
                raise ModelReplyError(
                    f"llama.cpp failed on {self.path.name}: {reply}", model=self.path.name
                ) from None
            event = json.loads(reply)
            if error := event.get("error"):
                raise self._to_model_error(error)
            if tokens := event.get("usage"):
                usage = Usage(
                    input_tokens=tokens.get("prompt_tokens", 0),
                    output_tokens=tokens.get("completion_tokens", 0),
                )
            for choice in event.get("choices", ())[:1]:
                finish = choice.get("finish_reason") or finish
                if text := choice.get("delta", {}).get("content"):
                    parts.append(to_well_formed(text))
                    yield Delta(parts[-1])
        if not finish:
            raise ModelReplyError(
                f"the reply of {self.path.name} ended unexpectedly; try again", model=self.path.name
            )
        yield Delta("", Completion("".join(parts), usage, finish))

    def _to_model_error(self, error: dict[str, Any]) -> ModelRequestError:
        reason = " ".join(str(error.get("message", error)).split())[:300]
        is_too_long = "exceed_context" in str(error.get("type")) or "context size" in reason
        error_class = ModelContextExceeded if is_too_long else ModelRequestError
        return error_class(f"{self.path.name} refused the request: {reason}", model=self.path.name)


_load_lock = threading.Lock()


def _get_server(chat: LlamaCppChat) -> Any:
    with _load_lock:  # lru_cache would load the file twice for concurrent first calls
        return _load_server(
            chat.path.expanduser().absolute(),
            chat.context,
            chat.threads,
            chat.gpu_layers,
            chat.concurrency,
        )


@lru_cache(maxsize=4)
def _load_server(
    path: Path, context: int, threads: int | None, gpu_layers: int, parallel: int
) -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError:
        raise MissingExtra.of("llama-cpp", f"the model {path.name}") from None
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(
            f"cannot read the model {path}: {error.strerror}", setting="path"
        ) from None
    if magic != b"GGUF":
        raise ConfigError(f"{path} is not a GGUF file; llama.cpp reads only these", setting="path")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context * parallel  # llama.cpp divides it among the parallel requests
    parameters.n_parallel = parallel
    parameters.n_gpu_layers = gpu_layers
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [secrets.token_hex(16)]
    parameters.verbosity = -1
    parameters.ui = False
    if threads is not None:
        parameters.cpuparams.n_threads = threads
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ConfigError(
            f"llama.cpp cannot load {path} ({error}): is the file complete?", setting="path"
        ) from None
