// Gives a verdict with the desk's own script, outside of a browser: for tests/desk_script.rs.
//
// Reads one JSON object from standard input: `seed` (base64 of the private Ed25519 key), `pair` and
// `said` as the page has them, `judged_at`. Writes the envelope to standard output.

import { webcrypto } from "node:crypto";

// Node 18 has it, and not where browsers have it.
globalThis.crypto ??= webcrypto;
const { giveVerdict, keyId } = await import("../../src/desk/web/verdict.js");

// RFC 8410: a private key of Ed25519 is these bytes and the 32 of its seed.
const PKCS8 = "302e020100300506032b657004220420";

let text = "";
for await (const piece of process.stdin) text += piece;
const { seed, pair, said, judged_at: judgedAt } = JSON.parse(text);

const pkcs8 = Buffer.concat([Buffer.from(PKCS8, "hex"), Buffer.from(seed, "base64")]);
const extractable = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
const { x } = await crypto.subtle.exportKey("jwk", extractable);
const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]);

const signer = { key, id: await keyId(Buffer.from(x, "base64url")) };
process.stdout.write(await giveVerdict(pair, said, signer, judgedAt));
