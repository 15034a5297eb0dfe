"""Ingestion: find changes, then parse, chunk, embed and commit."""

from rag.ingestion.dry_run import plan
from rag.ingestion.report import Failure, IngestReport, Move
from rag.ingestion.synchronize import sync

__all__ = ["Failure", "IngestReport", "Move", "plan", "sync"]
