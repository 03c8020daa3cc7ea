// Who holds the key that a round was encrypted under: docs/specification.md, sections 8 and 17.
//
// No evidence has ciphertexts: that each was the one its client had fixed, and that their sum was opened, is what key
// holders check. What C_i fixes, and the sum of, is checked like that of every round.

import { type Bytes, equal, require, utf8 } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { digest, frame } from "../../crypto/hash.ts";
import { checkSignature } from "../../crypto/keys.ts";
import { committee } from "../config/layout.ts";
import { checkOrder } from "../parties.ts";
import type { ReadEvidence } from "../participants.ts";
import { KeyCertificate, type Policy } from "../records.ts";
import { counted, type Report } from "../report.ts";
import type { Trust } from "../trust.ts";
import { checkPaillierKey } from "./paillier.ts";

const MAX_SETUP = 1 << 24;
const MISSING = "its certificate is in no evidence of a first generation: drop it together with the evidence";
const UNREAD = "the key itself is NOT read: it is compressed in a way (zstd) that no browser expands";

/** The pinned keys of those who have signed a certificate; null where no operator is pinned, and so nobody is known. */
export function holdersOf(setup: Bytes, trust: Trust | null): Map<string, Bytes> | null {
  if (trust === null || trust.operators.size === 0) return null;
  const { holders } = decode(KeyCertificate, setup, MAX_SETUP, "the key's certificate");
  return new Map(holders.map(({ name }) => {
    const key = trust.operators.get(name);
    require(key !== undefined, `${name} holds a key, and is not pinned`);
    return [name, key];
  }));
}

/** How many key holders have to renounce; of any two groups that open a sum one in both is honest. */
export function renouncingHolders(policy: Policy): number {
  const { holders, needed } = committee(policy);
  return holders - needed + Math.max(0, 2 * needed - holders - 1) + 1;
}

/** The certificate that a configuration names, in the evidence or among what is at hand beside it. */
export async function checkKey(
  { round: config, setup }: ReadEvidence, trust: Trust | null, beside: readonly Bytes[], report: Report,
): Promise<void> {
  report.plan("key", "The key that inputs were encrypted under is one, and its holders have signed it for this task");
  const named = (data: Bytes): boolean => equal(config.setup, digest("setup", data));
  const found = config.generation > 0n ? setup : beside.find(named);
  if (found === undefined) return report.skip("key", MISSING);
  await report.check("key", async (say) => {
    require(named(found), "another certificate than the configuration's");
    const { backend, task, public: key, holders } = decode(KeyCertificate, found, MAX_SETUP, "the key's certificate");
    require(backend === config.policy.backend && task === config.task, "a key of another backend or task");
    const names = holders.map((holder) => holder.name);
    checkOrder(names, "key holders");
    require(names.length === committee(config.policy).holders, "another number of key holders than the policy's");
    const read = backend === "paillier" ? checkPaillierKey(key, config.policy, names) : UNREAD;
    const keys = holdersOf(found, trust);
    if (keys === null) return say(`${read}; NOT the signatures on it, since no key holder is pinned`);
    const signed = frame("encryption-key", utf8(backend), utf8(task), key);
    await Promise.all(holders.map(({ name, signature }) => {
      return checkSignature(keys.get(name)!, signature, signed, `${name} on the key`);
    }));
    say(`${counted(names.length, "signature")} of ${names.join(", ")}; ${read}`);
  });
}
