"""The hostile images: what nobody honest makes. `clipctl index` must end each with a clear error or a harmless tree.

    hostile.py DIR [NAME...]

Each image `hostile-NAME` has one thing wrong. DIR/hostile.json says what may come of it: `refuse` (a non-zero exit, an
error that names the layer or the manifest, no file), `contain` (either that, or an archive whose tree stays within its
root and serves no wrong byte), `accept` (strange, but honest readers take it).
"""

import hashlib
import json
import os
import subprocess
import sys
import zlib

import oci
import rawtar
from hostile_manifests import IMAGES, image
from rawtar import CHAR, DIR, FILE, LINK, Layer

BOMB_BYTES = 1 << 30


def tarred(outcome):
    """Registers a builder of one layer's tar: function(layer) writes entries, or returns the finished bytes."""
    def register(function):
        def build(layout):
            layer = Layer()
            layer.file("honest", b"an honest file before\n")
            made = function(layer)
            return layout.image([layout.layer(layer.bytes() if made is None else made)])
        IMAGES[function.__name__.replace("_", "-")] = (build, outcome)
        return function
    return register


def packed(outcome):
    """Registers a breaker of compressed layers: function(gzip bytes, tar) -> bytes; the digest is right for them."""
    def register(function):
        def build(layout):
            tar = sample()
            return layout.image([(layout.blob(function(oci.gz(tar), tar), oci.LAYER + "+gzip"), oci.sha256(tar))])
        IMAGES[function.__name__.replace("_", "-")] = (build, outcome)
        return function
    return register


