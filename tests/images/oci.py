"""Writes OCI image layouts by hand, so that every digest and media type is ours to choose (and to get wrong)."""

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MANIFEST, CONFIG, INDEX = OCI + "manifest.v1+json", OCI + "config.v1+json", OCI + "index.v1+json"
LAYER = OCI + "layer.v1.tar"
DOCKER_MANIFEST = DOCKER + "distribution.manifest.v2+json"
DOCKER_CONFIG = DOCKER + "container.image.v1+json"
DOCKER_LIST = DOCKER + "distribution.manifest.list.v2+json"
DOCKER_LAYER = DOCKER + "image.rootfs.diff.tar.gzip"
CREATED = "2020-09-13T12:26:40Z"


def sha256(data):
    """The digest of some bytes as OCI writes it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def gz(data, level=6):
    """One gzip member without a name or a time: the same input gives the same bytes."""
    return gzip.compress(data, compresslevel=level, mtime=0)


class Layout:
    """An OCI layout that appears at `path` when `publish` is called, whole or not at all."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        self.temporary = tempfile.mkdtemp(prefix=".making-", dir=os.path.dirname(os.path.abspath(path)))
        os.chmod(self.temporary, 0o755)
        self.blobs = os.path.join(self.temporary, "blobs", "sha256")
        os.makedirs(self.blobs)
        self.entries = []

    def blob(self, data, media_type, digest=None, **more):
        """Stores bytes under their digest (or under a lie) and returns the descriptor."""
        if isinstance(data, (dict, list)):
            data = json.dumps(data, indent=1).encode()
        digest = digest or sha256(data)
        with open(os.path.join(self.blobs, digest.split(":")[1]), "wb") as out:
            out.write(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def blob_file(self, source, media_type, digest):
        """Moves a finished file in, for blobs that do not fit in memory."""
        size = os.path.getsize(source)
        shutil.move(source, os.path.join(self.blobs, digest.split(":")[1]))
        return {"mediaType": media_type, "digest": digest, "size": size}

    def layer(self, tar, compress=gz, media_type=LAYER + "+gzip", **more):
        """Stores a layer; returns (descriptor, diff_id)."""
        return self.blob(compress(tar) if compress else tar, media_type, **more), sha256(tar)

    def config(self, diff_ids, arch="amd64", variant=None, media_type=CONFIG, **more):
        """The image configuration for these layers."""
        config = {"created": CREATED, "architecture": arch, "os": "linux", "config": more,
                  "rootfs": {"type": "layers", "diff_ids": diff_ids},
                  "history": [{"created": CREATED, "created_by": f"layer {i}"} for i in range(len(diff_ids))]}
        if variant:
            config["variant"] = variant
        return self.blob(config, media_type)

    def manifest(self, config, layers, media_type=MANIFEST, **more):
        """The image manifest; returns its descriptor."""
        return self.blob({"schemaVersion": 2, "mediaType": media_type, "config": config,
                          "layers": layers, **more}, media_type)

    def image(self, layers, docker=False, arch="amd64", variant=None, **config):
        """An image of (descriptor, diff_id) pairs; returns the manifest's descriptor."""
        made = self.config([d for _, d in layers], arch, variant, DOCKER_CONFIG if docker else CONFIG, **config)
        return self.manifest(made, [l for l, _ in layers], DOCKER_MANIFEST if docker else MANIFEST)

    def index(self, manifests, media_type=INDEX):
        """An index of manifests that carry their `platform`; returns its descriptor."""
        return self.blob({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}, media_type)

    def tag(self, descriptor, name="latest"):
        """Names a manifest or an index in the layout's index.json."""
        self.entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def publish(self):
        """Writes index.json and moves the layout into place."""
        with open(os.path.join(self.temporary, "oci-layout"), "w") as out:
            out.write('{"imageLayoutVersion": "1.0.0"}')
        with open(os.path.join(self.temporary, "index.json"), "w") as out:
            json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}, out, indent=1)
        shutil.rmtree(self.path, ignore_errors=True)
        os.rename(self.temporary, self.path)


def platform(descriptor, arch, variant=None):
    """A descriptor with the platform that an index gives it."""
    return {**descriptor, "platform": {"os": "linux", "architecture": arch, **({"variant": variant} if variant else {})}}


def read(layout, name=None):
    """Walks a layout on disk: returns (manifest descriptor, manifest, blob path function) of its only or named tag."""
    with open(os.path.join(layout, "index.json")) as source:
        found = json.load(source)["manifests"]
    chosen = [m for m in found if name in (None, m.get("annotations", {}).get("org.opencontainers.image.ref.name"))]
    if len(chosen) != 1:
        sys.exit(f"{layout}: {len(chosen)} manifests fit, name one of them")

    def path(digest):
        return os.path.join(layout, "blobs", *digest.split(":"))
    with open(path(chosen[0]["digest"]), "rb") as source:
        return chosen[0], json.load(io.TextIOWrapper(source)), path
