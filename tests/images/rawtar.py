"""Writes tar archives byte by byte.

Python's tarfile cannot write most of what a layer in the wild may hold (old GNU sparse headers, base-256 numbers,
duplicate entries, PAX records with binary values), and it corrects mistakes that we want to make. So the 512-byte
header is laid out here by hand. Names are bytes everywhere: a tar knows no encoding.
"""

import random

BLOCK = 512
EPOCH = 1_600_000_000  # 2020-09-13: the mtime of everything that does not say another

FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO, CONTIGUOUS = (bytes([c]) for c in b"01234567")
GNU_LONG_NAME, GNU_LONG_LINK, GNU_SPARSE = b"L", b"K", b"S"
PAX, PAX_GLOBAL = b"x", b"g"

USTAR_MAGIC = b"ustar\x0000"
GNU_MAGIC = b"ustar  \x00"
V7_MAGIC = b"\x00" * 8


def noise(size, seed=1):
    """Bytes that do not compress, the same every time."""
    return random.Random(seed).randbytes(size)


def number(value, width):
    """A numeric header field: octal where it fits, GNU's base-256 where it does not (also for negatives)."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    field = bytearray(value.to_bytes(width, "big", signed=value < 0))
    field[0] |= 0x80
    return bytes(field)


def pad(data):
    """`data` filled up with zeros to whole blocks."""
    return data + b"\0" * (-len(data) % BLOCK)


def pax_record(key, value):
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself too."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d" % length + body


def header(name, kind, *, mode=0o644, uid=0, gid=0, size=0, mtime=EPOCH, link=b"", magic=USTAR_MAGIC,
           uname=b"", gname=b"", major=0, minor=0, prefix=b"", tail=None, checksum=None):
    """One 512-byte header. `tail` replaces the bytes from 345 on (GNU keeps its sparse map there)."""
    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = number(mode, 8)
    block[108:116] = number(uid, 8)
    block[116:124] = number(gid, 8)
    block[124:136] = number(size, 12)
    block[136:148] = number(mtime, 12)
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[265:297] = uname.ljust(32, b"\0")
    block[297:329] = gname.ljust(32, b"\0")
    if magic != V7_MAGIC:
        block[329:337] = number(major, 8)
        block[337:345] = number(minor, 8)
    block[345:500] = prefix.ljust(155, b"\0")
    if tail is not None:
        block[345:345 + len(tail)] = tail
    block[148:156] = b"%06o\0 " % (sum(block) if checksum is None else checksum)
    return bytes(block)


def _bytes(value):
    return value.encode() if isinstance(value, str) else value


class Layer:
    """One tar, collected in memory (the big images have their own streaming writer)."""

    def __init__(self):
        self.parts = []

    def raw(self, data):
        """Bytes as they are, for what has no method here."""
        self.parts.append(data)

    def pax(self, records, kind=PAX):
        """A PAX header: `records` is a list of (key, value); kind `g` makes it global."""
        body = b"".join(pax_record(_bytes(k), _bytes(v)) for k, v in records)
        self.raw(header(b"PaxHeaders/x", kind, size=len(body)) + pad(body))

    def gnu_long(self, kind, text):
        """GNU's `././@LongLink` entry; the text ends with a NUL that its size counts."""
        body = text + b"\0"
        self.raw(header(b"././@LongLink", kind, mode=0, mtime=0, size=len(body), magic=GNU_MAGIC) + pad(body))

    def entry(self, name, kind=FILE, data=b"", *, link=b"", pax=(), long="pax", **fields):
        """An entry. Names that do not fit the header go the way that `long` says: pax, gnu, or ustar (prefix)."""
        name, link, records = _bytes(name), _bytes(link), list(pax)
        prefix = b""
        if len(name) > 100:
            if long == "gnu":
                self.gnu_long(GNU_LONG_NAME, name)
            elif long == "ustar":
                cut = name.rindex(b"/", 0, 156)
                prefix, name = name[:cut], name[cut + 1:]
                assert len(name) <= 100, "no slash where ustar needs one"
            else:
                records.append((b"path", name))
        if len(link) > 100:
            if long == "gnu":
                self.gnu_long(GNU_LONG_LINK, link)
            else:
                records.append((b"linkpath", link))
        if long == "gnu":
            fields.setdefault("magic", GNU_MAGIC)
        if records:
            self.pax(records)
        fields.setdefault("mode", 0o755 if kind == DIR else 0o644)
        fields.setdefault("size", len(data))
        self.raw(header(name, kind, link=link, prefix=prefix, **fields) + pad(data))

    def file(self, name, data=b"", **fields):
        """A regular file."""
        self.entry(name, FILE, _bytes(data), **fields)

    def dir(self, name, **fields):
        """A directory, with the slash at the end that tars have."""
        name = _bytes(name)
        self.entry(name if name.endswith(b"/") else name + b"/", DIR, **fields)

    def symlink(self, name, target, **fields):
        """A symbolic link."""
        self.entry(name, SYMLINK, link=target, **{"mode": 0o777, **fields})

    def hardlink(self, name, target, **fields):
        """A hard link to a path of the root filesystem."""
        self.entry(name, LINK, link=target, **fields)

    def whiteout(self, path):
        """Deletes `path` of the layers below."""
        head, _, tail = _bytes(path).rpartition(b"/")
        self.file((head + b"/" if head else b"") + b".wh." + tail, mode=0)

    def opaque(self, path):
        """Hides all that the layers below have in the directory `path`."""
        path = _bytes(path)
        self.file((path + b"/" if path else b"") + b".wh..wh..opq", mode=0)

    def bytes(self, end_blocks=2):
        """The whole tar, with so many zero blocks at its end (two by the standard)."""
        return b"".join(self.parts) + b"\0" * (BLOCK * end_blocks)


