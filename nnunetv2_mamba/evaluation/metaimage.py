"""Headers of MetaImage files (.mha), and how many bytes have to follow them."""

import math
import re
from collections.abc import Mapping
from typing import BinaryIO

_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
"""Size of a number of each type; those whose size depends on the machine are left out."""

_MOST_LINES, _LONGEST_LINE = 1000, 4096


def holds_its_voxels(file: BinaryIO, size: int) -> bool:
    """Whether a file is as long as its header says, as far as the header says it.

    Args:
        file: at its start.
        size: of the file in bytes.
    """
    header: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE)
        if not line:
            # The header ends before its last line; what does not start like one is another file.
            return not header.keys() & {"ObjectType", "NDims"}
        key, *value = re.split(r"\s*[=:]\s*", line.decode("latin-1").strip(), maxsplit=1)
        header[key] = "".join(value)
        if key == "ElementDataFile":
            needed = _bytes_of_voxels(header)
            return needed is None or size - file.tell() >= needed
    return True


def _bytes_of_voxels(header: Mapping[str, str]) -> int | None:
    """How many bytes follow the header; None where it does not say, or they lie in another file."""
    binary = header.get("BinaryData", "").lower() == "true"
    if header["ElementDataFile"] != "LOCAL" or "HeaderSize" in header or not binary:
        return None
    try:
        if header.get("CompressedData", "").lower() == "true":
            return int(header["CompressedDataSize"])
        voxels = math.prod(int(size) for size in header["DimSize"].split())
        return voxels * int(header.get("ElementNumberOfChannels", 1)) * _BYTES[header["ElementType"]]
    except (KeyError, ValueError):
        return None
