"""The torture images: every trick of tar and OCI layers that a root filesystem may honestly hold.

A theme is a function that writes its tricks into some of the LAYERS layers, under a directory of its own name. The
image `torture` holds all themes that both umoci and containers/storage can unpack; `odd-THEME` are images of one
theme that at least one of the two refuses or garbles; `torture-THEME` (on request) is one theme alone, to find out who.

    torture.py DIR [NAME...]      writes the layouts DIR/NAME; without names: torture, multi, and all odd-*
"""

import random
import struct
import sys

import oci
import odd
import rawtar
from rawtar import BLOCKDEV, CHAR, DIR, EPOCH, FIFO, FILE, GNU_MAGIC, V7_MAGIC, Layer

LAYERS = 5
THEMES = {}


def theme(function):
    """A theme of the image `torture`."""
    THEMES[function.__name__] = function
    return function


def text(size, seed=1):
    """Bytes that compress about as source code does."""
    words = [rawtar.noise(4, i).hex().encode() for i in range(200)]
    pick = random.Random(seed)
    return b" ".join(pick.choice(words) for _ in range(size // 9 + 1))[:size]


# What an inode can be


@theme
def types(layers):
    a = layers[0]
    a.dir("types")
    a.file("types/regular", b"regular\n")
    a.entry("types/old-regular", b"\0", b"type NUL is a regular file\n")
    a.entry("types/v7", b"\0", b"no magic at all\n", magic=V7_MAGIC)
    a.entry("types/old-directory/", b"\0", mode=0o755, magic=V7_MAGIC)  # V7: a regular file whose name ends with a slash
    a.entry("types/fifo", FIFO, mode=0o600)
    a.symlink("types/symlink", "regular")
    for name, kind, major, minor in [("null", CHAR, 1, 3), ("whiteout-like", CHAR, 0, 0), ("big-minor", CHAR, 10, 1048575),
                                     ("big-major", CHAR, 4095, 256), ("loop", BLOCKDEV, 7, 0), ("disk", BLOCKDEV, 259, 300_000)]:
        if name != "whiteout-like":  # a 0:0 character device is what overlay itself uses: see odd-chardev00
            a.entry("types/" + name, kind, major=major, minor=minor, mode=0o620, gid=5)
    for mode in (0o000, 0o111, 0o444, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777):
        a.file(f"types/mode-{mode:04o}", b"x", mode=mode)
    for mode in (0o000, 0o1777, 0o2770, 0o4755, 0o7777):
        a.dir(f"types/dir-{mode:04o}", mode=mode)
    # Sizes around the block size: an error in padding shows at once.
    for size in (0, 1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537):
        a.file(f"types/size-{size}", rawtar.noise(size, size))
    a.entry("types/mode-with-type", FILE, b"the mode field holds S_IFREG too\n", mode=0o100644)


@theme
def owners(layers):
    a = layers[0]
    a.dir("owners", uid=1000, gid=1000)
    for owner in (0, 1, 65534, 65535, 65536, 2097151, 2097152, 2**31 - 1, 2**31, 2**32 - 2):
        a.file(f"owners/header-{owner}", b"o", uid=owner, gid=owner)
        a.file(f"owners/pax-{owner}", b"o", uid=7, gid=7, pax=[("uid", str(owner)), ("gid", str(owner))])
    # Names are informative only: the numbers count.
    a.file("owners/named", b"o", uid=12, gid=34, uname=b"root", gname=b"daemon")
    a.symlink("owners/symlink", "named", uid=70000, gid=80000)
    a.file("owners/setuid", b"o", uid=1000, gid=1000, mode=0o6755)  # chown after chmod would drop the bits


@theme
def times(layers):
    a = layers[0]
    a.dir("times", mtime=1)
    for seconds in (0, 1, EPOCH, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33 - 1, 2**33, 2**33 + 12345):
        a.file(f"times/at-{seconds}", b"t", mtime=seconds)
    for name, stamp in [("half", "1600000000.5"), ("nine-digits", "1600000000.123456789"), ("one-nano", "1600000000.000000001"),
                        ("many-digits", "1600000000.1234567891234"), ("no-fraction", "1600000000"), ("after-2242", "8589934592.75")]:
        a.file(f"times/pax-{name}", b"t", pax=[("mtime", stamp)])
        a.dir(f"times/pax-dir-{name}", pax=[("mtime", stamp)])
        a.symlink(f"times/pax-link-{name}", "half", pax=[("mtime", stamp)])
    a.file("times/pax-with-atime-ctime", b"t", pax=[("mtime", "1500000000.25"), ("atime", "1400000000.5"), ("ctime", "1300000000")])
    # A directory keeps its time although entries are put into it afterwards, also by a later layer.
    a.dir("times/busy", mtime=1_000_000_000)
    a.file("times/busy/first", b"1")
    a.dir("times/busy2", mtime=1_000_000_000)
    layers[1].file("times/busy2/second", b"2")  # no entry for times/busy2 in this layer


@theme
def xattrs(layers):
    a = layers[0]
    prefix = "SCHILY.xattr."
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in [
        (1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF)])
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)            # v2: cap_net_bind_service=ep
    capability3 = struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 100000)  # v3: with a namespace's root uid
    a.dir("xattrs", pax=[(prefix + "user.on-dir", "yes")])
    a.file("xattrs/user", b"x", pax=[(prefix + "user.comment", "hello"), (prefix + "user.second", "world")])
    a.file("xattrs/binary", b"x", pax=[(prefix + "user.binary", bytes(range(256)))])
    a.file("xattrs/newline", b"x", pax=[(prefix + "user.newline", b"one\ntwo=three\n")])
    a.file("xattrs/long", b"x", pax=[(prefix + "user.long", rawtar.noise(3000))])  # ext4 has room for no more than 4 KiB
    a.file("xattrs/long-name", b"x", pax=[(prefix + "user." + "n" * 250, "255 bytes of name")])
    a.file("xattrs/many", b"x", pax=[(f"{prefix}user.k{i:03}", f"v{i}") for i in range(60)])
    a.file("xattrs/capability", b"x", mode=0o755, pax=[(prefix + "security.capability", capability)])
    a.file("xattrs/capability-owned", b"x", mode=0o755, uid=33, gid=33, pax=[(prefix + "security.capability", capability)])
    a.file("xattrs/capability3", b"x", mode=0o755, pax=[(prefix + "security.capability", capability3)])
    a.file("xattrs/acl", b"x", mode=0o664, pax=[(prefix + "system.posix_acl_access", acl)])
    a.dir("xattrs/acl-dir", mode=0o775, pax=[(prefix + "system.posix_acl_access", acl), (prefix + "system.posix_acl_default", acl)])
    a.file("xattrs/acl-dir/heir", b"x", mode=0o600)  # must not inherit the default: the tar says what it has
    a.file("xattrs/trusted", b"x", pax=[(prefix + "trusted.clip", "for root only")])
    a.file("xattrs/libarchive", b"x", pax=[("LIBARCHIVE.xattr.user.libarchive", "aGVsbG8=")])
    a.file("xattrs/replaced", b"x", pax=[(prefix + "user.old", "1"), (prefix + "user.both", "1")])
    layers[1].file("xattrs/replaced", b"y", pax=[(prefix + "user.both", "2")])
    a.dir("xattrs/replaced-dir", pax=[(prefix + "user.old", "1"), (prefix + "user.both", "1")])
    layers[1].dir("xattrs/replaced-dir", pax=[(prefix + "user.both", "2")])
    a.file("xattrs/linked", b"x", pax=[(prefix + "user.shared", "1")])
    a.hardlink("xattrs/linked-too", "xattrs/linked")


