"""CRC-32C (Castagnoli), the checksum of headers and payloads, one table lookup a byte.

`crc32c(b, crc32c(a))` is the checksum of `a + b`, so parts that are not adjacent need no copy.
"""

_POLYNOMIAL = 0x82F63B78


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def crc32c(data: bytes, before: int = 0) -> int:
    """The checksum of `data`, continuing from `before`, the checksum of what precedes it."""
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
