#!/usr/bin/env python3
"""Writes the pinned vectors of `shared` to the corpora, as a start for the fuzzer."""
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
