"""Measurements, beside the floor and beside peers; each file prints its own command."""