# Sparse files. A map is a list of (offset, length); `content` is the concatenation of the mapped pieces.


def sparse_gnu(layer, name, size, chunks, content, **fields):
    """The old GNU format: four map entries in the header, the rest in extension blocks of 21."""
    def pairs(some, room):
        body = b"".join(number(o, 12) + number(n, 12) for o, n in some)
        return body.ljust(24 * room, b"\0")

    more = chunks[4:]
    tail = bytearray(155)
    tail[41:137] = pairs(chunks[:4], 4)  # at 386
    tail[137] = 1 if more else 0         # at 482: an extension block follows
    tail[138:150] = number(size, 12)     # at 483: the size with its holes
    extensions = b""
    while more:
        block, more = more[:21], more[21:]
        extensions += (pairs(block, 21) + (b"\1" if more else b"\0")).ljust(BLOCK, b"\0")
    layer.raw(header(_bytes(name), GNU_SPARSE, size=len(content), magic=GNU_MAGIC, tail=bytes(tail), **fields))
    layer.raw(extensions + pad(content))


def sparse_pax_0_0(layer, name, size, chunks, content, **fields):
    """PAX 0.0: a pair of repeated records for every piece."""
    records = [("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(chunks)))]
    for offset, length in chunks:
        records += [("GNU.sparse.offset", str(offset)), ("GNU.sparse.numbytes", str(length))]
    layer.file(name, content, pax=records, **fields)


def sparse_pax_0_1(layer, name, size, chunks, content, **fields):
    """PAX 0.1: the map in one record, the name in another."""
    table = ",".join(f"{o},{n}" for o, n in chunks)
    layer.file("GNUSparseFile.0/x", content, pax=[
        ("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(chunks))),
        ("GNU.sparse.map", table), ("GNU.sparse.name", name)], **fields)


def sparse_pax_1_0(layer, name, size, chunks, content, **fields):
    """PAX 1.0: the map in decimal lines before the data, padded to whole blocks."""
    lines = [len(chunks)] + [n for pair in chunks for n in pair]
    table = pad(b"".join(b"%d\n" % n for n in lines))
    layer.file("GNUSparseFile.0/x", table + content, pax=[
        ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", name), ("GNU.sparse.realsize", str(size))], **fields)


# size, map: what every sparse format has to be able to say.
SPARSE_CASES = {
    "aligned": (1 << 20, [(0, 4096), (65536, 4096), (1 << 19, 8192)]),
    "unaligned": (100_000, [(1, 10), (777, 1000), (5000, 511), (70_001, 29_998)]),
    "hole-at-end": (300_000, [(0, 512), (1000, 24)]),
    "hole-at-end-marked": (300_000, [(0, 512), (300_000, 0)]),
    "all-hole": (1 << 22, [(1 << 22, 0)]),
    "all-hole-no-map": (1 << 20, []),
    "no-hole": (5000, [(0, 5000)]),
    "empty": (0, [(0, 0)]),
    "tail-only": (50_000, [(49_999, 1)]),
    "touching": (9000, [(0, 1000), (1000, 1000), (2000, 3000), (8000, 1000)]),
    "five-pieces": (60_000, [(i * 10_000 + 3, 100 + i) for i in range(5)]),
    "large-hole": (20 << 20, [(0, 100), (17_000_001, 1000)]),
    "many-pieces": (3_000_000, [(i * 10_000, 700) for i in range(300)]),
}