def sample(size=3 << 20):
    """A tar of some MB that compresses a little."""
    layer = Layer()
    for i in range(8):
        layer.file(f"dir/file-{i}", b"".join(b"%d line of text, %d\n" % (j * 7919 % 65521, i) for j in range(size // 8 // 24)))
    return layer.bytes()


# Entries


@tarred("contain")
def dotdot(layer):
    layer.file("../../../../../../tmp/clip-escaped", b"out\n")
    layer.file("a/../../../../../tmp/clip-escaped", b"out\n")
    layer.symlink("../clip-escaped-link", "/etc/passwd")


@tarred("contain")
def absolute(layer):
    layer.file("/tmp/clip-escaped", b"out\n")
    layer.dir("/")
    layer.file("//tmp//clip-escaped2", b"out\n")


@tarred("contain")
def symlink_out(layer):
    layer.symlink("out", "/tmp")
    layer.file("out/clip-escaped", b"out\n")
    layer.symlink("up", "../../../../../../tmp")
    layer.file("up/clip-escaped", b"out\n")


@tarred("contain")
def link_out(layer):
    layer.hardlink("passwd", "../../../../../../etc/passwd")


@tarred("contain")
def link_absolute_out(layer):
    layer.hardlink("passwd", "/etc/passwd")


@tarred("refuse")
def link_to_nowhere(layer):
    layer.hardlink("link", "no/such/file")


@tarred("contain")
def link_to_itself(layer):
    layer.hardlink("self", "self")


@tarred("refuse")
def link_cycle(layer):
    layer.hardlink("a", "b")
    layer.hardlink("b", "a")


@tarred("refuse")
def link_to_directory(layer):
    layer.dir("dir")
    layer.hardlink("dir-link", "dir")


@tarred("contain")
def link_with_data(layer):
    layer.entry("link", LINK, b"x" * 512, link="honest")


@tarred("contain")
def symlink_loop_parent(layer):
    layer.symlink("a", "b")
    layer.symlink("b", "a")
    layer.file("a/file", b"x")


@tarred("contain")
def symlink_self_parent(layer):
    layer.symlink("self", "self")
    layer.file("self/self/self/file", b"x")


@tarred("contain")
def symlink_chain_parent(layer):
    """Deeper than the kernel's limit of 40."""
    layer.dir("s0")
    for i in range(100):
        layer.symlink(f"s{i + 1}", f"s{i}")
    layer.file("s100/file", b"x")


@tarred("contain")
def symlink_doubling(layer):
    """Each link's target goes through the last one twice: a resolver without a budget takes 2^40 steps."""
    layer.dir("d0")
    layer.symlink("d0/l", ".")
    for i in range(40):
        layer.symlink(f"x{i + 1}", f"x{i}/../x{i}" if i else "d0/l/../d0")
    layer.file("x40/file", b"x")


@tarred("contain")
def parent_is_a_file(layer):
    layer.file("honest/child", b"x")


@tarred("contain")
def parent_is_a_device(layer):
    layer.entry("device", CHAR, major=1, minor=3)
    layer.file("device/child", b"x")


@tarred("contain")
def root_is_a_file(layer):
    layer.file(".", b"the root itself\n")
    layer.file("./", b"and again\n")


@tarred("contain")
def root_whiteout(layer):
    layer.file(".wh..", b"")
    layer.file(".wh...", b"")


@tarred("contain")
def root_symlink(layer):
    layer.symlink("./", "/etc")


@tarred("refuse")
def name_empty(layer):
    layer.file("", b"no name\n")


@tarred("refuse")
def name_too_long(layer):
    layer.file("n" * 256, b"a component of 256 bytes\n")


@tarred("refuse")
def name_huge(layer):
    layer.gnu_long(rawtar.GNU_LONG_NAME, b"a/" * (8 << 20))
    layer.file("x", b"")


@tarred("contain")
def name_nul(layer):
    layer.pax([("path", b"before\0after")])
    layer.file("x", b"")


@tarred("contain")
def path_longest(layer):
    layer.file("/".join(["d" * 200] * 200), b"a path of 40,000 bytes")


@tarred("contain")
def symlink_too_long(layer):
    layer.symlink("link", "t" * 5000)


@tarred("contain")
def symlink_empty(layer):
    layer.symlink("link", "")


@tarred("contain")
def deep_10000(layer):
    layer.file("d/" * 10_000 + "bottom", b"x")


# Numbers


@tarred("refuse")
def size_absurd(layer):
    layer.raw(rawtar.header(b"big", FILE, size=2**62))


@tarred("refuse")
def size_max(layer):
    layer.raw(rawtar.header(b"big", FILE, size=2**64 - 1))


@tarred("refuse")
def size_negative(layer):
    layer.raw(rawtar.header(b"negative", FILE, size=-1))


@tarred("refuse")
def size_lies(layer):
    """The header claims more than the archive has."""
    layer.raw(rawtar.header(b"long", FILE, size=10 << 20) + b"only this" + b"\0" * 503)


@tarred("refuse")
def size_garbage(layer):
    head = bytearray(rawtar.header(b"garbage", FILE, size=1))
    head[124:136] = b"12garbage89\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    layer.raw(bytes(head) + rawtar.pad(b"x"))


@tarred("contain")
def size_of_directory(layer):
    """Directories have no data, whatever their size says."""
    layer.entry("dir/", DIR, size=4096, data=b"")
    layer.file("dir/after", b"x")


@tarred("contain")
def numbers_absurd(layer):
    layer.file("uid", b"x", uid=2**40, gid=2**40)
    layer.file("mode", b"x", mode=0o7777777)
    layer.file("mtime", b"x", mtime=2**62)
    layer.entry("device", CHAR, major=2**31, minor=2**31)


@tarred("refuse")
def pax_size_absurd(layer):
    layer.raw(rawtar.header(b"PaxHeaders/x", rawtar.PAX, size=8 << 30))


@tarred("refuse")
def pax_malformed(layer):
    body = b"999999 path=x\n"
    layer.raw(rawtar.header(b"PaxHeaders/x", rawtar.PAX, size=len(body)) + rawtar.pad(body))
    layer.file("x", b"")


@tarred("refuse")
def pax_number_malformed(layer):
    layer.file("x", b"", pax=[("uid", "many"), ("mtime", "yesterday")])


@tarred("refuse")
def pax_size_negative(layer):
    layer.file("x", b"", pax=[("size", "-5")])


@tarred("contain")
def pax_xattr_absurd(layer):
    layer.file("name", b"x", pax=[("SCHILY.xattr.user." + "n" * 1000, "v")])
    layer.file("value", b"x", pax=[("SCHILY.xattr.user.v", b"v" * 200_000)])
    layer.file("space", b"x", pax=[("SCHILY.xattr.bogus.v", "v"), ("SCHILY.xattr.", "v")])
    layer.file("nul", b"x", pax=[("SCHILY.xattr.user.a\0b", "v")])


@tarred("contain")
def pax_alone(layer):
    """A PAX header with nothing behind it."""
    layer.pax([("path", "x")])


@tarred("contain")
def pax_xattr_count(layer):
    layer.file("many", b"x", pax=[(f"SCHILY.xattr.user.{i}", "v") for i in range(100_000)])


@tarred("refuse")
def sparse_overlap(layer):
    rawtar.sparse_gnu(layer, "x", 1000, [(0, 500), (100, 500)], b"x" * 1000)


@tarred("refuse")
def sparse_backwards(layer):
    rawtar.sparse_pax_1_0(layer, "x", 10_000, [(5000, 100), (0, 100)], b"x" * 200)


@tarred("refuse")
def sparse_beyond_size(layer):
    rawtar.sparse_pax_0_1(layer, "x", 100, [(0, 500)], b"x" * 500)


@tarred("refuse")
def sparse_more_than_data(layer):
    rawtar.sparse_gnu(layer, "x", 10_000, [(0, 5000)], b"x" * 100)


@tarred("refuse")
def sparse_count_absurd(layer):
    layer.file("GNUSparseFile.0/x", rawtar.pad(b"99999999999999\n0\n1\n"), pax=[
        ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "x"), ("GNU.sparse.realsize", "1")])


@tarred("refuse")
def sparse_overflow(layer):
    rawtar.sparse_pax_0_0(layer, "x", 2**63 - 1, [(2**63 - 10, 100)], b"x" * 100)


@tarred("contain")
def sparse_exabytes(layer):
    """All hole, 8 EiB: honest, and fatal to whoever allocates it."""
    rawtar.sparse_pax_1_0(layer, "x", 2**63 - 1, [(2**63 - 1, 0)], b"")


# Tar structure


@tarred("refuse")
def checksum(layer):
    layer.raw(rawtar.header(b"bad", FILE, checksum=12345))
    layer.file("after", b"x")


@tarred("refuse")
def not_a_tar(_layer):
    return b"this is not a tar archive\n" * 1000


@tarred("accept")
def tar_of_nothing(_layer):
    return b""


@tarred("accept")
def tar_of_end_blocks(_layer):
    return b"\0" * 1024


@tarred("accept")
def tar_with_tail(layer):
    """Behind the end blocks comes what no reader looks at; the diff_id covers it."""
    return layer.bytes() + b"garbage behind the end\n" * 100


@tarred("contain")
def tar_one_zero_block(layer):
    """A single zero block in the middle is no end, to some."""
    layer.raw(b"\0" * 512)
    layer.file("after-one-zero-block", b"x")


@tarred("refuse")
def tar_cut_in_header(layer):
    return layer.bytes(0) + rawtar.header(b"cut", FILE)[:200]


@tarred("refuse")
def tar_cut_in_data(layer):
    layer.file("cut", b"x" * 5000)
    return layer.bytes(0)[:-3000]


@tarred("contain")
def tar_cut_in_padding(layer):
    return layer.bytes(0)[:-100]


# Compression


@packed("refuse")
def gzip_truncated(packed_bytes, _tar):
    return packed_bytes[:len(packed_bytes) // 2]


@packed("refuse")
def gzip_no_trailer(packed_bytes, _tar):
    return packed_bytes[:-8]


@packed("refuse")
def gzip_corrupt_block(packed_bytes, _tar):
    middle = len(packed_bytes) // 2
    return packed_bytes[:middle] + bytes(b ^ 0xFF for b in packed_bytes[middle:middle + 64]) + packed_bytes[middle + 64:]


@packed("contain")
def gzip_wrong_crc(packed_bytes, _tar):
    """The diff_id, which is right, says more of the bytes than the CRC."""
    return packed_bytes[:-8] + b"\0\0\0\0" + packed_bytes[-4:]


@packed("contain")
def gzip_wrong_length(packed_bytes, _tar):
    """As with the CRC."""
    return packed_bytes[:-4] + b"\1\0\0\0"


@packed("contain")
def gzip_trailing_garbage(packed_bytes, _tar):
    return packed_bytes + b"garbage" * 100


@packed("contain")
def gzip_trailing_zeros(packed_bytes, _tar):
    return packed_bytes + b"\0" * 1000


@packed("refuse")
def gzip_is_plain_tar(_packed, tar):
    return b"\x1f\x8b" + tar[2:]


@packed("refuse")
def gzip_empty(_packed, _tar):
    return b""


@packed("contain")
def gzip_claims_plain(_packed, tar):
    """Media type gzip, bytes a plain tar: containers/storage looks at the bytes."""
    return tar


@packed("refuse")
def gzip_far_distance(_packed, tar):
    """A member that refers to bytes before its own start: the second half of a stream, with a header put before it."""
    whole = zlib.compressobj(6, zlib.DEFLATED, -15)
    whole.compress(tar[:100_000]), whole.flush(zlib.Z_SYNC_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + whole.compress(tar[100_000:]) + whole.flush()


@image("contain")
def gzip_bomb(layout):
    """1 GiB of zeros in 1 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"\0" * (1 << 20)
    head = rawtar.header(b"zeros", FILE, size=BOMB_BYTES)
    out = [packer.compress(head)] + [packer.compress(zeros) for _ in range(BOMB_BYTES >> 20)]
    total = hashlib.sha256(head)
    for _ in range(BOMB_BYTES >> 20):
        total.update(zeros)
    total.update(b"\0" * 1024)
    out += [packer.compress(b"\0" * 1024), packer.flush()]
    return layout.image([(layout.blob(b"".join(out), oci.LAYER + "+gzip"), "sha256:" + total.hexdigest())])


@image("refuse")
def zstd_truncated(layout):
    tar = sample()
    whole = subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
    return layout.image([(layout.blob(whole[:len(whole) // 2], oci.LAYER + "+zstd"), oci.sha256(tar))])


@image("refuse")
def zstd_window_absurd(layout):
    """A frame header that asks for a window of terabytes."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0xF8]) + b"\x01\x00\x00"
    return layout.image([(layout.blob(frame, oci.LAYER + "+zstd"), oci.sha256(b""))])


def main(directory, names):
    """Builds the asked images, or all."""
    for name in names or IMAGES:
        builder, _ = IMAGES[name]
        layout = oci.Layout(f"{directory}/hostile-{name}")
        layout.tag(builder(layout))
        layout.publish()
    with open(os.path.join(directory, "hostile.json"), "w") as out:
        json.dump({name: outcome for name, (_, outcome) in IMAGES.items()}, out, indent=1)


if __name__ == "__main__":
    main(sys.argv[1], [n.removeprefix("hostile-") for n in sys.argv[2:]])