@theme
def hardlinks(layers):
    a, b, c = layers[0], layers[1], layers[2]
    a.dir("hardlinks")
    a.file("hardlinks/zz-target", b"one inode\n", uid=5, mode=0o640)
    for name in ("a", "b", "c"):
        a.hardlink(f"hardlinks/{name}", "hardlinks/zz-target", uid=5, mode=0o640)
    a.hardlink("hardlinks/of-a-link", "hardlinks/a", uid=5, mode=0o640)
    a.dir("hardlinks/other")
    a.hardlink("hardlinks/other/far", "./hardlinks/zz-target", uid=5, mode=0o640)
    a.symlink("hardlinks/soft", "zz-target")
    a.hardlink("hardlinks/of-symlink", "hardlinks/soft", mode=0o777)
    a.entry("hardlinks/fifo", FIFO, mode=0o600)
    a.hardlink("hardlinks/fifo-too", "hardlinks/fifo", mode=0o600)
    a.entry("hardlinks/device", CHAR, major=1, minor=5, mode=0o666)
    a.hardlink("hardlinks/device-too", "hardlinks/device", mode=0o666)
    a.file("hardlinks/" + "n" * 120, b"long name\n")
    a.hardlink("hardlinks/pax-long", "hardlinks/" + "n" * 120)
    a.hardlink("hardlinks/gnu-long", "hardlinks/" + "n" * 120, long="gnu")
    a.file("hardlinks/empty", b"")
    a.hardlink("hardlinks/empty-too", "hardlinks/empty")
    # The group is torn by a later layer: the name that it replaces leaves, the others stay together.
    a.file("hardlinks/torn-1", b"torn\n")
    a.hardlink("hardlinks/torn-2", "hardlinks/torn-1")
    a.hardlink("hardlinks/torn-3", "hardlinks/torn-1")
    b.file("hardlinks/torn-1", b"replaced\n")
    # One name is deleted, the others stay.
    a.file("hardlinks/cut-1", b"cut\n")
    a.hardlink("hardlinks/cut-2", "hardlinks/cut-1")
    a.hardlink("hardlinks/cut-3", "hardlinks/cut-1")
    b.whiteout("hardlinks/cut-1")
    # As containers/storage writes it when it copies up: the later layer holds the file again, and a link to it.
    a.file("hardlinks/copied", b"lower\n")
    b.file("hardlinks/copied", b"upper\n")
    b.hardlink("hardlinks/copied-link", "hardlinks/copied")
    c.file("hardlinks/new", b"new in the third layer\n")
    c.hardlink("hardlinks/torn-2", "hardlinks/new")


