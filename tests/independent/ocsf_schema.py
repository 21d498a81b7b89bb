"""Makes `tests/fixtures/ocsf-1.9.json`: the classes and objects of OCSF that exports use, with everything they inherit.

usage: ocsf_schema.py CHECKOUT OUT

CHECKOUT is a clone of ocsf/ocsf-schema.
"""

import json
import subprocess
import sys

CLASSES = {
    3002: "authentication",
    3004: "entity_management",
    3007: "user_management",
    3008: "role_management",
    6003: "api_activity",
}
OBJECTS = (
    "metadata product actor user session network_endpoint location http_request url http_response attestation "
    "fingerprint managed_entity service api resource_details iam_role"
).split()
# These follow from the class itself.
OF_THE_CLASS = ("category_uid", "class_uid", "type_uid")

checkout, out = sys.argv[1:]


def git(*arguments):
    return subprocess.check_output(["git", "-C", checkout, *arguments], text=True)


def load(path):
    return json.loads(git("show", f"HEAD:{path}"))


dictionary = load("dictionary.json")
definitions = {"events": {}, "objects": {}}
for path in git("ls-tree", "-r", "--name-only", "HEAD").split():
    kind = path.split("/")[0]
    if kind in definitions and path.endswith(".json"):
        definition = load(path)
        definitions[kind][definition.get("name") or path.split("/")[-1][:-5]] = definition


def resolve(kind, name):
    """Attributes and constraints with those of what it extends and of the profiles it includes."""
    definition = definitions[kind][name]
    attributes, constraints = {}, None
    if definition.get("extends"):
        attributes, constraints = resolve(kind, definition["extends"])
    attributes = {key: dict(value) for key, value in attributes.items()}
    own = definition.get("attributes", {})
    for profile in own.get("$include", []):
        for key, value in load(profile).get("attributes", {}).items():
            if key != "$include":
                attributes.setdefault(key, {}).update(value, profile=profile)
    for key, value in own.items():
        if key != "$include":
            values = {**attributes.get(key, {}).get("enum", {}), **(value.get("enum") or {})}
            attributes.setdefault(key, {}).update(value)
            if values:
                attributes[key]["enum"] = values
    return attributes, definition.get("constraints") or constraints


def compact(kind, name):
    attributes, constraints = resolve(kind, name)
    described = {}
    for key, value in sorted(attributes.items()):
        known = dictionary["attributes"].get(key, {})
        attribute = {"type": value.get("type") or known.get("type")}
        if value.get("requirement") == "required" and not value.get("profile"):
            attribute["required"] = True
        if known.get("is_array") or value.get("is_array"):
            attribute["array"] = True
        values = {**(known.get("enum") or {}), **(value.get("enum") or {})}
        if values and key not in OF_THE_CLASS:
            attribute["enum"] = sorted(values)
        if "@deprecated" in value:
            attribute["deprecated"] = True
        described[key] = attribute
    one_of = (constraints or {}).get("at_least_one")
    return {"attributes": described, **({"at_least_one": one_of} if one_of else {})}


schema = {
    "source": "ocsf/ocsf-schema " + git("rev-parse", "HEAD").strip(),
    "version": load("version.json")["version"],
    "classes": {str(uid): compact("events", name) for uid, name in CLASSES.items()},
    "objects": {name: compact("objects", name) for name in OBJECTS},
    "types": {name: value.get("type") or name for name, value in dictionary["types"]["attributes"].items()},
}
with open(out, "w", encoding="utf-8") as file:
    json.dump(schema, file, separators=(",", ":"), sort_keys=True)
    file.write("\n")
