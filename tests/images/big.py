"""Writes an image of many files, streamed: nothing of it is held in memory.

    big.py LAYOUT FILES

The files are small, in directories of a hundred, with a hard link, a symlink and an xattr here and there, as a root
filesystem has them. One gzip layer.
"""

import hashlib
import os
import sys
import zlib

import oci
import rawtar

PER_DIRECTORY = 100


def entries(count):
    """The tar, piece by piece."""
    layer = rawtar.Layer()
    for number in range(count):
        directory = f"data/{number // 10_000:04}/{number // PER_DIRECTORY % 100:02}"
        if number % 10_000 == 0:
            layer.dir(f"data/{number // 10_000:04}")
        if number % PER_DIRECTORY == 0:
            layer.dir(directory)
        fields = {"uid": number % 3, "mtime": rawtar.EPOCH + number % 1000}
        if number % 50 == 49:
            layer.hardlink(f"{directory}/file-{number:07}", f"{directory}/file-{number - 1:07}", uid=(number - 1) % 3,
                           mtime=rawtar.EPOCH + (number - 1) % 1000)
        elif number % 50 == 47:
            layer.symlink(f"{directory}/file-{number:07}", f"file-{number - 1:07}", **fields)
        elif number % 200 == 11:
            layer.file(f"{directory}/file-{number:07}", b"%d\n" % number, pax=[("SCHILY.xattr.user.number", str(number))], **fields)
        else:
            layer.file(f"{directory}/file-{number:07}", b"%d\n" % number if number % 4 else b"", **fields)
        if number % PER_DIRECTORY == PER_DIRECTORY - 1:
            yield b"".join(layer.parts)
            layer.parts.clear()
    yield layer.bytes()


def write_layer(path, count):
    """The compressed layer as a file; returns its digest and its diff_id."""
    packer, packed, plain = zlib.compressobj(1, zlib.DEFLATED, 31), hashlib.sha256(), hashlib.sha256()
    with open(path, "wb") as out:
        def put(data):
            packed.update(data)
            out.write(data)
        for piece in entries(count):
            plain.update(piece)
            put(packer.compress(piece))
        put(packer.flush())
    return "sha256:" + packed.hexdigest(), "sha256:" + plain.hexdigest()


def main(path, count):
    """Builds the layout."""
    layout = oci.Layout(path)
    scratch = os.path.join(layout.temporary, "layer")
    digest, diff_id = write_layer(scratch, count)
    layout.tag(layout.image([(layout.blob_file(scratch, oci.LAYER + "+gzip", digest), diff_id)]))
    layout.publish()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
