"""One tar in every compression that layers come in: images `codec-NAME` of one layer each, all with the same diff_id.

    layer_codecs.py DIR BASE.tar [NAME...]

Other people's compressors are run where they are to be had (Go by skopeo, pigz, bsdtar, zstd); what has no tool in
Debian (bgzip's members, zstd:chunked, seekable zstd) is put together here after the formats' own descriptions.
"""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib

import oci

TAR_BYTES = 40 << 20  # big enough for many seek points, small enough for seventeen of them
FRAME = 1 << 20
SKIPPABLE = 0x184D2A50


def medium(base):
    """A part of the base's tar of about TAR_BYTES, with files of all sizes in it."""
    out = io.BytesIO()
    with tarfile.open(base) as source, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target:
        for member in source:
            if out.tell() > TAR_BYTES:
                break
            member.name = member.name.removeprefix("./")
            if member.name and not (member.islnk() or member.ischr()):  # its link's target may be cut off
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def pipe(*command):
    """A compressor that is a program reading stdin and writing stdout."""
    return lambda tar: subprocess.run(command, input=tar, stdout=subprocess.PIPE, check=True).stdout


def pieces(data, size):
    """`data` cut into pieces."""
    return [data[i:i + size] for i in range(0, len(data), size)]


# gzip


def gzip_level(level):
    """zlib at a level; 0 stores."""
    return lambda tar: oci.gz(tar, level)


def gzip_go(tar):
    """Go's own compressor, as skopeo and buildah use it."""
    with tempfile.TemporaryDirectory() as scratch:
        plain = oci.Layout(f"{scratch}/plain")
        plain.tag(plain.image([plain.layer(tar, None, oci.LAYER)]))
        plain.publish()
        subprocess.run(["skopeo", "copy", "-q", f"oci:{scratch}/plain:latest", f"oci:{scratch}/packed:latest"], check=True)
        _, manifest, path = oci.read(f"{scratch}/packed")
        with open(path(manifest["layers"][0]["digest"]), "rb") as packed:
            return packed.read()


def gzip_members(tar):
    """Whole members one after the other, as `cat a.gz b.gz` gives; one of them empty, as eStargz's footer is."""
    return b"".join(oci.gz(p) for p in [*pieces(tar, 4 << 20), b""])


def gzip_sync(tar):
    """One member with a full flush each MiB: byte-aligned restarts that need no window."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return b"".join(packer.compress(p) + packer.flush(zlib.Z_FULL_FLUSH) for p in pieces(tar, FRAME)) + packer.flush()


def gzip_fixed(tar):
    """Fixed Huffman codes only: blocks as long as zlib likes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31, 9, zlib.Z_FIXED)
    return packer.compress(tar) + packer.flush()


def gzip_header(tar):
    """Every optional header field of RFC 1952: extra, name, comment, header CRC."""
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    head = b"\x1f\x8b\x08\x1e" + struct.pack("<IBB", 12345, 2, 3)
    head += struct.pack("<H", 8) + b"XX" + struct.pack("<H", 4) + b"data" + b"name.tar\0" + b"a comment\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + body.compress(tar) + body.flush() + struct.pack("<II", zlib.crc32(tar), len(tar) & 0xFFFFFFFF)


