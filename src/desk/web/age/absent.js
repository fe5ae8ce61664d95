// Stands where age-encryption would take what the desk leaves out: passphrases, P-256, post-quantum
// recipients, and X25519 in script. Without the last there is no way by which a key that can be
// copied would do: where the browser has no X25519, nothing is opened.
function absent() {
  throw new Error("left out of the desk's bundle");
}

const base = new Uint8Array(32);
base[0] = 9;

export const x25519 = { GuBytes: base, scalarMult: absent, scalarMultBase: absent };
export const p256 = {};
export const scrypt = absent;
export const MLKEM768P256 = { decapsulate: absent, encapsulate: absent, getPublicKey: absent };
export const MLKEM768X25519 = MLKEM768P256;