@theme
def symlinks(layers):
    a = layers[0]
    a.dir("symlinks")
    a.file("symlinks/target", b"t\n")
    for name, target in [("relative", "target"), ("absolute", "/symlinks/target"), ("dangling", "nothing/here"), ("self", "self"),
                         ("loop-a", "loop-b"), ("loop-b", "loop-a"), ("up", "../symlinks/target"), ("out", "../../../../../etc/passwd"),
                         ("dot", "."), ("slash", "target/"), ("double", "a//b/../c"), ("bytes", b"\xff\xfe\x01"),
                         ("newline", "a\nb")]:
        a.symlink("symlinks/" + name, target)
    for length in (99, 100, 101, 255, 256, 511, 512, 513, 1000, 4000):
        a.symlink(f"symlinks/pax-{length}", (("s" * 99 + "/") * 41)[:length])
        a.symlink(f"symlinks/gnu-{length}", (("g" * 99 + "/") * 41)[:length], long="gnu")


# How bytes can be stored


@theme
def sparse(layers):
    a = layers[0]
    a.dir("sparse")
    writers = {"pax00": rawtar.sparse_pax_0_0, "pax01": rawtar.sparse_pax_0_1, "pax10": rawtar.sparse_pax_1_0}
    for case, (size, chunks) in rawtar.SPARSE_CASES.items():
        content = rawtar.noise(sum(n for _, n in chunks), len(case))
        for kind, writer in writers.items():
            if case == "all-hole-no-map" and kind == "pax01":
                continue  # an empty map record: see odd-sparse_map
            writer(a, f"sparse/{kind}-{case}", size, chunks, content)
    a.hardlink("sparse/link", "sparse/pax10-unaligned")
    rawtar.sparse_pax_1_0(layers[1], "sparse/pax00-aligned", *rawtar.SPARSE_CASES["unaligned"], rawtar.noise(31_519, 5))


