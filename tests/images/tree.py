"""Prints what a tree holds, one JSON line per entry, sorted by path, so that two trees can be compared with diff(1).

    tree.py ROOT [--no-content] [--since NANOSECONDS]     prints the tree
    tree.py --diff A.jsonl B.jsonl                        prints the fields in which two such files differ; exit 1 if there are any

Paths, names, and xattr values are bytes: what is not printable ASCII is written \\xNN. Walks by directory handles, so
a path may be as deep as the filesystem allows. `nlink` counts names of directories as ext4 does not promise to: only
that of other inodes is printed, with the sorted first path of the inode's names in this tree as `group`.
An mtime between --since and now is printed as null: the image said nothing, and the tool left the time of its own work.
--diff takes null for equal to anything.
"""

import hashlib
import json
import os
import stat
import sys
import time

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
CHUNK = 1 << 20


def escape(data):
    """Bytes as ASCII text that can be turned back."""
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in data)


def attributes(handle_path):
    """The xattrs of a path, names to hex values. Filesystems without them have none."""
    try:
        names = os.listxattr(handle_path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(handle_path, name, follow_symlinks=False).hex() for name in sorted(names)}


def digest(name, parent):
    """The sha256 of a file's content."""
    total = hashlib.sha256()
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent), "rb", buffering=0) as source:
        while chunk := source.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def describe(parent, name, path, with_content):
    """One entry, as a dictionary; its inode and whether to descend besides."""
    info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    entry = {"path": escape(path), "type": kind, "mode": f"{stat.S_IMODE(info.st_mode):04o}",
             "uid": info.st_uid, "gid": info.st_gid, "mtime": info.st_mtime_ns}
    if kind != "dir":
        entry["nlink"] = info.st_nlink
    if kind in ("file", "symlink"):
        entry["size"] = info.st_size
    if kind in ("char", "block"):
        entry["rdev"] = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    if kind == "symlink":
        entry["target"] = escape(os.readlink(name, dir_fd=parent))
    if kind == "file" and with_content:
        entry["sha256"] = digest(name, parent)
    # The l*xattr calls take no directory handle; /proc gives one a path of a few bytes.
    entry["xattrs"] = attributes(os.fsencode(f"/proc/self/fd/{parent}/") + name)
    return entry, (info.st_dev, info.st_ino)


def walk(root, with_content, since):
    """All entries under `root`, unsorted. Holds one handle at a time: opens `..` on its way back."""
    groups = {}
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    entries = [describe(handle, b".", b"/", with_content)[0]]
    stack = [(b"", None)]
    while stack:
        path, names = stack[-1]
        if names is None:
            names = sorted(os.fsencode(n) for n in os.listdir(handle))
            stack[-1] = (path, names)
        if not names:
            stack.pop()
            if stack:
                above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = above
            continue
        name = names.pop(0)
        full = path + b"/" + name
        try:
            entry, inode = describe(handle, name, full, with_content)
        except FileNotFoundError:  # overlayfs lists a whiteout inside an opaque directory, and then denies it
            print(f"tree.py: {escape(full)} is listed but cannot be looked up", file=sys.stderr)
            continue
        entries.append(entry)
        if entry["type"] == "dir":
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
            stack.append((full, None))
        elif entry["nlink"] > 1:
            groups.setdefault(inode, []).append(entry)
    os.close(handle)
    now = time.time_ns()
    for entry in entries:
        if since <= entry["mtime"] <= now:
            entry["mtime"] = None
    for members in groups.values():
        first = min(member["path"] for member in members)
        for member in members:
            member["group"] = first
    return sorted(entries, key=lambda entry: entry["path"])


def load(path):
    """A printed tree, by path."""
    with open(path) as source:
        return {entry["path"]: entry for entry in map(json.loads, source)}


def difference(a, b):
    """Lines that say where two printed trees differ."""
    left, right = load(a), load(b)
    for path in sorted(left.keys() | right.keys()):
        if path not in right:
            yield f"- {path} ({left[path]['type']})"
        elif path not in left:
            yield f"+ {path} ({right[path]['type']})"
        else:
            for field in sorted(left[path].keys() | right[path].keys()):
                if field == "mtime" and None in (left[path]["mtime"], right[path]["mtime"]):
                    continue
                if left[path].get(field) != right[path].get(field):
                    yield f"! {path}: {field} {left[path].get(field)} -> {right[path].get(field)}"


def main(arguments):
    """See the head of the file."""
    if arguments[0] == "--diff":
        found = list(difference(*arguments[1:3]))
        print("\n".join(found), end="\n" if found else "")
        return 1 if found else 0
    since = int(arguments[arguments.index("--since") + 1]) if "--since" in arguments else 1 << 80
    for entry in walk(os.fsencode(arguments[0]), "--no-content" not in arguments, since):
        print(json.dumps(entry))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
