"""Workbooks."""

from connectors.parsers.records import SheetParser as SheetParser