@theme
def names(layers):
    a = layers[0]
    a.dir("names")
    for name in (b"with space", b" leading", b"trailing ", b"new\nline", b"tab\there", b"quote'\"", b"back\\slash", b"\xff\xfe-not-utf8", b"\xc3\x28",
                 "ünïcode-日本語-🦀".encode(), "e\u0301-decomposed".encode(), "é-composed".encode(), b"-dash", b"~tilde", b"*star?", b"%41", b"\x01\x7f",
                 b"...", b"..a", b".hidden", b"wh", b".wh", b"x.wh.y", b"a=b", b"CASE", b"case"):
        a.file(b"names/" + name, b"n:" + name)
    for length in (99, 100, 101, 154, 155, 156, 254, 255):
        for long in ("pax", "gnu"):
            a.file(f"names/{long}-{length}-".ljust(length + 6, "n"), b"l", long=long)
    a.file("names/" + "p" * 60 + "/" + "q" * 60 + "/" + "ustar-prefix", b"u", long="ustar")
    a.file("names/" + "p" * 140 + "/" + "q" * 99, b"u", long="ustar")
    a.file(b"names/pax-\xff\xfe-" + b"\xe9" * 200, b"not UTF-8 in a PAX record")
    for long in ("pax", "gnu"):
        path = f"names/deep-{long}" + "".join(f"/{i:02}-" + "d" * 190 for i in range(9))
        a.file(path, b"a path of 1,700 bytes", long=long)
        a.symlink(path + "-link", "../" * 9 + "case", long=long)
    # A PAX path wins over the name of the header, also when it is short; a GNU name before an ordinary entry too.
    a.file("names/wrong", b"p", pax=[("path", "names/right-by-pax")])
    a.gnu_long(rawtar.GNU_LONG_NAME, b"names/right-by-gnu")
    a.file("names/wrong", b"g", magic=GNU_MAGIC)
    a.symlink("names/pax-linkpath", "wrong", pax=[("linkpath", "right-by-pax")])


@theme
def pax(layers):
    a = layers[0]
    a.dir("pax")
    a.file("pax/size", b"the size is in the record only\n", size=0o17, pax=[("size", "31")])
    a.file("pax/comment", b"p", pax=[("comment", "x" * 5000), ("VENDOR.key", "value"), ("charset", "BINARY")])
    a.file("pax/twice", b"p", pax=[("uid", "1"), ("uid", "2")])  # the last record wins
    a.file("pax/uname", b"p", uid=3, pax=[("uname", "root"), ("gname", "root")])


# Where entries go


@theme
def parents(layers):
    a, b = layers[0], layers[1]
    a.file("parents/made/up/file", b"no directory entry for any parent\n", uid=9, mtime=5)
    a.dir("parents/late/child")
    a.dir("parents/late", mode=0o700, uid=3, mtime=77)  # the parent's own entry comes after its child
    a.file("./parents/./dotted", b"./ and /./\n")
    a.file("/parents/absolute", b"from /\n")
    a.file("parents//double//slash", b"//\n")
    a.file("parents/made/../upward", b"a harmless ..\n")
    a.dir("./parents/dots/")
    a.entry("parents/no-slash", DIR, mode=0o711)
    a.dir("parents/slashes///")
    b.file("parents/made/up/second", b"in a directory that no layer names\n")
    b.dir("parents/made", mode=0o750, uid=4, mtime=99)


@theme
def root(layers):
    layers[0].dir("./", mode=0o751, uid=11, gid=12, mtime=1_234_567_890, pax=[("SCHILY.xattr.user.root", "yes")])
    layers[2].dir("./", mode=0o755, uid=0, gid=0, mtime=1_234_567_891)


