"""Verifies proofs and checkpoints of the audit log with two implementations that share nothing with
it: pymerkle and metamorphic-log.

    WATCHPOST_AUDIT_PROOFS=proofs.json cargo test --test audit every_proof
    python3 tests/independent/audit.py proofs.json

The file has a random log: its records, the signed checkpoint of each size, the proof of each record
in each size, and of each size in each later one. pymerkle also builds the tree itself. Exit code 1
where one of them disagrees, or takes a proof with one bit changed."""

import argparse
import base64
import json
import sys
from pathlib import Path

import metamorphic_log
import pymerkle
from pymerkle import InmemoryTree
from pymerkle.core import _inclusion_path_layout


def hashes(texts):
    return [base64.b64decode(text) for text in texts]


def holds(verify, *arguments):
    try:
        verify(*arguments)
    except Exception as error:  # Each has its own kinds of refusal.
        if isinstance(error, (TypeError, AttributeError)):
            raise
        return False
    return True


def pymerkle_inclusion(index, size, leaf, path, root):
    rule, _ = _inclusion_path_layout(index + 1, size)
    proof = pymerkle.InclusionProof("sha256", True, size, index + 1, rule, [leaf, *path])
    pymerkle.verify_inclusion(leaf, root, proof, index + 1, size)


def flipped(path):
    return [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("proofs", type=Path)
    log = json.loads(parser.parse_args().proofs.read_text())
    records = [base64.b64decode(record) for record in log["records"]]
    tree = InmemoryTree(algorithm="sha256")
    roots, wrong, checked = [tree.get_state()], [], 0

    def check(held, what):
        nonlocal checked
        checked += 1
        if not held:
            wrong.append(what)

    for record in records:
        tree.append_entry(record)
        roots.append(tree.get_state())
    for size, note in enumerate(log["checkpoints"], 1):
        head = metamorphic_log.checkpoint_verify(note, [log["key"]])
        check((head.size, bytes(head.root)) == (size, roots[size]), f"checkpoint of {size}")
        altered = note.replace(f"\n{size}\n", f"\n{size + 1}\n")
        check(
            not holds(metamorphic_log.checkpoint_verify, altered, [log["key"]]),
            f"altered checkpoint of {size}",
        )
    for index, size, texts in log["inclusion"]:
        leaf, root, path = tree.get_leaf(index + 1), roots[size], hashes(texts)
        ours = tree.prove_inclusion(index + 1, size).path[1:]
        check(path == ours, f"pymerkle proves {index} in {size} otherwise")
        for name, verify in (
            ("pymerkle", pymerkle_inclusion),
            ("metamorphic-log", metamorphic_log.verify_inclusion),
        ):
            check(holds(verify, index, size, leaf, path, root), f"{name}: {index} in {size}")
            if path:
                bad = holds(verify, index, size, leaf, flipped(path), root)
                check(not bad, f"{name}: altered {index} in {size}")
    for old, new, texts in log["consistency"]:
        path, ends = hashes(texts), (roots[old], roots[new])
        good = holds(metamorphic_log.verify_consistency, old, new, path, *ends)
        check(good, f"metamorphic-log: {old} to {new}")
        if path:
            bad = holds(metamorphic_log.verify_consistency, old, new, flipped(path), *ends)
            check(not bad, f"metamorphic-log: altered {old} to {new}")
    print(f"audit: {checked} questions about a log of {len(records)}, {len(wrong)} answers differ")
    for what in wrong[:20]:
        print(f"  {what}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
