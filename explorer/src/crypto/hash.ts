// SHA-256, frames, HKDF and tree hashes: docs/specification.md, sections 1 and 2.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as sha } from "@noble/hashes/sha2.js";
import { type Bytes, concat, require, u64, utf8 } from "../decoding/bytes.ts";

export const PROTOCOL = "secure-agg/2";

/** Of many bytes by WebCrypto, which can't be asked synchronously, see `sha256Bulk`. */
export function sha256(data: Uint8Array): Bytes {
  return new Uint8Array(sha(data));
}

export async function sha256Bulk(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

export function frame(label: string, ...parts: readonly Uint8Array[]): Bytes {
  const items = [utf8(PROTOCOL), utf8(label), ...parts];
  return concat(...items.flatMap((item) => [u64(item.length), item]));
}

export function digest(label: string, ...parts: readonly Uint8Array[]): Bytes {
  return sha256(frame(label, ...parts));
}

/** HKDF-SHA256 (RFC 5869) without salt, one block of output. */
export function kdf(secret: Uint8Array, label: string, ...context: readonly Uint8Array[]): Bytes {
  require(secret.length >= 32, "the secret is too short");
  const extracted = hmac(sha, new Uint8Array(32), secret);
  return new Uint8Array(hmac(sha, extracted, concat(frame(label, ...context), new Uint8Array([1]))));
}

export function leafHash(leaf: Uint8Array): Bytes {
  return sha256(concat(new Uint8Array([0]), leaf));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Bytes {
  return sha256(concat(new Uint8Array([1]), left, right));
}

/** RFC 9162, section 2.1.1, of leaves that are hashed already. */
export function rootOfHashes(hashes: readonly Bytes[]): Bytes {
  if (hashes.length === 0) return sha256(new Uint8Array(0));
  let level = [...hashes];
  // Pairing from the left, and taking what is left over as it is, makes the same tree as splitting at powers of two.
  while (level.length > 1) {
    const above: Bytes[] = [];
    for (let i = 0; i < level.length; i += 2) {
      above.push(i + 1 < level.length ? nodeHash(level[i], level[i + 1]) : level[i]);
    }
    level = above;
  }
  return level[0];
}

export function root(leaves: readonly Uint8Array[]): Bytes {
  return rootOfHashes(leaves.map(leafHash));
}
