"""Measurements, compared with a floor and with other frameworks; each file prints its command."""
