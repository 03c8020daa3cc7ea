// Sessions of which nobody but the auditor sees all: docs/specification.md, section 21.

import { type Bytes, NONE } from "../../decoding/bytes.ts";
import { encode } from "../../decoding/messagepack.ts";
import { digest, frame, root, sha256 } from "../../crypto/hash.ts";
import { option } from "../layout.ts";
import { type RoundConfig, SignedAdvertisement } from "../records.ts";

export function isSparse(config: RoundConfig): boolean {
  return config.policy.backend === "masking" && config.cohort_size > option(config.policy, "complete_up_to", 128);
}

/** Of members by their positions in the cohort, the lowest bit of the first byte being position 0. */
export function bitmap(names: ReadonlyMap<string, unknown>, cohort: ReadonlyMap<string, unknown>): Bytes {
  const out = new Uint8Array(Math.ceil(cohort.size / 8));
  let position = 0;
  for (const name of cohort.keys()) {
    if (names.has(name)) out[position >> 3] |= 1 << (position & 7);
    position++;
  }
  return out;
}

/** sid; `cohort` in id order. */
export function sparseSession(
  context: Bytes,
  cohort: ReadonlyMap<string, unknown>,
  items: readonly { name: string; body: Bytes; signature: Bytes }[],
): Bytes {
  const leaves = new Map(items.map((item) => [item.name, encode(SignedAdvertisement, item)]));
  const all = [...cohort.keys()].map((name) => leaves.get(name) ?? NONE);
  return digest("sparse-session", context, bitmap(leaves, cohort), root(all));
}

/** What members of S sign; `made` is the root of their entries. */
export function sparseAgreement(
  session: Bytes,
  survivors: ReadonlyMap<string, unknown>,
  cohort: ReadonlyMap<string, unknown>,
  made: Bytes,
): Bytes {
  return frame("agreement", session, sha256(bitmap(survivors, cohort)), made);
}
