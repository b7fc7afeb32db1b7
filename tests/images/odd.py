"""Tricks that a reference tool refuses, or that the tools take differently: an image `odd-THEME` of each.

The docstrings say who refuses what (umoci 0.4.7, containers/storage of buildah 1.28 and skopeo 1.9); SEMANTICS.md says what we do.
torture.py builds them.
"""

import rawtar
from rawtar import CHAR, CONTIGUOUS, FIFO

THEMES = {}


def theme(function):
    """A theme: writes into some of the layers it is given, becomes an image of its own."""
    THEMES[function.__name__] = function
    return function


@theme
def duplicates(layers):
    """The same name twice in one layer: the last wins. containers/storage refuses (tar-split); umoci is the truth."""
    a = layers[0]
    a.dir("duplicates")
    a.file("duplicates/file", b"first, longer\n", mode=0o600, uid=1)
    a.file("duplicates/file", b"last\n", mode=0o644, uid=2)
    a.dir("duplicates/dir", mode=0o700, uid=1)
    a.file("duplicates/dir/child", b"stays\n")
    a.dir("duplicates/dir", mode=0o755, uid=2, mtime=42)
    a.dir("duplicates/dir-to-file")
    a.file("duplicates/dir-to-file", b"file over an empty directory\n")
    a.file("duplicates/file-to-dir", b"gone\n")
    a.dir("duplicates/file-to-dir")
    a.file("duplicates/file-to-dir/child", b"c\n")
    a.dir("duplicates/dir-to-symlink")
    a.symlink("duplicates/dir-to-symlink", "dir")
    a.symlink("duplicates/symlink-to-file", "file")
    a.file("duplicates/symlink-to-file", b"must not be written through the link\n")
    a.symlink("duplicates/symlink-to-dir", "dir")
    a.dir("duplicates/symlink-to-dir", mode=0o701)
    a.entry("duplicates/fifo-to-device", FIFO)
    a.entry("duplicates/fifo-to-device", CHAR, major=1, minor=7)
    # The link's target is replaced within the same layer, after the link.
    a.file("duplicates/moved", b"before\n")
    a.hardlink("duplicates/moved-link", "duplicates/moved")
    a.file("duplicates/moved", b"after\n")
    # A link over a file of its own layer.
    a.file("duplicates/over", b"will be a link\n")
    a.hardlink("duplicates/over", "duplicates/moved")


@theme
def sparse_gnu(layers):
    """The old GNU sparse format. Go's own users refuse type S; libarchive is the truth.

    Where a piece ends within a block and another follows, readers part: Go, libarchive and Python take the pieces one
    directly after the other, GNU tar begins each at a block (and never writes such a map itself).
    """
    layers[0].dir("sparse")
    for case, (size, chunks) in rawtar.SPARSE_CASES.items():
        rawtar.sparse_gnu(layers[0], f"sparse/gnu-{case}", size, chunks, rawtar.noise(sum(n for _, n in chunks), len(case)))
    layers[0].hardlink("sparse/link", "sparse/gnu-unaligned")
    rawtar.sparse_gnu(layers[1], "sparse/gnu-aligned", *rawtar.SPARSE_CASES["unaligned"], rawtar.noise(31_519, 5))


@theme
def contiguous(layers):
    """Type 7 is a regular file by POSIX. Refused by both Go tools; libarchive is the truth."""
    layers[0].entry("contiguous/file", CONTIGUOUS, b"type 7 is a regular file\n", mode=0o640)


@theme
def global_comment(layers):
    """A global PAX header with nothing that counts, as git archive writes it. umoci refuses."""
    layers[0].pax([("comment", "a commit's name"), ("x-unknown", "1")], kind=rawtar.PAX_GLOBAL)
    layers[0].file("global/after", b"g")


@theme
def through_symlink(layers):
    """The parent of an entry is a symlink, in the same layer or in a lower one."""
    a, b = layers[0], layers[1]
    a.dir("through/real")
    a.file("through/real/lower", b"lower\n")
    a.symlink("through/alias", "real")
    a.symlink("through/absolute", "/through/real")
    a.file("through/alias/same-layer", b"same layer\n")
    b.file("through/alias/upper", b"upper\n")
    b.file("through/absolute/upper-absolute", b"upper\n")
    b.dir("through/alias/subdir")
    b.whiteout("through/alias/lower")


