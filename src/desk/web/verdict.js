// A reviewer's verdict: signed, sealed to the device, and signed again as an envelope. Format:
// config/schemas/verdict.cddl; the one who reads it: src/review/verdict.rs.
//
// * What leaves this module is an envelope. It does not tell what is said: what is sealed is always
//   of one length, and only the device has the key.
// * The key that signs cannot be copied out of the browser.

import { Encrypter } from "./age.js";
import { CborWriter } from "./cbor.js";

const VERDICT = {
  type: "application/vnd.watchpost.verdict+cbor",
  context: "watchpost verdict v1",
};
const ENVELOPE = {
  type: "application/vnd.watchpost.sealed-verdict+cbor",
  context: "watchpost sealed verdict v1",
};
const PAYLOAD_BYTES = 768;
/** What can be said, and the number that stands for it. */
export const OPINIONS = { same: 1, "not-same": 2, "cannot-judge": 3, "nobody-there": 4 };
/** How sure one is. */
export const CONFIDENCES = { low: 1, medium: 2, high: 3 };

const utf8 = (text) => new TextEncoder().encode(text);

/** Bytes of a UUID or of a hexadecimal digest. */
export function fromHex(text) {
  const digits = text.replaceAll("-", "");
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error("not hexadecimal");
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function exactly(length, bytes) {
  if (bytes.length !== length) throw new Error(`${length} bytes were expected`);
  return bytes;
}

function header(form, keyId) {
  return new CborWriter().map(3).key(1).int(-8).key(3).text(form.type).key(4).bytes(keyId).finish();
}

/** A tagged COSE_Sign1 (RFC 9052, section 4.2) by `signer` over `payload`. */
async function sign(form, payload, signer) {
  const protectedHeader = header(form, signer.id);
  const signed = new CborWriter().array(4).text("Signature1").bytes(protectedHeader);
  signed.bytes(utf8(form.context)).bytes(payload);
  const signature = await crypto.subtle.sign("Ed25519", signer.key, signed.finish());
  const out = new CborWriter().tag(18).array(4).bytes(protectedHeader).map(0).bytes(payload);
  return out.bytes(new Uint8Array(signature)).finish();
}

function content(pair, said, judgedAt, salt) {
  const write = (padding) => {
    const w = new CborWriter().map(12).key(0).uint(1);
    w.key(1).bytes(exactly(16, fromHex(pair.candidate)));
    w.key(2).bytes(exactly(32, fromHex(pair.payload_sha256)));
    w.key(3).text(pair.list).key(4).uint(pair.version);
    w.key(5).text(pair.device).key(6).text(pair.device_key);
    w.key(7).uint(OPINIONS[said.opinion]).key(8).uint(CONFIDENCES[said.confidence]);
    w.key(9).uint(judgedAt).key(10).bytes(salt).key(11).bytes(padding);
    return w.finish();
  };
  // The padding has more than 255 bytes, so that its head is two bytes longer than that of none.
  return exactly(
    PAYLOAD_BYTES,
    write(new Uint8Array(PAYLOAD_BYTES - 2 - write(new Uint8Array()).length)),
  );
}

/**
 * What is to be published for the device.
 *
 * @param pair  what `/api/pair/{candidate}` answers
 * @param said  `{opinion, confidence}`, as words
 * @param signer  `{key, id}`: the private Ed25519 key and the eight bytes that name it
 * @param judgedAt  seconds since 1970
 */
export async function giveVerdict(pair, said, signer, judgedAt) {
  if (!OPINIONS[said.opinion] || !CONFIDENCES[said.confidence]) throw new Error("nothing is said");
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const verdict = await sign(VERDICT, content(pair, said, judgedAt, salt), signer);
  const to = new Encrypter();
  // X25519 and nothing else: what the device opens.
  if (!/^age1[02-9ac-hj-np-z]{58}$/.test(pair.device_key)) throw new Error("no device's key");
  to.addRecipient(pair.device_key);
  const sealed = await to.encrypt(verdict);
  const w = new CborWriter().map(4).key(0).uint(1).key(1).bytes(fromHex(pair.candidate));
  w.key(2).text(pair.device).key(3).bytes(sealed);
  return sign(ENVELOPE, w.finish(), signer);
}

/** The eight bytes that name a public key of 32. */
export async function keyId(publicKey) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", publicKey)).slice(0, 8);
}
