#!/usr/bin/env python3
"""The leaf format and the event records a second time, from their description alone.

    python3 leaf.py write leaf.json     writes the vectors of this file's cases
    python3 leaf.py check leaf.json     recomputes every vector from its inputs and names the first that differs

Standard library only. It shares nothing with the Rust code: where both agree, the bytes are as described.
"""
import hashlib, hmac, json, struct, sys, uuid

TYPES = {"text": 1, "json": 2, "record": 3}
CLASSES = {"standard": 0, "critical": 1, "permanent": 2}
SEVERITIES = {"info": 1, "warning": 2, "critical": 3}
OUTCOMES = {"success": 1, "failure": 2, "unknown": 3}
TRUSTS = {"verified": 1, "asserted": 2, "anonymous": 3, "service": 4, "system": 5}
QUALITIES = {"exact": 1, "inferred": 2, "partial": 3, "unavailable": 4}
BODIES = {"absent": 0, "complete": 1, "truncated": 2, "unparsable": 3}


def sha256(data):
    return hashlib.sha256(data).digest()


def salt(seed, tag):
    return hmac.new(seed, struct.pack(">H", tag), hashlib.sha256).digest()[:16]


def commit(tag, salt, kind, value):
    return sha256(b"audit/field/v1\0" + struct.pack(">H", tag) + salt + struct.pack(">BI", kind, len(value)) + value)


def digest(commitments):
    items = b"".join(struct.pack(">H", tag) + commitment for tag, commitment in commitments)
    return sha256(b"audit/event/v1\0" + struct.pack(">H", len(commitments)) + items)


def leaf(case):
    """A vector: the inputs of `case` and all that follows from them."""
    seed, fields, commitments = bytes.fromhex(case["seed"]), [], []
    opening = b"\x01" + seed + bytes([len(case["fields"])])
    for field in case["fields"]:
        tag, kind, value = int(field["tag"], 16), TYPES[field["type"]], bytes.fromhex(field["value"])
        if commitments and commitments[-1][0] >= tag:
            raise ValueError(f"{case['name']}: tags must ascend")
        commitments.append((tag, commit(tag, salt(seed, tag), kind, value)))
        opening += struct.pack(">HBI", tag, kind, len(value)) + value
        fields.append({"tag": field["tag"], "type": field["type"], "value": field["value"],
                       "salt": salt(seed, tag).hex(), "commitment": commitments[-1][1].hex()})
    entry = struct.pack(">BBQ", 1, CLASSES[case["class"]], case["received_ms"]) + digest(commitments)
    return {"name": case["name"], "seed": case["seed"], "fields": fields, "opening": opening.hex(),
            "digest": digest(commitments).hex(), "class": case["class"], "received_ms": case["received_ms"],
            "entry": entry.hex(), "leaf_hash": sha256(b"\0" + entry).hex()}


def record(*parts):
    """Parts as `number, value`; a text is written as UTF-8, None is left out."""
    values = [(number, value.encode() if isinstance(value, str) else value) for number, value in parts]
    return b"".join(struct.pack(">BH", number, len(value)) + value for number, value in values if value is not None)


def whole(case):
    """A vector of a whole event: its words, its fields, and the leaf over them."""
    event, context, request = case["event"], case["event"]["context"], case["event"]["request"]
    entity, changes, place = event.get("entity"), event.get("changes"), context.get("place")
    optional = lambda pack, value: None if value is None else struct.pack(pack, value)
    structure = record(
        (1, event["tenant"]), (2, uuid.UUID(event["id"]).bytes), (3, struct.pack(">Q", event["occurred_at"])),
        (4, event["action"]), (5, bytes([SEVERITIES[event["severity"]]])), (6, bytes([OUTCOMES[event["outcome"]]])),
        (7, bytes([TRUSTS[event["trust"]]])), (8, bytes([CLASSES[event["class"]]])),
        (9, entity and entity["type"]), (10, changes and bytes([QUALITIES[changes["quality"]]])),
        (11, ",".join(event["compliance"]) or None), (12, optional(">I", event.get("duration_ms"))),
        (13, request["host"]), (14, request["method"]), (15, request["route"]), (16, request["rule"]),
        (17, optional(">H", request.get("status"))),
        (18, bytes([BODIES[request["request_body"]], BODIES[request["response_body"]]])), (19, event.get("reason")))
    words = lambda part, names: record(*((at, part.get(name)) for at, name in enumerate(names.split(), 1)))
    fields = [(0x0001, "record", structure)]
    if actor := event.get("actor"):
        fields.append((0x8001, "record", words(actor, "id email role aal method")))
    if claimed := event.get("claimed_user"):
        fields.append((0x8002, "record", words(claimed, "id source")))
    if entity and (target := words(entity, "id name")):
        fields.append((0x8003, "record", target))
    for tag, name in ((0x8004, "ip"), (0x8005, "user_agent"), (0x8006, "session")):
        if context.get(name) is not None:
            fields.append((tag, "text", context[name].encode()))
    if place is not None:
        fields.append((0x8007, "record", words(place, "country colo ray tls asn")))
    if event.get("details") is not None:
        fields.append((0x8008, "json", event["details"].encode()))
    if changes:
        fields.append((0x8009, "json", changes["fields"].encode()))
    fields = [{"tag": f"{tag:#06x}", "type": kind, "value": value.hex()} for tag, kind, value in fields]
    return {"event": event, **leaf({**case, "fields": fields, "class": event["class"]})}