@theme
def link_to_lower(layers):
    """A hard link to a file that only a lower layer holds."""
    a, b = layers[0], layers[1]
    a.file("lower/file", b"in the lower layer\n", mode=0o600, uid=3)
    b.hardlink("lower/link", "lower/file", mode=0o600, uid=3)
    layers[2].hardlink("lower/third", "lower/link", mode=0o600, uid=3)


@theme
def link_fields(layers):
    """The link's header disagrees with its target: mode, owner, time."""
    layers[0].file("fields/target", b"t\n", mode=0o600, uid=1, gid=1, mtime=1000)
    layers[0].hardlink("fields/link", "fields/target", mode=0o755, uid=2, gid=2, mtime=2000)


@theme
def negative_times(layers):
    """Before 1970, by base-256 and by PAX; Go's reader and ext4 have opinions."""
    a = layers[0]
    a.dir("negative")
    a.file("negative/header", b"t", mtime=-1)
    a.file("negative/header-far", b"t", mtime=-(2**31))
    a.file("negative/pax", b"t", pax=[("mtime", "-1")])
    a.file("negative/pax-half", b"t", pax=[("mtime", "-1.5")])
    a.file("negative/pax-nano", b"t", pax=[("mtime", "-0.000000001")])
    a.symlink("negative/link", "pax", pax=[("mtime", "-1000.25")])


@theme
def far_times(layers):
    """Beyond what nanoseconds in 64 bits can say (2262, umoci wraps, containers/storage takes 1970) and ext4 can store (2446)."""
    layers[0].file("far/after-2262", b"t", mtime=9_300_000_000)
    layers[0].file("far/ext4-last", b"t", mtime=2**34 - 2**31 - 1)
    layers[0].file("far/header", b"t", mtime=2**40)
    layers[0].file("far/pax", b"t", pax=[("mtime", "99999999999.5")])


@theme
def xattr_large(layers):
    """Values that ext4 has no room for: 64 KiB is the kernel's own limit."""
    layers[0].file("xattrs/65536", b"x", pax=[("SCHILY.xattr.user.max", rawtar.noise(65536))])
    layers[0].file("xattrs/many", b"x", pax=[(f"SCHILY.xattr.user.k{i}", rawtar.noise(1000, i)) for i in range(50)])


@theme
def xattr_empty(layers):
    """An empty PAX value means "delete this record", so an empty xattr cannot be said that way."""
    layers[0].file("xattrs/empty", b"x", pax=[("SCHILY.xattr.user.empty", ""), ("SCHILY.xattr.user.full", "1")])


@theme
def xattr_symlink(layers):
    """xattrs of things that are not files: user.* is forbidden there, trusted.* is not."""
    layers[0].symlink("xattrs/trusted", "target", pax=[("SCHILY.xattr.trusted.clip", "on a symlink")])
    layers[0].entry("xattrs/fifo", FIFO, pax=[("SCHILY.xattr.trusted.clip", "on a fifo")])
    layers[0].symlink("xattrs/user", "target", pax=[("SCHILY.xattr.user.clip", "on a symlink")])


@theme
def xattr_overlay(layers):
    """An image that was made from an overlay's upper directory by mistake."""
    layers[0].dir("overlay", pax=[("SCHILY.xattr.trusted.overlay.opaque", "y")])
    layers[0].file("overlay/file", b"x")
    layers[1].dir("overlay", pax=[("SCHILY.xattr.trusted.overlay.opaque", "y")])


@theme
def chardev00(layers):
    """A 0:0 character device is a whiteout to overlay, and an honest device to a tar."""
    layers[0].entry("device/zero", CHAR, major=0, minor=0)
    layers[0].file("device/file", b"x")
    layers[1].entry("device/file", CHAR, major=0, minor=0)


@theme
def same_layer_whiteouts(layers):
    """A whiteout and its name in one layer. The OCI text: whiteouts hide lower layers only."""
    a, b = layers[0], layers[1]
    for name in ("before", "after", "dir-before", "dir-after", "child"):
        if name.startswith("dir"):
            a.file(f"same/{name}/lower", b"lower\n")
        else:
            a.file(f"same/{name}", b"lower\n")
    b.whiteout("same/before")
    b.file("same/before", b"upper\n")
    b.file("same/after", b"upper\n")
    b.whiteout("same/after")
    b.whiteout("same/dir-before")
    b.file("same/dir-before/upper", b"upper\n")
    b.file("same/dir-after/upper", b"upper\n")
    b.whiteout("same/dir-after")
    b.file("same/only-here", b"upper\n")
    b.whiteout("same/only-here")