@theme
def whiteouts(layers):
    a, b, c, d = layers[0], layers[1], layers[2], layers[3]
    a.dir("whiteouts")
    for name in ("gone", "gone-and-back", "re-made-after", "kept", "replaced"):
        a.file("whiteouts/" + name, b"lower\n")
    for name in ("dir-gone", "dir-back", "opaque-first", "opaque-last", "opaque-empty", "opaque-no-entry", "opaque-nested", "both"):
        a.dir("whiteouts/" + name, mode=0o700, uid=1)
        a.file(f"whiteouts/{name}/lower", b"lower\n")
        a.file(f"whiteouts/{name}/sub/lower", b"lower\n")
    a.symlink("whiteouts/link-gone", "kept")
    a.symlink("whiteouts/link-to-dir", "opaque-empty")
    b.whiteout("whiteouts/gone")
    b.whiteout("whiteouts/dir-gone")
    b.whiteout("whiteouts/link-gone")
    b.whiteout("whiteouts/link-to-dir")  # the link, not what it points at
    b.whiteout("whiteouts/never-was")
    b.whiteout("whiteouts/dir-back")
    c.dir("whiteouts/dir-back", mode=0o755)
    c.file("whiteouts/dir-back/new", b"new\n")
    b.whiteout("whiteouts/gone-and-back")
    c.file("whiteouts/gone-and-back", b"back\n")
    # Opaque: hides the lower layers' entries, never those of its own layer, whatever the order.
    b.dir("whiteouts/opaque-first", mode=0o711)
    b.opaque("whiteouts/opaque-first")
    b.file("whiteouts/opaque-first/upper", b"upper\n")
    b.dir("whiteouts/opaque-last", mode=0o711)
    b.file("whiteouts/opaque-last/upper", b"upper\n")
    b.dir("whiteouts/opaque-last/sub")
    b.file("whiteouts/opaque-last/sub/upper", b"upper\n")
    b.opaque("whiteouts/opaque-last")
    b.dir("whiteouts/opaque-empty")
    b.opaque("whiteouts/opaque-empty")
    b.dir("whiteouts/opaque-nested")
    b.dir("whiteouts/opaque-nested/sub")
    b.opaque("whiteouts/opaque-nested/sub")
    b.file("whiteouts/opaque-nested/sub/upper", b"upper\n")
    c.file("whiteouts/opaque-first/third", b"third\n")
    # A whiteout two layers above, and one of a thing that an opaque directory hid already.
    c.whiteout("whiteouts/opaque-first/lower")
    c.whiteout("whiteouts/opaque-last/upper")
    d.whiteout("whiteouts/replaced")
    d.dir("whiteouts/both")
    d.opaque("whiteouts/both")
    d.whiteout("whiteouts/both/sub")


@theme
def flips(layers):
    """Things that change their kind from layer to layer, and back."""
    shapes = {
        "dfd": ("dir", "file", "dir"), "fdf": ("file", "dir", "file"), "dsd": ("dir", "symlink", "dir"), "sfs": ("symlink", "file", "symlink"),
        "fsf": ("file", "symlink", "file"), "pcf": ("fifo", "char", "file"), "ddd": ("dir", "dir", "dir"), "fff": ("file", "file", "file"),
    }
    layers[0].dir("flips")
    for name, states in shapes.items():
        for number, (layer, state) in enumerate(zip(layers, states)):
            path = f"flips/{name}"
            if state == "dir":
                layer.dir(path, mode=0o700 + number, uid=number, mtime=1000 + number)
                layer.file(f"{path}/child-{number}", b"child of layer %d\n" % number)
            elif state == "file":
                layer.file(path, b"file of layer %d\n" % number, mode=0o600 + number)
            elif state == "symlink":
                layer.symlink(path, f"target-{number}")
            elif state == "fifo":
                layer.entry(path, FIFO)
            else:
                layer.entry(path, CHAR, major=1, minor=3)
    # A parent's attributes change without its content.
    layers[4].dir("flips/ddd", mode=0o1777, uid=99, mtime=4242)


