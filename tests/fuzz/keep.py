#!/usr/bin/env python3
"""Keeps of each corpus the inputs that show something new, small ones first, in `kept/`, one in base64 on a line.

Give it the folder of the built targets; corpora are read from `corpus/`, or from the folder that is given as well.
"""
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST, LONGEST = 150, 1024

targets, corpora = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else HERE / "corpus")
for corpus in sorted(path for path in corpora.iterdir() if (targets / path.name).exists()):
    with tempfile.TemporaryDirectory() as merged:
        run = [targets / corpus.name, "-set_cover_merge=1", f"-max_len={LONGEST}", merged, corpus]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        inputs = sorted((path.read_bytes() for path in Path(merged).iterdir()), key=lambda data: (len(data), data))
    # Evenly from the small to the large.
    step = max(1, -(-len(inputs) // MOST))
    lines = [base64.b64encode(data).decode() + "\n" for data in inputs[::step]]
    (HERE / "kept").mkdir(exist_ok=True)
    (HERE / "kept" / corpus.name).write_text("".join(lines), encoding="ascii")
    print(f"{corpus.name}: {len(lines)} of {len(inputs)}")
