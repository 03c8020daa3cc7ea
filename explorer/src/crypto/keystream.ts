// Key streams: docs/specification.md, section 2.

import type { Bytes } from "../decoding/bytes.ts";
import { P, words } from "./ring.ts";

/** The keys of WebCrypto for one key, which serve all its streams. */
export class KeyStream {
  #key: Promise<CryptoKey>;

  constructor(key: Bytes) {
    this.#key = crypto.subtle.importKey("raw", key, "AES-CTR", false, ["encrypt"]);
  }

  async bytes(stream: number, count: number): Promise<Bytes> {
    const counter = new Uint8Array(16);
    new DataView(counter.buffer).setBigUint64(0, BigInt(stream));
    const algorithm = { name: "AES-CTR", counter, length: 128 };
    return new Uint8Array(await crypto.subtle.encrypt(algorithm, await this.#key, new Uint8Array(count)));
  }

  async words(stream: number, count: number): Promise<Uint32Array<ArrayBuffer>> {
    return words(await this.bytes(stream, 4 * count));
  }

  /** The first residues of a stream: words without their top bit, those that are not below p skipped. */
  async residues(stream: number, count: number): Promise<Float64Array> {
    for (let extra = 16; ; extra *= 2) {
      const source = await this.words(stream, count + extra);
      const out = new Float64Array(count);
      let found = 0;
      for (let i = 0; i < source.length && found < count; i++) {
        const word = source[i] & 0x7fffffff;
        if (word < P) out[found++] = word;
      }
      if (found === count) return out;
    }
  }

  async prg(length: number): Promise<Float64Array> {
    const out = new Float64Array(length);
    for (let c = 0; 65536 * c < length; c++) {
      out.set(await this.residues(c, Math.min(65536, length - 65536 * c)), 65536 * c);
    }
    return out;
  }
}