@theme
def opaque_bare(layers):
    """Opaque markers where the layer says nothing else of the directory, and of directories that never were."""
    layers[0].file("bare/dir/lower", b"lower\n")
    layers[1].opaque("bare/dir")
    layers[1].opaque("bare/never")
    layers[1].file("bare/after", b"x")


@theme
def opaque_root(layers):
    """The whole of the lower layers is hidden."""
    layers[0].file("lower/file", b"lower\n")
    layers[0].file("top", b"lower\n")
    layers[1].opaque("")
    layers[1].file("upper", b"upper\n")


@theme
def opaque_file(layers):
    """An opaque marker in what is a file below; a whiteout below a file; a whiteout through a symlink."""
    layers[0].file("strange/file", b"lower\n")
    layers[0].file("strange/dir/child", b"lower\n")
    layers[0].symlink("strange/link", "dir")
    layers[1].opaque("strange/file")
    layers[1].whiteout("strange/link/child")


@theme
def wh_names(layers):
    """Names that begin as whiteouts do, and AUFS's own leftovers."""
    a, b = layers[0], layers[1]
    a.file("wh/kept", b"x")
    a.file("wh/.wh..wh.plnk/1.2", b"aufs: hard links")
    a.file("wh/.wh..wh.aufs", b"aufs: marker")
    a.dir("wh/.wh..wh.orph")
    b.dir("wh/.wh.as-dir")
    b.file("wh/.wh.as-dir/child", b"x")
    b.file("wh/.wh.with-content", b"content is ignored")
    b.file("wh/.wh..wh..opq.x", b"not quite opaque")


@theme
def wh_empty(layers):
    """A whiteout of a name of no bytes: umoci deletes the directory's whole content."""
    layers[0].file("wh/kept", b"x")
    layers[1].file("wh/.wh.", b"")
    layers[1].file("wh/upper", b"x")


@theme
def dup_full_dir(layers):
    """A file over a directory that has entries, within one layer and over layers by links."""
    a = layers[0]
    a.file("full/dir/child", b"c\n")
    a.file("full/dir", b"now a file\n")
    a.file("full/dir2/child", b"c\n")
    a.symlink("full/dir2", "dir")
    a.file("full/file", b"f\n")
    a.file("full/file/child", b"the parent is a file\n")


@theme
def sparse_huge(layers):
    """Offsets beyond 32 bits. An image of its own because hashing 6 GiB of zeros takes its time."""
    rawtar.sparse_gnu(layers[0], "huge/gnu", 6 << 30, [(0, 100), (5_000_000_001, 1000)], rawtar.noise(1100))


@theme
def sparse_map(layers):
    """Sparse maps at the edge: an empty map record, pieces out of order, a piece of no bytes in the middle."""
    rawtar.sparse_pax_0_1(layers[0], "map/empty", 4096, [], b"")
    rawtar.sparse_gnu(layers[0], "map/zero-piece", 9000, [(0, 100), (500, 0), (8000, 100)], rawtar.noise(200))


@theme
def global_path(layers):
    """Global PAX headers that set what every later entry has."""
    a = layers[0]
    a.pax([("uid", "4242"), ("mtime", "1000000000")], kind=rawtar.PAX_GLOBAL)
    a.file("global/inherits", b"g")
    a.file("global/own", b"g", pax=[("uid", "7")])
    layers[1].file("global/next-layer", b"g")


@theme
def uid_max(layers):
    """2^32-1 means "leave as it is" to chown."""
    layers[0].file("max/uid", b"u", uid=2**32 - 1, gid=2**32 - 1)


@theme
def unknown_type(layers):
    """Type letters that nobody defined: POSIX says, treat as a regular file."""
    layers[0].entry("unknown/upper-z", b"Z", b"vendor\n")
    layers[0].entry("unknown/volume", b"V", b"")
    layers[0].entry("unknown/dumpdir", b"D", b"Yfile\0\0")
    layers[0].file("unknown/after", b"after\n")


@theme
def names_dots(layers):
    """Names of `.` and `..` in the middle, and a name that is empty."""
    layers[0].file("dots/a/../../dots/b", b"..\n")
    layers[0].file("../dots/climbs", b"the root's parent is the root\n")
    layers[0].file("dots/./c/.", b"a file called .\n")


@theme
def no_end(layers):
    """A layer that is cut at the last entry, without end blocks: Go accepts it."""
    layers[0].file("end/file", b"no end blocks\n")