def bgzip(tar):
    """BGZF: members of at most 64 KiB that say their own size in an extra field, and an empty one at the end."""
    out = []
    for piece in [*pieces(tar, 0xFF00), b""]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        size = len(body) + 26
        out.append(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", size - 1) + body
                   + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(out)


# zstd

zstd = pipe("zstd", "-q", "-c", "-3", "--no-check")
zstd_checked = pipe("zstd", "-q", "-c", "-9", "--check")
zstd_long = pipe("zstd", "-q", "-c", "-3", "--long=27")  # a window of 128 MiB: decoders must allow it, or say why not


def skippable(payload, magic=SKIPPABLE):
    """A frame that decoders pass over."""
    return struct.pack("<II", magic, len(payload)) + payload


def zstd_frames(tar):
    """Frames of about 1 MiB, as pzstd cuts them."""
    return b"".join(zstd(piece) for piece in pieces(tar, FRAME))


def zstd_seekable(tar):
    """Frames, and the seek table of zstd's contrib/seekable_format in a skippable frame at the end."""
    cut = pieces(tar, FRAME)
    frames = [zstd(piece) for piece in cut]
    table = b"".join(struct.pack("<II", len(f), len(p)) for f, p in zip(frames, cut))
    table += struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    return b"".join(frames) + skippable(table, 0x184D2A5E)


def zstd_chunked(tar):
    """zstd:chunked: a frame for every header run and every file, and skippable frames with a manifest and a footer."""
    frames, entries, position = [], [], 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as source:
        for member in source:
            if not member.isreg() or member.size < 65536:  # containers/storage cuts at each file; small ones cost frames
                continue
            start, end = member.offset_data, member.offset_data + member.size
            for piece in (tar[position:start], tar[start:end]):
                if piece:
                    frames.append(zstd(piece))
            offset = sum(map(len, frames[:-1]))
            entries.append({"type": "reg", "name": member.name, "size": member.size, "offset": offset,
                            "endOffset": offset + len(frames[-1]), "digest": oci.sha256(tar[start:end])})
            position = end
    frames.append(zstd(tar[position:]))
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    packed = zstd(toc)
    offset = sum(map(len, frames)) + 8
    footer = struct.pack("<QQQQ", offset, len(packed), len(toc), 1) + b"GNUlInUx"
    return b"".join(frames) + skippable(packed) + skippable(footer)


GZIP, ZSTD = oci.LAYER + "+gzip", oci.LAYER + "+zstd"
CODECS = {
    # name: (compressor, media type, whether the image speaks Docker)
    "gzip-go": (gzip_go, GZIP, False),
    "gzip-pigz": (pipe("pigz", "-n", "-c"), oci.DOCKER_LAYER, True),
    "gzip-pigz-multi": (pipe("pigz", "-n", "-i", "-c", "-b", "512"), GZIP, False),
    "gzip-members": (gzip_members, GZIP, False),
    "gzip-bgzip": (bgzip, GZIP, False),
    "gzip-bsdtar": (pipe("bsdtar", "-c", "-z", "-f", "-", "--format=pax", "--options", "gzip:!timestamp", "@-"), oci.DOCKER_LAYER, True),
    "gzip-1": (gzip_level(1), GZIP, False),
    "gzip-9": (gzip_level(9), GZIP, False),
    "gzip-stored": (gzip_level(0), GZIP, False),
    "gzip-sync": (gzip_sync, GZIP, False),
    "gzip-fixed": (gzip_fixed, GZIP, False),
    "gzip-header": (gzip_header, GZIP, False),
    "gzip-mislabelled": (gzip_level(6), oci.LAYER, False),  # the media type says plain tar, as old tools wrote
    "zstd-one": (zstd_checked, ZSTD, False),
    "zstd-long": (zstd_long, ZSTD, False),
    "zstd-many": (zstd_frames, ZSTD, False),
    "zstd-seekable": (zstd_seekable, ZSTD, False),
    "zstd-chunked": (zstd_chunked, ZSTD, False),
    "zstd-docker": (zstd_frames, oci.DOCKER + "image.rootfs.diff.tar.zstd", True),
    "tar": (lambda tar: tar, oci.LAYER, False),
    "tar-docker": (lambda tar: tar, oci.DOCKER + "image.rootfs.diff.tar", True),
}


def write_image(path, tar, compressor, media_type, docker):
    """One image of one layer."""
    packed = compressor(tar)
    layout = oci.Layout(path)
    if compressor is CODECS["gzip-bsdtar"][0]:
        tar = zlib.decompressobj(31).decompress(packed)  # bsdtar writes its own headers
    layer = layout.blob(packed, media_type)
    layout.tag(layout.image([(layer, oci.sha256(tar))], docker=docker))
    layout.publish()


def main(directory, base, names):
    """Builds the asked images, or all."""
    tar = medium(base)
    for name in names or CODECS:
        write_image(os.path.join(directory, "codec-" + name), tar, *CODECS[name])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [n.removeprefix("codec-") for n in sys.argv[3:]])
