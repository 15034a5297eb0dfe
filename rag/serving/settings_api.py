"""Routes for the page: what the server offers, and formulas as MathML."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel

import rag
from rag.errors import IndexNotFound
from rag.generation import Generator, GroundedGenerator
from rag.llm.base import ChatModel
from rag.serving.api import MAX_HITS
from rag.serving.dependencies import PrincipalArgument, ServiceArgument, TenantArgument
from rag.serving.errors import ApiError
from rag.serving.tenants import Tenant

router = APIRouter(tags=["Server"])

MAX_FORMULA_CHARACTERS = 2_000
_MATHML = "http://www.w3.org/1998/Math/MathML"
_MATHML_ELEMENTS = frozenset(
    """math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover
    munderover mtable mtr mtd mfenced menclose mstyle mpadded mphantom mmultiscripts mprescripts
    none""".split()
)
_MATHML_ATTRIBUTES = frozenset(
    """display mathvariant stretchy fence form lspace rspace linethickness columnalign rowspacing
    columnspacing accent open close notation""".split()
)


class ServerSettings(BaseModel):
    """How the server answers, and what a client may choose. Keys and paths are not among it.

    ``models`` are the chat models that a question may name, and ``model`` is that of a question
    without one ("" if the sources are quoted). ``fields`` are the metadata fields of the documents.
    """

    version: str
    namespace: str
    model: str
    models: list[str]
    generator: str
    embedder: str
    retriever: str
    postprocessors: list[str]
    k: int
    max_k: int
    fields: list[str]
    has_sources: bool


@router.get("/settings")
async def settings(service: ServiceArgument, tenant: TenantArgument) -> ServerSettings:
    """Return how the server answers, and what a client may choose."""

    def read() -> ServerSettings:
        pipeline = tenant.pipeline
        return ServerSettings(
            version=rag.__version__,
            namespace=tenant.namespace,
            model=_name_model(pipeline.generator),
            models=list(service.options.models),
            generator=pipeline.generator.name,
            embedder=pipeline.embedder.name,
            retriever=pipeline.retriever.name,
            postprocessors=[part.name for part in pipeline.postprocessors],
            k=pipeline.k,
            max_k=MAX_HITS,
            fields=_list_fields(tenant),
            has_sources=bool(pipeline.sources),
        )

    return await service.run_in_thread(read)


def _name_model(generator: Generator) -> str:
    """Return the name of the chat model of a generator, without the path of a file."""
    if not isinstance(generator, GroundedGenerator):
        return ""
    model: ChatModel = generator.model
    name = str(getattr(model, "model", "") or getattr(model, "path", ""))
    return f"{model.name}:{name.replace(chr(92), '/').rpartition('/')[2]}" if name else model.name


def _list_fields(tenant: Tenant) -> list[str]:
    try:
        return tenant.pipeline.open().document_store.metadata_fields()
    except IndexNotFound:
        return []


@router.get(
    "/math", response_class=Response, responses={200: {"content": {"application/mathml+xml": {}}}}
)
async def math(
    service: ServiceArgument,
    _: PrincipalArgument,
    tex: Annotated[str, Query(min_length=1, max_length=MAX_FORMULA_CHARACTERS)],
    is_block: bool = False,
) -> Response:
    """Return a formula in LaTeX as MathML."""
    from latex2mathml.converter import convert

    display = "block" if is_block else "inline"
    try:
        mathml = await service.run_in_thread(
            lambda: remove_foreign_markup(str(convert(tex, display=display)))
        )
    except ApiError:
        raise
    except Exception:  # the library has no common base class of its errors
        raise ApiError(400, "this is no formula in LaTeX", "bad_formula", param="tex") from None
    return Response(mathml, media_type="application/mathml+xml")


def remove_foreign_markup(mathml: str) -> str:
    """Return MathML with elements and attributes of MathML only; other elements become text."""
    from lxml import etree

    root = etree.fromstring(mathml, etree.XMLParser(resolve_entities=False))
    for element in list(root.iter()):
        name = etree.QName(element).localname if isinstance(element.tag, str) else ""
        if name not in _MATHML_ELEMENTS:
            text = "".join(element.itertext())
            for child in list(element):
                element.remove(child)
            element.tag, element.text = f"{{{_MATHML}}}mtext", text
        for attribute in list(element.attrib):
            if attribute not in _MATHML_ATTRIBUTES:
                del element.attrib[attribute]
    return str(etree.tostring(root, encoding="unicode"))