# How many, how deep, how large


@theme
def many(layers):
    a = layers[1]
    a.dir("many")
    for i in range(5_000):
        a.file(f"many/small/{i % 50:02}/file-{i:05}", b"content %d\n" % i, uid=i % 7, mtime=EPOCH + i)
    a.dir("many/wide")
    for i in range(20_000):
        a.file(f"many/wide/{i:05}", b"" if i % 3 else b"w%d" % i)


@theme
def deep(layers):
    path = "deep"
    for i in range(1_000):
        layers[2].dir(path, mode=0o755, mtime=EPOCH + i)
        path += "/d"
    layers[2].file(path[:-1] + "bottom", b"1,000 directories down\n")


@theme
def large(layers):
    layers[0].dir("large")
    layers[0].file("large/text", text(4 << 20))
    layers[0].file("large/noise", rawtar.noise(3 << 20, 2))
    layers[0].file("large/zeros", b"\0" * (5 << 20))
    layers[0].file("large/odd-size", text((1 << 20) + 12345, 3))
    layers[0].file("large/after", b"behind the large ones\n")
    layers[3].file("large/noise", rawtar.noise((1 << 20) + 1, 4))


# Assembly


def build_layers(themes):
    """The layers' tars of an image of these themes. The fifth is empty when no theme wrote to it."""
    layers = [Layer() for _ in range(LAYERS)]
    for function in themes:
        function(layers)
    ends = [2, 2, 20, 1, 2]  # GNU tar pads to 20 blocks, some tools stop after one
    if themes == [odd.no_end]:
        ends[0] = 0
    return [layer.bytes(end) for layer, end in zip(layers, ends)]


def write_image(path, tars, **config):
    """One image of these layers; the fourth is plain, the others gzip."""
    layout = oci.Layout(path)
    made = [layout.layer(tar, None, oci.LAYER) if i == 3 else layout.layer(tar) for i, tar in enumerate(tars)]
    layout.tag(layout.image(made, **config))
    layout.publish()


def write_multi(path):
    """An index of indexes and manifests for several platforms; each image holds a file with its platform's name."""
    layout = oci.Layout(path)
    shared = Layer()
    shared.file("shared", b"all platforms have this layer\n")
    base = layout.layer(shared.bytes())
    manifests = []
    for arch, variant in (("amd64", None), ("arm64", "v8"), ("arm", "v6"), ("arm", "v7")):
        own = Layer()
        own.file("etc/platform", f"linux/{arch}{'/' + variant if variant else ''}\n".encode())
        image = layout.image([base, layout.layer(own.bytes())], arch=arch, variant=variant)
        manifests.append(oci.platform(image, arch, variant))
    attestation = layout.blob({"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": layout.blob({}, oci.CONFIG), "layers": []}, oci.MANIFEST)
    attestation["platform"] = {"os": "unknown", "architecture": "unknown"}  # as BuildKit appends
    attestation["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    layout.tag(layout.index(manifests + [attestation]))
    docker = [{**m, "mediaType": m["mediaType"]} for m in manifests]
    layout.tag(layout.index(docker, oci.DOCKER_LIST), "docker-list")
    layout.publish()


def main(directory, names):
    """Builds the asked images."""
    everything = {"torture": list(THEMES.values())}
    everything.update({f"odd-{name}": [function] for name, function in odd.THEMES.items()})
    known = {**everything, **{f"torture-{name}": [function] for name, function in THEMES.items()}}
    for name in names or [*everything, "multi"]:
        if name == "multi":
            write_multi(f"{directory}/multi")
        elif name in known:
            write_image(f"{directory}/{name}", build_layers(known[name]), Env=["PATH=/bin"], Cmd=["/bin/true"],
                        Labels={"clip.test": name})
        else:
            sys.exit(f"{name}: no such image; there are {' '.join([*known, 'multi'])}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
