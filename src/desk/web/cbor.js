// Deterministic CBOR (RFC 8949, section 4.2.1): shortest heads, definite lengths; whoever writes a
// map writes its keys ascending. What src/watchlist/cbor.rs reads.

const [UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG] = [0, 1, 2, 3, 4, 5, 6];

/** Writes one value after another. */
export class CborWriter {
  #out = [];

  #head(major, value) {
    const n = BigInt(value);
    if (n < 0n || n > 0xffffffffffffffffn) throw new RangeError("no 64 bits");
    const first = major << 5;
    if (n < 24n) this.#out.push(first | Number(n));
    else {
      const wide = n < 0x100n ? 0 : n < 0x10000n ? 1 : n < 0x100000000n ? 2 : 3;
      this.#out.push(first | (24 + wide));
      for (let shift = 8n * (1n << BigInt(wide)) - 8n; shift >= 0n; shift -= 8n) {
        this.#out.push(Number((n >> shift) & 0xffn));
      }
    }
    return this;
  }

  /** A number from zero; a BigInt above 2^53. */
  uint(value) {
    return this.#head(UINT, value);
  }

  /** A number of either sign. */
  int(value) {
    return value < 0 ? this.#head(NEGATIVE, -1 - value) : this.uint(value);
  }

  bytes(value) {
    this.#head(BYTES, value.length);
    for (const byte of value) this.#out.push(byte);
    return this;
  }

  text(value) {
    const bytes = new TextEncoder().encode(value);
    this.#head(TEXT, bytes.length);
    for (const byte of bytes) this.#out.push(byte);
    return this;
  }

  array(items) {
    return this.#head(ARRAY, items);
  }

  map(fields) {
    return this.#head(MAP, fields);
  }

  tag(number) {
    return this.#head(TAG, number);
  }

  /** A key of the map just opened. */
  key(number) {
    return this.uint(number);
  }

  finish() {
    return Uint8Array.from(this.#out);
  }
}
