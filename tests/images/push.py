"""Pushes an OCI layout into a registry over plain HTTP, changing nothing: digests and media types stay what they are.

    push.py [--user NAME:PASSWORD] [--ca FILE] LAYOUT[:TAG] HOST:PORT/NAME[:TAG]

skopeo would do for honest images; it converts, recompresses or refuses the others.
"""

import argparse
import base64
import http.client
import json
import os
import ssl
import sys
import urllib.parse

import oci

INDEXES = {oci.INDEX, oci.DOCKER_LIST}


class Registry:
    """One repository of a registry, on one connection."""

    def __init__(self, host, name, user, ca):
        self.name = name
        self.headers = {}
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        if ca:
            self.connection = http.client.HTTPSConnection(host, context=ssl.create_default_context(cafile=ca))
        else:
            self.connection = http.client.HTTPConnection(host)

    def ask(self, method, path, body=None, expect=(), **headers):
        """One request; the answer's status and headers. Anything not expected ends the program."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, {**self.headers, **headers})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in expect:
            sys.exit(f"push.py: {method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return answer.status, answer.headers

    def blob(self, path, digest):
        """Uploads a blob unless it is there."""
        status, _ = self.ask("HEAD", f"/v2/{self.name}/blobs/{digest}", expect=(200, 404))
        if status == 200:
            return
        _, headers = self.ask("POST", f"/v2/{self.name}/blobs/uploads/", expect=(202,))
        place = urllib.parse.urlsplit(headers["Location"])
        query = f"{place.query}&digest={urllib.parse.quote(digest)}"
        with open(path, "rb") as source:
            self.ask("PUT", f"{place.path}?{query}", source, expect=(201,), Content_Type="application/octet-stream",
                     Content_Length=str(os.path.getsize(path)))

    def manifest(self, reference, body, media_type):
        """Uploads a manifest or an index under a tag or its digest."""
        self.ask("PUT", f"/v2/{self.name}/manifests/{reference}", body, expect=(201,), Content_Type=media_type)


def push(registry, path, descriptor, reference):
    """Uploads what a descriptor names, what that refers to first."""
    with open(path(descriptor["digest"]), "rb") as source:
        body = source.read()
    content = json.loads(body)
    if descriptor["mediaType"] in INDEXES:
        for child in content["manifests"]:
            push(registry, path, child, child["digest"])
    else:
        for blob in [content["config"], *content["layers"]]:
            registry.blob(path(blob["digest"]), blob["digest"])
    registry.manifest(reference, body, descriptor["mediaType"])


def main():
    """See the head of the file."""
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("--user")
    options.add_argument("--ca")
    options.add_argument("layout")
    options.add_argument("target")
    options = options.parse_args()
    layout, tag = (options.layout, None) if os.path.isdir(options.layout) else options.layout.rsplit(":", 1)
    host, _, name = options.target.partition("/")
    name, _, target_tag = name.partition(":")
    if tag is None and name_count(layout) > 1:
        tag = "latest"
    descriptor, _, path = oci.read(layout, tag)
    push(Registry(host, name, options.user, options.ca), path, descriptor, target_tag or "latest")


def name_count(layout):
    """How many names a layout has."""
    with open(os.path.join(layout, "index.json")) as source:
        return len(json.load(source)["manifests"])


if __name__ == "__main__":
    main()
