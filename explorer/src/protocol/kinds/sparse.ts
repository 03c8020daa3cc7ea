// Sessions of which nobody but the auditor sees all: docs/specification.md, section 21.

import { type Bytes, equal, NONE, require } from "../../decoding/bytes.ts";
import { decode, encode, type Of } from "../../decoding/messagepack.ts";
import { digest, frame, leafHash, nodeHash, root, sha256 } from "../../crypto/hash.ts";
import { checkSignature } from "../../crypto/keys.ts";
import { option } from "../config/layout.ts";
import { checkRoster, rosterRoot } from "../parties.ts";
import { type RoundConfig, Shown, SignedAdvertisement, SparseExhibit } from "../records.ts";
import { signedAdvertisement } from "../signed.ts";

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

/** The tree hash of `size` leaves of which some are known, by their hashes, and what is beside them. */
export function rootOverPath(size: number, known: ReadonlyMap<number, Bytes>, path: Bytes): Bytes {
  require(path.length % 32 === 0, "a path is no list of hashes");
  const places = [...known.keys()].sort((a, b) => a - b);
  require(places.every((place) => place < size), "a leaf that is outside the tree");
  let at = 0;
  const walk = (first: number, end: number, within: readonly number[]): Bytes => {
    if (within.length === 0) {
      require(at + 32 <= path.length, "a path is too short");
      return path.slice(at, at += 32);
    }
    if (end - first === 1) return known.get(first)!;
    let half = 1;
    while (2 * half < end - first) half *= 2;
    const middle = first + half;
    const left = walk(first, middle, within.filter((place) => place < middle));
    return nodeHash(left, walk(middle, end, within.filter((place) => place >= middle)));
  };
  const made = walk(0, size, places);
  require(at === path.length, "a path is too long");
  return made;
}

/** A session as far as it was shown to somebody: who is in it, and what some of them have advertised. */
export interface ShownSession {
  cohort: Map<string, Bytes>;
  roll: Of<typeof SparseExhibit>["roll"];
  /** U, in order. */
  names: string[];
  sid: Bytes;
}

/** The members that a bitmap names, in order. */
function present(bits: Bytes, cohort: ReadonlyMap<string, Bytes>): string[] {
  require(bits.length === Math.ceil(cohort.size / 8), "a bitmap of another size");
  const names = [...cohort.keys()];
  const over = names.length % 8;
  require(over === 0 || bits[bits.length - 1] >> over === 0, "a bitmap of more members than there are");
  return names.filter((_, position) => (bits[position >> 3] >> (position & 7)) & 1);
}

/** What is shown of those in a session: their advertisements, all of them in the tree, signed by them. */
export async function checkShown(
  { cohort, roll, names }: ShownSession,
  shown: Of<typeof Shown>,
  context: Bytes,
): Promise<Map<string, Bytes>> {
  const all = [...cohort.keys()];
  const there = new Set(names);
  const [leaves, bodies] = [new Map<number, Bytes>(), new Map<string, Bytes>()];
  let last = -1;
  for (const { position, body, signature } of shown.advertisements) {
    require(position > last && position < all.length, "positions are out of order, or nobody's");
    last = position;
    const name = all[position];
    require(there.has(name), `${name} did not advertise`);
    const signed = signedAdvertisement(context, name, body);
    await checkSignature(cohort.get(name)!, signature, signed, `the advertisement of ${name}`);
    leaves.set(position, leafHash(encode(SignedAdvertisement, { name, body, signature })));
    bodies.set(name, body);
  }
  const made = rootOverPath(all.length, leaves, shown.path);
  require(equal(made, roll.root), "what is shown is not in the session's tree");
  return bodies;
}

export function sessionOfRoll(cohort: Map<string, Bytes>, roll: ShownSession["roll"], context: Bytes): ShownSession {
  const names = present(roll.present, cohort);
  return { cohort, roll, names, sid: digest("sparse-session", context, roll.present, roll.root) };
}

/** The session that an exhibit is of, and the advertisements that it shows. */
export async function readExhibit(
  data: Bytes,
  config: RoundConfig,
  context: Bytes,
): Promise<ShownSession & { bodies: Map<string, Bytes> }> {
  const limit = (64 + config.cohort_size) * 1024;
  const { cohort: members, roll, shown } = decode(SparseExhibit, data, limit, "the session's exhibit");
  const cohort = checkRoster(members);
  const same = cohort.size === config.cohort_size && equal(rosterRoot(cohort), config.cohort_root);
  require(same, "another cohort than the configuration's");
  const session = sessionOfRoll(cohort, roll, context);
  return { ...session, bodies: await checkShown(session, shown, context) };
}
