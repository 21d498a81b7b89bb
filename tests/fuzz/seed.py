#!/usr/bin/env python3
"""Writes the pinned vectors of `shared` to the corpora, as a start for the fuzzer."""
import base64
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "shared" / "tests" / "vectors"


def seed(target, inputs):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for at, data in enumerate(inputs):
        (folder / f"seed-{at}").write_bytes(data)


leaf = json.loads((VECTORS / "leaf.json").read_text(encoding="utf-8"))
batch = json.loads((VECTORS / "batch.json").read_text(encoding="utf-8"))
frames = [bytes.fromhex(case["frame"]) for case in batch["batches"]]
seed("opening", [bytes.fromhex(case["opening"]) for case in leaf["leaves"] + leaf["events"]])
seed("batch_request", [*frames, b"".join(frames)])
seed("tile_path", [b"tile/0/x001/x234/067", b"tile/entries/000.p/255", b"tile/63/999.p/1"])
exchange = {"label": "l", "n": 1, "name": "n", "at": "2026-11-23T03:21:56.964Z", "ms": 41,
            "request": {"method": "POST", "url": "/", "headers": [["host", "h"]], "body": "{}"},
            "response": {"status": 200, "headers": [], "body": None}}
archive = {"log": {"version": "1.2", "entries": [
    {"startedDateTime": "2026-11-23T03:21:56.964Z", "time": 41.5,
     "request": {"method": "POST", "url": "https://h/p?q=1", "headers": [{"name": "host", "value": "h"}], "bodySize": 3,
                 "postData": {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a", "value": "b"}]}},
     "response": {"status": 200, "headers": [], "content": {"size": 2, "text": "e30=", "encoding": "base64"}}}]}}
seed("recording", [json.dumps(exchange).encode() + b"\n\n" + json.dumps(exchange).encode(), json.dumps(archive).encode()])
log = "07" * 16
line = {"log": log, "index": 3, "id": "019a0000-0000-7000-8000-000000000000", "opening": "AQ=="}
manifest = {"format": "edgetrail-bundle/v1", "kind": "log", "tenant": "acme", "made_at": "", "logs": []}
run = bytes.fromhex(log) + (5).to_bytes(8, "big") + (2).to_bytes(4, "big") + (0x8000).to_bytes(2, "big")
seed("bundle", [json.dumps(line).encode(), json.dumps(manifest).encode(), run, *[bytes.fromhex(case["opening"]) for case in leaf["leaves"]]])
root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
head = f"log.example/log/{log}\n9\n{root}\n\n\u2014 log.example/log/{log} AQIDBAk=\n"
seed("tlog_proof", [f"c2sp.org/tlog-proof@v1\nextra AQ==\nindex 3\n{root}\n\n{head}".encode()])
entry = b"\x00\x2a\x01" + bytes(41)
after = head.replace(log, "08" * 16).encode()
files = [run, run, head.encode(), entry, b"", json.dumps(line).encode(), b"", b"", b"", b"", after, head.encode(), entry]
seed("verify", [b"\xff".join(files)])
seed("search", [b"\x04" + text.encode() for text in [
    'action:(AGENT_* OR USER_LOGIN) -actor:alice@example.com severity:>=warning last:7d "free text"',
    "entity:agent/123 ip:203.0.113.0/24 status:4xx,500..599 duration:>2s at:2026-01-01..2026-02-01 is:failed",
    '(a OR b) NOT (c d) name:"Invoice "* OR severty:x']])
between = b"\xff"
rule = {"id": "r", "match": {"method": ["POST"], "path": "/api/agents/{id}", "query": {"a": "b"}}, "level": "full", "action": "AGENT_CREATED",
        "when": "request:/a", "severity": "info", "entity": {"type": "agent", "id": "path:id", "name": "first(request:/name, response:/name)"},
        "details": {"n": "count(request:/list)"}, "changes": {"request": "request:", "after": "response:", "fields": ["a"]}}
pack = {"name": "app", "version": 1, "extends": "app", "lists": {"l": ["x"]}, "defaults": {"level": "full"}, "rules": [rule]}
document = json.dumps({"packs": [pack]}).encode()
line = between.join([b"", b"POST", b"/api/agents/7", b"a=b"])
seed("policy", [document + line, json.dumps(pack).encode() + line, b"edgetrail-policy/v1\ntenant acme\nversion 7\n" + document + b"\n" + line])
encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
claims = {"sub": "u", "iss": "https://i.example", "aud": ["authenticated"], "role": "authenticated", "exp": 1795400060, "amr": [{"method": "otp"}]}
token = b".".join([encode({"alg": "ES256", "kid": "k"}), encode(claims), b"c2ln"])
session = encode({"access_token": token.decode()})
keys = json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": "X", "y": "Y"}, {"kty": "RSA", "kid": "r", "n": "N", "e": "AQAB"}]}).encode()
seed("identity", [between.join(parts) for parts in [
    [b"sb-r-auth-token=base64-" + session, token, keys], [b"a=b; sb-r-auth-token.0=base64-" + session[:40] + b"; sb-r-auth-token.1=" + session[40:], token, keys],
    [b"sb-r-auth-token=%5B%22" + token + b"%22%5D", token, keys]]])
body = json.dumps({"id": "1", "name": "n", "password": "p", "agent_name": "x", "status": "active", "list": [1, {"a": None}]}).encode()
seed("exchange", [bytes([n >> 8, n & 255, kind]) + between.join([body, body, body, b"select=id&id=eq.1", b"sb-r-auth-token=base64-" + session,
     b"content-type: application/json\norigin: https://app.example.com\nuser-agent: Mozilla/5.0"]) for n, kind in [(0, 0), (40, 4), (150, 1), (320, 2), (400, 3), (450, 160)]])
seed("event_stream", [b"\x03event: done\ndata: {\"type\":\"x\"}\n\ndata: a\ndata: b\n\n", b"\x01\xef\xbb\xbf: c\r\ndata:x\r\rid: 1\n\n"])
seed("note", [head.encode(), *[case[name].encode() for case in batch["batches"] for name in ["note", "verifier_key", "signer_key"]]])
seed("json", [body, b"{\"a\":[1,2.5e3,\"\\u00e9\",true,null,{}]}" + between + b"{\"a\":[1]}", b"[[[1" + between + b"Authorization: Bearer abc"])