def cases():
    seed = lambda n: sha256(b"edgetrail test seed %d" % n).hex()
    item = lambda tag, kind, value: {"tag": tag, "type": kind, "value": value.encode().hex()}
    at = lambda name, n, *fields, kept="standard", ms=1795400000123: {
        "name": name, "seed": seed(n), "fields": list(fields), "class": kept, "received_ms": ms}
    request = {"host": "app.example.com", "method": "POST", "route": "/v1/agents/{id}", "rule": "app/agent.update",
               "status": 200, "request_body": "complete", "response_body": "truncated"}
    least = {"tenant": "acme", "id": "01a20575-cd7b-7000-8000-000000000001", "occurred_at": 1795400000123,
             "class": "standard", "action": "PING", "severity": "info", "outcome": "unknown", "trust": "anonymous",
             "request": {"host": "", "method": "GET", "route": "/", "rule": "app/ping", "request_body": "absent",
                         "response_body": "absent"}, "context": {}, "compliance": []}
    most = {"tenant": "acme-2", "id": "01a20575-cd7b-7abc-9def-0123456789ab", "occurred_at": 1795400000124,
            "class": "critical", "action": "AGENT_UPDATED", "severity": "critical", "outcome": "failure",
            "reason": "invalid_credentials", "trust": "verified",
            "actor": {"id": "8a7e0c52-0d44-4f4e-9a44-6d8a3b7f1c11", "email": "ada@example.com",
                      "role": "authenticated", "aal": "aal2", "method": "password"},
            "claimed_user": {"id": "bob@example.com", "source": "header:x-user-id"},
            "entity": {"type": "agent", "id": "42", "name": "Grüße, 世界 \U0001f512"}, "request": request,
            "context": {"ip": "2001:db8::1", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)", "session": "s-1",
                        "place": {"country": "DE", "colo": "FRA", "ray": "8f00ba12cd34ef56", "tls": "TLSv1.3",
                                  "asn": "3320"}},
            "details": "{\"b\": 1.0, \"a\":[12,\"12\"]}",
            "changes": {"quality": "inferred", "fields": "{\"model\":{\"from\":\"a\",\"to\":\"b\"}}"},
            "compliance": ["GDPR", "SOC2"], "duration_ms": 4294967295}
    gaps = {**most, "id": "01a20575-cd7b-7abc-9def-0123456789ac", "actor": {"id": "", "method": ""},
            "entity": {"type": "agent"}, "context": {"ip": "192.0.2.7", "user_agent": "", "place": {}},
            "changes": None, "compliance": ["SOC2"], "duration_ms": 0, "reason": None, "claimed_user": None}
    texts = [item("0x8005", "text", "curl/8"), item("0x8006", "text", "s")]
    return {"leaves": [
        at("no field at all", 0, ms=0),
        at("one structural field", 1, item("0x0001", "record", "\x04\0\x04PING")),
        at("all ten fields", 2, *(item(f"{tag:#06x}", "record" if tag in (1, 0x8001, 0x8002, 0x8003, 0x8007) else
                                      "json" if tag > 0x8007 else "text", f"value of {tag:#06x}")
                                  for tag in (1, *range(0x8001, 0x800a))), kept="critical"),
        at("unicode", 3, item("0x8005", "text", "Grüße, 世界 \U0001f512 e\u0301 \ufeff"), kept="permanent"),
        at("an empty value", 4, item("0x8005", "text", ""), item("0x8006", "text", "s")),
        at("the same field absent", 4, item("0x8006", "text", "s")),
        at("12 as text", 5, item("0x8008", "text", "12")),
        at("12 as json", 5, item("0x8008", "json", "12")),
        at("the same values under one seed", 6, *texts),
        at("the same values under another", 7, *texts),
        at("an unknown tag", 8, item("0x7fff", "record", "?"), item("0xffff", "text", "?"), ms=2**64 - 1),
    ], "events": [{"name": name, "seed": seed(100 + n), "event": event, "received_ms": 1795400001000 + n}
                  for n, (name, event) in enumerate([("as little as an event can hold", least),
                                                     ("everything an event can hold", most),
                                                     ("empty texts and absent ones", gaps)])]}


def vectors(inputs):
    return {"leaves": [leaf(case) for case in inputs["leaves"]], "events": [whole(case) for case in inputs["events"]]}


def main(build, inputs, argv):
    if len(argv) != 3 or argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    if argv[1] == "write":
        with open(argv[2], "w", encoding="utf-8") as file:
            file.write(json.dumps(build(inputs()), indent=1, ensure_ascii=False) + "\n")
        return
    with open(argv[2], encoding="utf-8") as file:
        given = json.load(file)
    want = build(given)
    wrong = [f"{kind}: {case['name']}" for kind in want for case, right in zip(given[kind], want[kind]) if case != right]
    if wrong:
        sys.exit("differs: " + "; ".join(wrong))
    print("all as described:", ", ".join(f"{len(given[kind])} {kind}" for kind in want))


if __name__ == "__main__":
    main(vectors, cases, sys.argv)
