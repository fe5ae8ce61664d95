"""Writes a signed watch list from `config/schemas/watchlist.cddl` alone, in hexadecimal.

    python3 tests/independent/watchlist.py

What it prints is `MADE_ELSEWHERE` in `src/watchlist/tampering.rs`: a list that shares no code with
the program and that the program must accept. Ed25519 has one signature a key and message, so that
it prints the same every time."""

import hashlib

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1_790_596_800  # The Monday noon of the tests.
DAY = 86_400
CONTEXT = b"watchpost watch list v3"


def cbor(value):
    return cbor2.dumps(value, canonical=True)


def entry():
    photographs = [
        [hashlib.sha256(f"photograph {n}".encode()).digest(), quality]
        for n, quality in enumerate((875, 500, 1000))
    ]
    components = bytes((7 * n + 1) % 256 for n in range(64))
    said = {
        0: "case-1",
        1: "Police Act s. 12",
        2: "missing person 4711",
        3: NOW + 20 * DAY,
        4: components,
        5: photographs,
    }
    return cbor([b"\xa0" * 16, said])


def payload(entries):
    authorisation = {
        0: "District Court",
        1: "12 Gs 345/26",
        2: 1,
        3: ["gate-3"],
        4: [
            [
                [525_200_000, 134_000_000],
                [525_200_000, 134_100_000],
                [525_300_000, 134_050_000],
            ]
        ],
        5: [60, [[127, 0, 1440]]],
        6: 10,
        7: 50_000,
        8: 264,
    }
    return cbor(
        {
            0: 3,
            1: "made-elsewhere",
            2: 3,
            3: [NOW - 100, NOW - 50, NOW + DAY],
            4: b"\xe5" * 32,
            5: 64,
            6: authorisation,
            7: 2,
            8: b"".join(hashlib.sha256(e).digest() for e in entries),
            9: b"a promise made elsewhere",
            10: 1,
            11: None,
        }
    )


def signed(content, body, key):
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    header = cbor({1: -8, 4: hashlib.sha256(public).digest()[:8]})
    message = cbor(["Signature", body, header, CONTEXT, content])
    return [header, {}, key.sign(message)]


def main():
    entries = [entry()]
    content = payload(entries)
    body = cbor({3: "application/vnd.watchpost.watchlist+cbor"})
    keys = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2)]
    parts = [body, {-65537: entries}, content, [signed(content, body, k) for k in keys]]
    digits = cbor(cbor2.CBORTag(98, parts)).hex()
    for at in range(0, len(digits), 92):
        print(digits[at : at + 92])


if __name__ == "__main__":
    main()
