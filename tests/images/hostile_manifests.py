"""Hostile manifests, configs, indexes and digests; and the list that all hostile images are in. hostile.py builds them."""

import oci
from rawtar import Layer

IMAGES = {}


def image(outcome):
    """Registers a builder: function(layout) -> descriptor to tag."""
    def register(function):
        IMAGES[function.__name__.replace("_", "-")] = (function, outcome)
        return function
    return register


def honest(layout):
    """An honest layer."""
    layer = Layer()
    layer.file("file", b"honest\n")
    return layout.layer(layer.bytes())


@image("refuse")
def manifest_not_json(layout):
    return layout.blob(b"<html><body>503</body></html>", oci.MANIFEST)


@image("refuse")
def manifest_empty(layout):
    return layout.blob(b"", oci.MANIFEST)


@image("refuse")
def manifest_array(layout):
    return layout.blob([1, 2, 3], oci.MANIFEST)


@image("refuse")
def manifest_is_config(layout):
    return layout.config([oci.sha256(b"")], media_type=oci.MANIFEST)


@image("refuse")
def manifest_schema_1(layout):
    return layout.blob({"schemaVersion": 1, "name": "old", "tag": "latest", "fsLayers": [], "history": []},
                       oci.DOCKER + "distribution.manifest.v1+prettyjws")


@image("refuse")
def manifest_missing(layout):
    return {"mediaType": oci.MANIFEST, "digest": oci.sha256(b"not here"), "size": 8}


@image("refuse")
def manifest_digest_wrong(layout):
    """The manifest's bytes are not those of its digest."""
    good = layout.image([honest(layout)])
    return layout.blob({"schemaVersion": 2}, oci.MANIFEST, digest=good["digest"])


@image("refuse")
def manifest_huge(layout):
    return layout.blob(b'{"schemaVersion": 2, "x": "' + b"x" * (32 << 20) + b'"}', oci.MANIFEST)


@image("accept")
def no_layers(layout):
    return layout.image([])


@image("refuse")
def artifact(layout):
    """A manifest that is no image: its config has another type."""
    return layout.manifest(layout.blob({}, "application/vnd.example.chart"), [layout.blob(b"chart", "application/vnd.example.chart.content")])


@image("refuse")
def layer_type_unknown(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "mediaType": "application/vnd.example.layer.v9"}, diff_id)])


@image("contain")
def layer_type_encrypted(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "mediaType": oci.LAYER + "+gzip+encrypted"}, diff_id)])


@image("contain")
def layer_foreign(layout):
    """A layer that may lie elsewhere: Windows' foreign layers."""
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "mediaType": oci.DOCKER + "image.rootfs.foreign.diff.tar.gzip",
                           "urls": ["http://127.0.0.1:1/layer"]}, diff_id)])


@image("refuse")
def layer_digest_wrong(layout):
    layer = Layer()
    layer.file("file", b"not what the digest says\n")
    tar = layer.bytes()
    return layout.image([(layout.blob(oci.gz(tar), oci.LAYER + "+gzip", digest=oci.sha256(b"other")), oci.sha256(tar))])


@image("refuse")
def layer_missing(layout):
    return layout.image([({"mediaType": oci.LAYER + "+gzip", "digest": oci.sha256(b"gone"), "size": 100}, oci.sha256(b""))])


@image("refuse")
def layer_size_small(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "size": layer["size"] - 10}, diff_id)])


@image("refuse")
def layer_size_large(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "size": layer["size"] + 1000}, diff_id)])


@image("refuse")
def layer_size_absurd(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "size": 2**63 - 1}, diff_id)])


@image("refuse")
def layer_size_negative(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "size": -1}, diff_id)])


@image("refuse")
def digest_malformed(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "digest": "sha256:../../../../etc/passwd"}, diff_id)])


@image("refuse")
def digest_unknown_algorithm(layout):
    layer, diff_id = honest(layout)
    return layout.image([({**layer, "digest": "md5:d41d8cd98f00b204e9800998ecf8427e"}, diff_id)])


@image("refuse")
def diff_id_wrong(layout):
    layer, _ = honest(layout)
    return layout.image([(layer, oci.sha256(b"another tar"))])


@image("refuse")
def diff_ids_too_few(layout):
    layer, _ = honest(layout)
    return layout.manifest(layout.config([]), [layer])


@image("refuse")
def diff_ids_too_many(layout):
    layer, diff_id = honest(layout)
    return layout.manifest(layout.config([diff_id, diff_id]), [layer])


@image("refuse")
def config_missing(layout):
    layer, _ = honest(layout)
    return layout.manifest({"mediaType": oci.CONFIG, "digest": oci.sha256(b"no config"), "size": 9}, [layer])


@image("refuse")
def config_not_json(layout):
    layer, _ = honest(layout)
    return layout.manifest(layout.blob(b"\xff\xfe not json", oci.CONFIG), [layer])


@image("refuse")
def index_empty(layout):
    return layout.index([])


@image("refuse")
def index_of_other_platforms(layout):
    return layout.index([oci.platform(layout.image([honest(layout)], arch="s390x"), "s390x")])


@image("contain")
def index_nested_forever(layout):
    """An index cannot hold itself (its digest would have to know itself): a thousand nested ones must do."""
    inner = oci.platform(layout.image([honest(layout)]), "amd64")
    for _ in range(1000):
        inner = oci.platform(layout.index([inner]), "amd64")
    return inner


@image("contain")
def layers_10000(layout):
    """Far more layers than any overlay can stack."""
    layer, diff_id = honest(layout)
    return layout.image([(layer, diff_id)] * 10_000)


@image("accept")
def layer_twice(layout):
    """The same layer twice is allowed; so is an empty one in between."""
    empty = layout.layer(Layer().bytes())
    same = honest(layout)
    return layout.image([same, empty, same])
