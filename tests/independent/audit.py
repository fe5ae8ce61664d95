"""Verifies proofs and checkpoints of the audit log with implementations that share nothing with it:
pymerkle (trees and inclusion), metamorphic-log (inclusion, consistency, checkpoints), and, for
consistency, which pymerkle proves in a way of its own, the two algorithms below, written from the
text of RFC 9162 alone: 2.1.4.1 makes each proof from the leaves, 2.1.4.2 verifies ours.

    WATCHPOST_AUDIT_PROOFS=proofs.json cargo test --test audit every_proof
    python3 tests/independent/audit.py proofs.json

The file has a random log: its records, the signed checkpoint of each size, the proof of each record
in each size, and of each size in each later one. pymerkle also builds the tree itself. Its records
of controls are read here after config/schemas/audit.cddl, and compared with what was written. Exit
code 1 where one of them disagrees, or takes a proof with one bit changed."""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

import cbor2
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


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def half(n):
    """The largest power of two below `n`."""
    return 1 << (n - 1).bit_length() - 1


def tree_hash(leaves):
    """RFC 9162, 2.1.1; the hashes of the leaves are given."""
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return node(tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def rfc9162_prove(m, leaves, known=True):
    """RFC 9162, 2.1.4.1: SUBPROOF(m, D_n, b)."""
    n = len(leaves)
    if m == n:
        return [] if known else [tree_hash(leaves)]
    k = half(n)
    if m <= k:
        return [*rfc9162_prove(m, leaves[:k], known), tree_hash(leaves[k:])]
    return [*rfc9162_prove(m - k, leaves[k:], False), tree_hash(leaves[:k])]


def rfc9162_verify(first, second, path, first_hash, second_hash):
    """RFC 9162, 2.1.4.2, by the numbers of its steps; a tree and itself need no path."""
    if first == second:
        if path or first_hash != second_hash:
            raise ValueError("two trees of one size")
        return
    if not path:  # 1
        raise ValueError("empty")
    if first & (first - 1) == 0:  # 2
        path = [first_hash, *path]
    fn, sn = first - 1, second - 1  # 3
    while fn & 1:  # 4
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]  # 5
    for c in path[1:]:  # 6
        if sn == 0:
            raise ValueError("too long")
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if (fr, sr, sn) != (first_hash, second_hash, 0):  # 7
        raise ValueError("another root")


def control(record):
    """What a record says of a control, by the names of the program's JSON; None of any other."""
    try:
        read = cbor2.loads(record)
    except (cbor2.CBORDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(read, dict) or list(read) != [0, 1, 2, 3] or read[0] != 1:
        return None
    if cbor2.dumps(read, canonical=True) != record:
        return None
    kind, of = read[2], read[3]
    if kind == 16:
        names = ("control", "desk", "payload", "registration")
        assert [len(part) for part in of] == [16, 8, 32, 32]
        return ["control-registered", dict(zip(names, (part.hex() for part in of), strict=True))]
    if kind == 17:
        words = {1: "judged", 2: "its time was over", 3: "its list or entry was revoked"}
        assert len(of[0]) == 16
        return ["control-ended", {"control": of[0].hex(), "how": words[of[1]]}]
    return None


def flipped(path):
    return [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("proofs", type=Path)
    log = json.loads(parser.parse_args().proofs.read_text())
    records = [base64.b64decode(record) for record in log["records"]]
    tree = InmemoryTree(algorithm="sha256")
    roots, wrong, checked = [tree.get_state()], [], 0
    leaves = [hashlib.sha256(b"\x00" + record).digest() for record in records]

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
        check(path == rfc9162_prove(old, leaves[:new]), f"RFC 9162 proves {old} to {new} otherwise")
        for name, verify in (
            ("metamorphic-log", metamorphic_log.verify_consistency),
            ("RFC 9162", rfc9162_verify),
        ):
            check(holds(verify, old, new, path, *ends), f"{name}: {old} to {new}")
            if path:
                bad = holds(verify, old, new, flipped(path), *ends)
                check(not bad, f"{name}: altered {old} to {new}")
                bad = holds(verify, old, new, path[:-1], *ends)
                check(not bad, f"{name}: shortened {old} to {new}")
                bad = holds(verify, old, new, path, ends[1], ends[0])
                check(not bad, f"{name}: {old} to {new} the other way round")
    controls = [[n, *said] for n, said in enumerate(map(control, records)) if said]
    check(controls == log["controls"], f"controls: {controls}, not {log['controls']}")
    print(f"audit: {checked} questions about a log of {len(records)}, {len(wrong)} answers differ")
    for what in wrong[:20]:
        print(f"  {what}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
