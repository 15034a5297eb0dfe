"""Invoices to a table: number, date, supplier and total of each file, and a quote of the total.

    python -m pipelines.gallery.invoices_to_table FOLDER MODEL > invoices.csv

A value that no passage supports is left out of the table and named on stderr.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from pydantic import BaseModel, Field

from rag import ChatModel, F, GroundedGenerator, Pipeline


class Invoice(BaseModel):
    """What is read from each invoice."""

    number: str = Field(description="the number of the invoice")
    date: str = Field(description="the date of the invoice")
    supplier: str = Field(description="who sent the invoice")
    total: str = Field(description="the amount to pay, with its currency")


def main(folder: Path, model: str | ChatModel) -> None:
    """Write one line for each invoice; ``total_quote`` is the sentence that states the total."""
    writer = csv.DictWriter(sys.stdout, ["file", *Invoice.model_fields, "total_quote"])
    writer.writeheader()
    with Pipeline(index=folder / ".rag", generator=GroundedGenerator(model=model)) as pipeline:
        pipeline.ingest(folder)
        for info in pipeline.open().document_store.documents():
            question = "Number, date, supplier and total of the invoice"
            extraction = pipeline.extract(question, Invoice, where=F("uri") == info.uri)
            row = extraction.value.model_dump()
            for field in extraction.unsupported:
                print(f"{info.uri}: no passage supports {field} {row[field]!r}", file=sys.stderr)
                row[field] = ""
            quotes = [citation.quote for citation in extraction.fields["total"].citations]
            name = info.uri.rpartition("/")[2]
            writer.writerow({"file": name, **row, "total_quote": " ".join(quotes)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
