// Certificates that a later generation begins with: docs/specification.md, section 17.

import { type Bytes, equal, require, u64, utf8 } from "../decoding/bytes.ts";
import { decode } from "../decoding/messagepack.ts";
import { digest, frame } from "../crypto/hash.ts";
import { checkId, checkSigners } from "./parties.ts";
import { isShared, option } from "./config/layout.ts";
import { renouncersOfAll, renouncersOfSparse } from "./graph.ts";
import { type Policy, type Renunciation, RenunciationCertificate, type RoundConfig } from "./records.ts";

export function signedRenunciation(statement: Renunciation): Bytes {
  return frame(
    "renounce",
    utf8(statement.task),
    u64(statement.epoch),
    u64(statement.round),
    u64(statement.draw),
    statement.cohort_root,
    statement.start_model,
    statement.base_model,
    u64(statement.generation),
    statement.successor,
  );
}

/** How many of `members` have to sign. */
export function renouncers(policy: Policy, members: number): number {
  if (isShared(policy)) return members;
  if (policy.backend === "masking" && members > option(policy, "complete_up_to", 128)) {
    return renouncersOfSparse(members, policy.max_corrupt, policy.min_advertised);
  }
  return renouncersOfAll(members, policy.max_corrupt);
}

/**
 * That a certificate precedes a configuration.
 *
 * Returns what is to be said of it. `voters` null: whose the signatures are is not known here. `closure` is the digest
 * of the certificate by which the verifier has followed the task's epoch, null where it pins nothing.
 */
export async function checkRenounced(
  data: Bytes,
  config: RoundConfig,
  voters: Map<string, Bytes> | null,
  least: number,
  closure: Bytes | null = null,
): Promise<string> {
  const found = decode(RenunciationCertificate, data, 1 << 24, "the certificate");
  const { statement } = found;
  require(found.version === 1, "another version of a certificate");
  require(equal(config.renounced, digest("renunciation", data)), "another certificate than the configuration names");
  checkId(statement.task);
  const follows = statement.successor.length > 0;
  require([0, 32].includes(statement.successor.length), "the successor has a wrong length");
  const same = statement.task === config.task && equal(statement.start_model, config.start_model)
    && equal(statement.base_model, config.base_model);
  // What closed the epoch before speaks of that epoch's place, which nobody can compare any more.
  const place = follows ? statement.epoch === config.epoch - 1n
    : statement.epoch === config.epoch && statement.round === config.round
      && statement.draw === BigInt(config.draw) && equal(statement.cohort_root, config.cohort_root);
  require(same && place, "the certificate is of something else");
  require(statement.generation === config.generation - 1n, "the certificate is of another generation");
  if (follows) {
    // Whose signatures these are stands in the epoch before: who has followed it knows the certificate.
    require(closure === null || equal(closure, config.renounced), "another closure than this epoch began with");
    return closure === null ? "NOT its signatures: they are of the epoch before" : "the closure that this epoch began with";
  }
  require(found.signatures.length >= least && least > 0, "too few have renounced");
  if (voters === null) return "the certificate fits; NOT its signatures, since no key holder is pinned";
  await checkSigners(found.signatures, voters, signedRenunciation(statement), least, "renunciation");
  return `${found.signatures.length} of at least ${least} signatures`;
}
