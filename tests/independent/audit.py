"""Verifies a running log with code that shares nothing with the log's own.

usage: audit.py URL LOG_VKEY QUORUM WITNESS_VKEY... [-- OLD_SIZE OLD_ROOT]

Checkpoint and cosignatures, every tile and entry bundle, an inclusion proof for each of some leaves, consistency with
an older head; and that a forged tile or entry is refused. Prints the size and the root as `SIZE ROOT`.
"""

import base64
import sys

from aics_tlog import (
    HttpTileReader,
    TileVerificationError,
    VerifiedTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)


class Forging:
    """A mirror that changes one bit of one resource."""

    def __init__(self, reader, kind):
        self.reader, self.kind = reader, kind

    def flip(self, data, here):
        return data if data is None or not here else bytes([*data[:40], data[40] ^ 1, *data[41:]])

    def read_tile(self, level, index, width):
        data = self.reader.read_tile(level, index, width)
        return self.flip(data, self.kind == "tile" and (level, index) == (0, 0))

    def read_entry_bundle(self, index, width):
        return self.flip(self.reader.read_entry_bundle(index, width), self.kind == "entry" and index == 0)


def refused(what):
    try:
        what()
    except TileVerificationError:
        return True
    return False


def main(url, log_vkey, quorum, *rest):
    witnesses, old = rest, ()
    if "--" in rest:
        at = rest.index("--")
        witnesses, old = rest[:at], rest[at + 1 :]
    reader = HttpTileReader(url, proxies={})
    note = parse_note(reader.read_checkpoint())
    keys = [parse_vkey(key) for key in witnesses]
    head = verify_checkpoint(note, parse_vkey(log_vkey), keys, int(quorum), max_age_seconds=600 if keys else None)
    assert head.ok, head.error
    size, root = head.size, head.root

    report = audit_tiles(reader, size, root)
    assert report.bundles == -(-size // 256), report
    proven = VerifiedTileReader(reader, size, root)
    for index in {0, 1, 255, 256, size // 2, size - 1} & set(range(size)):
        proof = inclusion_proof_from_tiles(reader, index, size)
        assert verify_inclusion(proven.leaf_hash(index), index, size, proof, root), index
    if old:
        old_size, old_root = int(old[0]), base64.b64decode(old[1])
        proof = consistency_proof_from_tiles(reader, old_size, size)
        assert verify_consistency(old_size, size, old_root, root, proof), "the log did not only grow"

    for kind in ("tile", "entry"):
        forged = Forging(reader, kind)
        assert refused(lambda: audit_tiles(forged, size, root)), f"a forged {kind} passes the audit"
        single = VerifiedTileReader(forged, size, root)
        read = single.leaf_hash if kind == "tile" else single.entry
        assert refused(lambda: read(0)), f"a forged {kind} is returned"
    print(size, base64.b64encode(root).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
