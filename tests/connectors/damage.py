"""Damaging files: cut off, or with flipped bits."""

from __future__ import annotations

import io
import random
import zipfile

from tests.connectors import file_fixtures


def damage(data: bytes, random_numbers: random.Random) -> bytes:
    """Truncate `data` or flip some of its bits."""
    if random_numbers.random() < 0.3:
        return data[: random_numbers.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(random_numbers.choice([1, 1, 3, 10, 40])):
        changed[random_numbers.randrange(len(changed))] ^= 1 << random_numbers.randrange(8)
    return bytes(changed)


def damage_member(data: bytes, random_numbers: random.Random) -> bytes:
    """Damage one member of a ZIP archive; the archive itself stays valid."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = random_numbers.choice([name for name in files if files[name]])
    return file_fixtures.make_zip(files | {name: damage(files[name], random_numbers)})
