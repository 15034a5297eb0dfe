"""GGUF files of chat models that `LlamaCppChat` can run: a short list, and their download."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from rag.errors import ConfigError, ModelError, ModelUnreachable


class GgufModel(NamedTuple):
    """A GGUF file on the Hugging Face Hub.

    ``size`` is in bytes, ``context`` the model's context window in tokens. ``revision`` and
    ``sha256`` (hexadecimal) pin the file.
    """

    name: str
    repository: str
    revision: str
    file: str
    size: int
    sha256: str
    licence: str
    context: int
    summary: str

    @property
    def url(self) -> str:
        """Address of the file, for a download by hand."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{self.file}"


GGUF_MODELS = (
    GgufModel(
        name="qwen2.5-coder-0.5b",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="ebb2015119c907b064c512bf053e945850b5875f",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        context=32_768,
        summary="for a trial: fewer than half of its drafts are right",
    ),
    GgufModel(
        name="qwen2.5-coder-1.5b",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        context=32_768,
        summary="the model that the checks are measured with",
    ),
    GgufModel(
        name="qwen2.5-1.5b",
        repository="Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        revision="91cad51170dc346986eccefdc2dd33a9da36ead9",
        file="qwen2.5-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_736,
        sha256="6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e",
        licence="Apache-2.0",
        context=32_768,
        summary="of the same size, for prose in many languages (not measured here)",
    ),
    GgufModel(
        name="qwen3-4b",
        repository="bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF",
        revision="ae44f08e1392f39c0e474af10c3ff8355c8b6688",
        file="Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        size=2_497_280_736,
        sha256="2fde00ce69dd4899c70d020845e2638353015bba0fdf161b3eb965f2bca4464e",
        licence="Apache-2.0",
        context=262_144,
        summary="better and three times slower, needs 4 GB of memory (not measured here)",
    ),
)
"""Models with an instruction format, under a licence without conditions of use, by size."""


def find_gguf_model(name: str) -> GgufModel:
    """Return the model of the list with this name. Raises `ConfigError`."""
    for model in GGUF_MODELS:
        if model.name == name.lower().removesuffix(".gguf"):
            return model
    names = ", ".join(model.name for model in GGUF_MODELS)
    raise ConfigError(
        f"no model {name!r:.80} in the list; there are {names}. Any other GGUF file can be used by "
        "its path: llama-cpp:model.gguf"
    )


def download_gguf_model(model: GgufModel, folder: Path, *, endpoint: str | None = None) -> Path:
    """Download a model into `folder`, check it, and return the path of its file.

    A file that is there and whole is not downloaded again; an interrupted download goes on.
    `endpoint` is the address of the hub (default: its own, or HF_ENDPOINT). Raises
    `ModelUnreachable` if the hub cannot be reached, and `ModelError` if the file is not the
    expected one; it is deleted then.
    """
    path = folder / model.file
    if path.is_file() and compute_sha256(path) == model.sha256:
        return path
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(
            model.repository,
            model.file,
            revision=model.revision,
            local_dir=folder,
            endpoint=endpoint,
            token=False,  # the files are public: no token leaves
        )
    except Exception as error:  # the hub's client and the disk raise many types
        reason = " ".join(str(error).split())[:200]
        raise ModelUnreachable(
            f"cannot download {model.name} ({reason}). By hand: save {model.url} as {path}",
            model=model.name,
        ) from None
    if (digest := compute_sha256(path)) != model.sha256:
        path.unlink()
        raise ModelError(
            f"{model.url} is not the expected file (sha256 {digest}, expected {model.sha256}); it "
            "was deleted",
            model=model.name,
        )
    return path


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
