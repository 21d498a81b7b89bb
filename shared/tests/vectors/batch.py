#!/usr/bin/env python3
"""Batch headers, bodies, frames and signed notes a second time, from their description alone.

    python3 batch.py write batch.json     writes the vectors of this file's cases
    python3 batch.py check batch.json     recomputes every vector from its inputs and names the first that differs

Standard library only. Ed25519 is written as RFC 8032, section 5.1, describes it: slow, not constant-time, for test
keys alone.
"""
import hashlib, os, struct, sys
from base64 import b64encode

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from leaf import cases as leaf_cases, main, sha256, vectors as leaf_vectors  # noqa: E402

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n):
    """n times the base point, compressed."""
    y = 4 * pow(5, -1, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = x if x % 2 == 0 else P - x
    point, total = (x, y, 1, x * y % P), (0, 1, 1, 0)
    while n:
        total, point, n = add(total, point) if n & 1 else total, add(point, point), n >> 1
    z = pow(total[2], -1, P)
    return int.to_bytes(total[1] * z % P | (total[0] * z % P & 1) << 255, 32, "little")


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


def expand(seed):
    full = sha512(seed)
    scalar = int.from_bytes(full[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, full[32:], times(scalar)


def sign(seed, message):
    scalar, prefix, public = expand(seed)
    r = int.from_bytes(sha512(prefix, message), "little") % L
    point = times(r)
    k = int.from_bytes(sha512(point, public, message), "little") % L
    return point + int.to_bytes((r + k * scalar) % L, 32, "little")


def batch(case):
    name, seed, (_, _, public) = case["key_name"], bytes.fromhex(case["key_seed"]), expand(bytes.fromhex(case["key_seed"]))
    key_id = sha256(name.encode() + b"\n\x01" + public)[:4]
    digests, openings = [bytes.fromhex(hash) for hash in case["digests"]], [bytes.fromhex(o) for o in case["openings"]]
    events = sha256(b"".join(digests))
    header = (f"audit-batch/v1\ntenant {case['tenant']}\nstream {case['stream']}\nseq {case['seq']}\nprev {case['prev']}\n"
              f"sent {case['sent']}\ncount {len(digests)}\ndropped {case['dropped']}\nevents {b64encode(events).decode()}\n")
    body = struct.pack(">H", len(digests)) + b"".join(digests)
    body += b"".join(struct.pack(">I", len(opening)) + opening for opening in openings)
    note = f"{header}\n\u2014 {name} {b64encode(key_id + sign(seed, header.encode())).decode()}\n"
    frame = struct.pack(">I", len(note.encode())) + note.encode() + struct.pack(">I", len(body)) + body
    return {**case, "public_key": public.hex(), "key_id": key_id.hex(),
            "verifier_key": f"{name}+{key_id.hex()}+{b64encode(bytes([1]) + public).decode()}",
            "signer_key": f"PRIVATE+KEY+{name}+{key_id.hex()}+{b64encode(bytes([1]) + seed).decode()}",
            "events_hash": events.hex(), "header": header, "header_hash": sha256(header.encode()).hex(),
            "body": body.hex(), "note": note, "frame": frame.hex()}


def vectors(inputs):
    return {"batches": [batch(case) for case in inputs["batches"]]}


def cases():
    """Two batches of one stream: the second names the first."""
    events = leaf_vectors(leaf_cases())["events"]
    base = {"tenant": "acme", "key_name": "edge.example.com/eu", "key_seed": bytes(range(32)).hex(),
            "stream": "6f1c000102030405060708090a0b0c0d", "sent": 1795400000123}
    pick = lambda *chosen: {"digests": [case["digest"] for case in chosen], "openings": [case["opening"] for case in chosen]}
    first = {"name": "the first of a stream", **base, "seq": 0, "prev": "00" * 32, "dropped": 0, **pick(events[0])}
    second = {"name": "the second of it", **base, "seq": 1, "prev": batch(first)["header_hash"], "dropped": 7,
              **pick(events[1], events[2])}
    return {"batches": [first, second]}


if __name__ == "__main__":
    main(vectors, cases, sys.argv)
