// What is signed and hashed of advertisements: docs/specification.md, section 6.

import { type Bytes, NONE, u64, utf8 } from "../decoding/bytes.ts";
import { encode } from "../decoding/messagepack.ts";
import { digest, frame, root } from "../crypto/hash.ts";
import { SignedAdvertisement } from "./records.ts";

export function signedAdvertisement(context: Bytes, name: string, body: Bytes): Bytes {
  return frame("message", context, utf8("advertise"), utf8(name), NONE, body, NONE);
}

export function sessionOf(context: Bytes, items: readonly { name: string; body: Bytes; signature: Bytes }[]): Bytes {
  const leaves = items.map((item) => encode(SignedAdvertisement, item));
  return digest("session", context, u64(leaves.length), root(leaves));
}
