"""The header of a PLY file, read strictly: nothing in it is believed before the size of the file confirms it."""

import io
import re
from dataclasses import dataclass

import numpy as np

from gen3d.errors import BadInput

HEADER_LIMIT = 65_536  # bytes
ENCODINGS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}  # byte order for numpy
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """One table of a PLY file.

    Attributes:
        name: such as vertex.
        count: number of rows.
        properties: the type code of numpy by name, in the order of the file; lists are missing here.
        lists: names of the properties of varying length.
    """

    name: str
    count: int
    properties: dict[str, str]
    lists: tuple[str, ...]

    def dtype(self, order: str) -> np.dtype:
        """One binary row in the byte order `<` or `>`; packed, as PLY has no padding."""
        return np.dtype([(name, order + code) for name, code in self.properties.items()])


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header.

    Attributes:
        order: byte order of the body, `<` or `>`; empty for text.
        elements: the tables in the order of the file.
        comments: the text of every comment line.
        size: bytes of the header; the body begins there.
    """

    order: str
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    size: int

    def element(self, name: str) -> Element | None:
        """The first table of that name."""
        return next((element for element in self.elements if element.name == name), None)


def parse_header(data: bytes, name: str) -> Header:
    """Read the header at the start of `data`.

    Raises:
        BadInput: it is not a PLY header, or breaks a rule of the format.
    """
    if not re.match(rb"ply[ \t]*\r?\n", data):
        raise BadInput(f"{name} does not start with the word ply, so it is not a PLY file; check where it comes from")
    end = re.search(rb"\nend_header[ \t]*\r?\n", data[:HEADER_LIMIT])
    if end is None:
        raise BadInput(f"{name} has no end_header line in its first {HEADER_LIMIT:,} bytes; it is cut off or not a PLY file")
    order: str | None = None
    comments: list[str] = []
    elements: list[Element] = []
    properties: dict[str, str] = {}
    lists: list[str] = []
    for line in data[: end.start()].decode("utf-8", "replace").split("\n")[1:]:
        match line.split():
            case ["comment" | "obj_info", *_]:
                comments.append(line.strip().partition(" ")[2])
            case ["format", encoding, "1.0"] if encoding in ENCODINGS and order is None:
                order = ENCODINGS[encoding]
            case ["element", title, count] if count.isascii() and count.isdigit() and len(count) <= 12:
                properties, lists = {}, []
                elements.append(Element(title, int(count), properties, ()))
            case ["property", "list", size, kind, title] if elements and size in TYPES and kind in TYPES and title not in lists:
                lists.append(title)
                elements[-1] = Element(elements[-1].name, elements[-1].count, properties, tuple(lists))
            case ["property", kind, title] if elements and kind in TYPES and title not in properties:
                properties[title] = TYPES[kind]
            case []:
                pass
            case _:
                raise BadInput(f"{name} has the header line {line.strip()[:80]!r}, which breaks the PLY format; write it again")
    if order is None:
        raise BadInput(f"{name} has no format line; a PLY file names ascii, binary_little_endian or binary_big_endian 1.0")
    return Header(order, tuple(elements), tuple(comments), end.end())


def read_rows(data: bytes, header: Header, element: Element, name: str) -> np.ndarray:
    """The rows of one table as a structured array `[count]`; binary ones are a view of `data`.

    Raises:
        BadInput: the file is shorter than its header says, or lists of varying length hide where the rows are.
    """
    before = header.elements[: header.elements.index(element)]
    if listed := [e.name for e in (*before, element) if e.lists and (header.order or e is element)]:
        raise BadInput(f"{name} has lists in its element {listed[0]}, so its rows cannot be located; write it without lists")
    if not header.order:
        return _read_text_rows(data, header.size, sum(e.count for e in before), element, name)
    start = header.size + sum(e.count * e.dtype(header.order).itemsize for e in before)
    dtype = element.dtype(header.order)
    present = max(0, len(data) - start) // dtype.itemsize
    if present < element.count:
        raise BadInput(f"{name} promises {element.count:,} rows and holds {present:,}; it is cut off: write or download it again")
    return np.frombuffer(data, dtype, element.count, start)


def _read_text_rows(data: bytes, start: int, skipped: int, element: Element, name: str) -> np.ndarray:
    """Rows of numbers in text, one line each, as float64."""
    width = len(element.properties)
    # The shortest row has a digit and a separator per number; only the last one may lack its separator.
    if (skipped + element.count * width) * 2 > len(data) - start + 1:
        raise BadInput(f"{name} promises {element.count:,} rows and is too short for them; it is cut off: write or download it again")
    lines = io.BytesIO(data)
    lines.seek(start)
    for _ in range(skipped):
        lines.readline()
    rows = np.empty((element.count, width))
    for number, row in enumerate(rows):
        fields = lines.readline().split()
        try:
            row[:] = np.fromiter(map(float, fields), float, width)
            complete = len(fields) == width
        except ValueError:
            complete = False
        if not complete:
            raise BadInput(f"{name} does not have {width} numbers in row {number} of {element.count:,}; write or download it again")
    return rows.view(np.dtype([(title, "f8") for title in element.properties]))[:, 0]
