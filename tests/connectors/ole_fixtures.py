"""OLE files (compound files, [MS-CFB]) as bytes: messages of Outlook for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_SECTOR, _MINI_SECTOR, _MINI_CUTOFF = 512, 64, 4_096
_END, _FREE, _FAT, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def _pad(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _chain(start: int, count: int) -> list[int]:
    return [start + i + 1 for i in range(count - 1)] + [_END] if count else []


def make_ole(tree: Mapping[str, Any]) -> bytes:
    """Return a compound file; a mapping in `tree` is a folder, bytes are a stream."""
    entries: list[dict[str, Any]] = [{"name": "Root Entry", "kind": 5, "child": _NONE, "data": b""}]

    def add(folder: Mapping[str, Any], parent: int) -> None:
        names = sorted(folder, key=lambda name: (len(name), name.upper()))
        previous = _NONE
        for name in names:
            content = folder[name]
            is_folder = isinstance(content, Mapping)
            index = len(entries)
            entries.append(
                {
                    "name": name,
                    "kind": 1 if is_folder else 2,
                    "child": _NONE,
                    "data": b"" if is_folder else content,
                }
            )
            if previous == _NONE:
                entries[parent]["child"] = index
            else:
                entries[previous]["right"] = index
            previous = index
            if is_folder:
                add(content, index)

    add(tree, 0)
    mini_stream, mini_fat, sectors, fat = b"", list[int](), list[bytes](), list[int]()

    def write(data: bytes) -> int:
        if not data:
            return _END
        pieces = [_pad(data, _SECTOR)[i : i + _SECTOR] for i in range(0, len(data), _SECTOR)]
        start = len(sectors)
        sectors.extend(pieces)
        fat.extend(_chain(start, len(pieces)))
        return start

    for entry in entries[1:]:
        data = entry["data"]
        if 0 < len(data) < _MINI_CUTOFF:
            entry["start"] = len(mini_stream) // _MINI_SECTOR
            count = -(-len(data) // _MINI_SECTOR)
            mini_fat += _chain(entry["start"], count)
            mini_stream += _pad(data, _MINI_SECTOR)
        elif data:
            entry["start"] = write(data)
    entries[0]["data"], entries[0]["start"] = mini_stream, write(mini_stream)
    mini_fat_bytes = b"".join(n.to_bytes(4, "little") for n in mini_fat)
    mini_fat_start = write(
        mini_fat_bytes + b"\xff" * (-len(mini_fat_bytes) % _SECTOR) if mini_fat else b""
    )
    directory = b"".join(map(_format_entry, entries))
    directory_start = write(_pad(directory, _SECTOR))
    fat_count = 1
    while (len(fat) + fat_count) * 4 > fat_count * _SECTOR:
        fat_count += 1
    fat_start = len(sectors)
    fat += [_FAT] * fat_count
    fat_bytes = b"".join(n.to_bytes(4, "little") for n in fat).ljust(fat_count * _SECTOR, b"\xff")
    mini_sector_count = -(-len(mini_fat_bytes) // _SECTOR)
    header = b"".join(
        [
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16),
            b"\x3e\x00\x03\x00\xfe\xff\x09\x00\x06\x00" + bytes(10),
            _format_numbers([fat_count, directory_start, 0, _MINI_CUTOFF]),
            _format_numbers([mini_fat_start, mini_sector_count, _END, 0]),
            _format_numbers([*range(fat_start, fat_start + fat_count)]).ljust(436, b"\xff"),
        ]
    )
    return header + b"".join(sectors) + fat_bytes


def _format_numbers(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def _format_entry(entry: Mapping[str, Any]) -> bytes:
    name = entry["name"].encode("utf-16-le")
    return b"".join(
        [
            name.ljust(64, b"\0"),
            (len(name) + 2).to_bytes(2, "little"),
            bytes([entry["kind"], 1]),
            _format_numbers([_NONE, entry.get("right", _NONE), entry["child"]]),
            bytes(16 + 4 + 16),
            _format_numbers([entry.get("start", 0 if entry["kind"] == 1 else _END)]),
            len(entry["data"]).to_bytes(8, "little"),
        ]
    )


def make_msg(
    texts: Mapping[str, str],
    *,
    numbers: Mapping[int, int] = {},
    binary: Mapping[str, bytes] = {},
    charset: str = "utf-16-le",
    folders: Mapping[str, Mapping[str, Any]] = {},
    header_size: int = 32,
) -> dict[str, Any]:
    """Return the tree of a message: `texts`, `numbers` and `binary` by number of the property."""
    kind = "001F" if charset == "utf-16-le" else "001E"
    tree: dict[str, Any] = {
        f"__substg1.0_{number}{kind}": text.encode(charset) for number, text in texts.items()
    }
    tree |= {f"__substg1.0_{number}0102": data for number, data in binary.items()}
    properties = b"".join(
        (number << 16 | 3).to_bytes(4, "little") + bytes(4) + value.to_bytes(8, "little")
        for number, value in numbers.items()
    )
    tree["__properties_version1.0"] = bytes(header_size) + properties
    return tree | dict(folders)


def make_file_time(moment: datetime) -> int:
    """Return a moment as the number of 100 ns since 1601."""
    return int((moment - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
