// Ed25519 and X25519 as docs/specification.md, sections 1 and 7, have them, and AES.
//
// WebCrypto checks Ed25519 without the cofactor, compares R as bytes, and refuses S that is not reduced: our rules. It
// takes identity keys of small order, and Node's takes keys that are no point at all, so that those are checked here.
// Where a browser has no Ed25519, the equation is written out on the library's points: its own `verify` is cofactored.

import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { type Bytes, compare, concat, equal, hex, littleEndian, Refused, require } from "../decoding/bytes.ts";
import { kdf } from "./hash.ts";

const FIELD = 2n ** 255n - 19n;
const ORDER = ed25519.Point.Fn.ORDER;
const checked = new Map<string, boolean>();

/** An identity key that is canonical, on the curve and not of small order. */
export function checkIdentity(key: Bytes): void {
  const name = hex(key);
  let good = checked.get(name);
  if (good === undefined) {
    try {
      good = key.length === 32 && !ed25519.Point.fromBytes(key, false).isSmallOrder();
    } catch {
      good = false;
    }
    checked.set(name, good);
  }
  require(good, "an identity key is not canonical, not on the curve, or of small order");
}

const imported = new Map<string, Promise<CryptoKey> | null>();

function importedKey(key: Bytes): Promise<CryptoKey> | null {
  const name = hex(key);
  let found = imported.get(name);
  if (found === undefined) {
    found = crypto.subtle.importKey("raw", key, "Ed25519", true, ["verify"]);
    imported.set(name, found);
  }
  return found;
}

let native: Promise<boolean> | undefined;

/** Whether this browser has Ed25519 by itself. */
export function hasEd25519(): Promise<boolean> {
  native ??= crypto.subtle.importKey("raw", ed25519.Point.BASE.toBytes() as Bytes, "Ed25519", true, ["verify"]).then(
    () => true,
    () => false,
  );
  return native;
}

function onPoints(key: Bytes, signature: Bytes, message: Bytes): boolean {
  const s = littleEndian(signature.slice(32));
  if (s >= ORDER) return false;
  const public_ = ed25519.Point.fromBytes(key, false);
  const challenge = littleEndian(sha512(concat(signature.slice(0, 32), key, message))) % ORDER;
  const right = challenge === 0n ? ed25519.Point.ZERO : public_.multiplyUnsafe(challenge);
  const left = s === 0n ? ed25519.Point.ZERO : ed25519.Point.BASE.multiplyUnsafe(s);
  return equal(left.subtract(right).toBytes(), signature.slice(0, 32));
}

export async function isSignature(key: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  if (signature.length !== 64 || key.length !== 32) return false;
  checkIdentity(key);
  if (!(await hasEd25519())) return onPoints(key, signature, message);
  const found = await importedKey(key);
  return found !== null && crypto.subtle.verify("Ed25519", found, signature, message);
}

export async function checkSignature(key: Bytes, signature: Bytes, message: Bytes, what: string): Promise<void> {
  require(await isSignature(key, signature, message), `${what}: wrong signature`);
}

/** An X25519 key that is reduced and not of low order. */
export function checkExchangeKey(key: Bytes): void {
  require(key.length === 32, "a channel or mask key has a wrong length");
  let x = littleEndian(key);
  require(x < FIELD, "a channel or mask key is not reduced");
  let z = 1n;
  for (let i = 0; i < 3; i++) {
    // doublings on the u coordinate, which serve the curve and its twist
    const square = (x * x + 486662n * x * z + z * z) % FIELD;
    const difference = (x * x - z * z) % FIELD;
    [x, z] = [(difference * difference) % FIELD, (4n * x * z * square) % FIELD];
  }
  require(z % FIELD !== 0n, "a channel or mask key is of low order");
}

export function exchangePublic(secret: Bytes): Bytes {
  return new Uint8Array(x25519.getPublicKey(secret));
}

/** The agreement of a secret with a public key, and the secret's own public key. */
export function agreement(secret: Bytes, other: Bytes): { agreed: Bytes; own: Bytes } {
  const own = exchangePublic(secret);
  let raw: Uint8Array;
  try {
    raw = x25519.getSharedSecret(secret, other);
  } catch {
    throw new Refused("two keys that agree on nothing");
  }
  const [first, second] = [own, other].sort(compare);
  return { agreed: kdf(raw, "key-agreement", first, second), own };
}

/** What AES-256-GCM sealed; refused where it does not open. */
export async function unseal(key: Bytes, nonce: Bytes, data: Bytes, associated: Bytes): Promise<Bytes> {
  require(key.length === 32, "a key of another length opens nothing");
  const imported = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
  try {
    const algorithm = { name: "AES-GCM", iv: nonce, additionalData: associated };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, imported, data));
  } catch {
    throw new Refused("it does not open");
  }
}
