// Who took part, checks 2 to 5 and 10 of section 11 in docs/specification.md: all that is public of them but the sum.

import { type Bytes, equal, hex, NONE, require, u64, utf8, ZEROS } from "../decoding/bytes.ts";
import { decode, Reader } from "../decoding/messagepack.ts";
import { digest, frame, root } from "../crypto/hash.ts";
import { checkExchangeKey, checkSignature } from "../crypto/keys.ts";
import { addTo, N, toElements } from "../crypto/ring.ts";
import { checkSize } from "./config/limits.ts";
import { isBounded, isEncrypted, isShared, quorum, rank, vouchers } from "./config/layout.ts";
import { baseOf, checkBases } from "./kinds/buffer.ts";
import { isSparse, sparseAgreement, sparseSession } from "./kinds/sparse.ts";
import { checkOrder, checkRoster, checkSigners, rosterRoot } from "./parties.ts";
import { Advertisement, type Base, Evidence, type Policy, RoundConfig } from "./records.ts";
import { type Aggregator, checkSetup, hashesBytes, openShares } from "./shares.ts";
import { sessionOf, signedAdvertisement } from "./signed.ts";

export const MAX_CONFIG = 1 << 20;
const MAX_HEADER = 2 ** 30;

/** The header of evidence, and the configuration in it. */
export interface ReadEvidence extends Evidence {
  round: RoundConfig;
  context: Bytes;
}

/** What the header has depends on the configuration in it, its second field, which is therefore read first. */
export function readEvidence(header: Bytes): ReadEvidence {
  require(header.length <= MAX_HEADER, "the evidence's header is too long");
  const reader = new Reader(header);
  reader.array();
  reader.integer();
  const round = decode(RoundConfig, reader.bin(), MAX_CONFIG, "the configuration");
  const found = decode(Evidence, header, MAX_HEADER, "the evidence");
  require(found.version === 2, "another version of evidence");
  require((found.renounced !== undefined) === round.generation > 0n, "a certificate that is missing, or of nothing");
  const bounded = isBounded(round.policy);
  const same = found.openings.every((item) => (item.sketch !== undefined) === bounded);
  require(same, "openings with sketches where no norm is bounded, or without");
  return { ...found, round, context: digest("round-config", found.config) };
}

export interface Participants {
  cohort: Map<string, Bytes>;
  session: Bytes;
  setup: readonly Aggregator[];
  /** Models that updates are differences from, in a buffered round. */
  bases: readonly Base[];
  signers: Map<string, Bytes>;
  advertised: Map<string, { hash: Bytes; part: Bytes }>;
  /** What is agreed on: a value for each name of the set, in order. */
  entries: Map<string, Bytes>;
  root: Bytes;
  commitments: Map<string, Bytes>;
  /** The number of the base of each one's update, in a buffered round. */
  based: Map<string, bigint>;
  /** Σ C_i. */
  total: Float64Array;
}

/** 2. */
export function checkCohort(evidence: ReadEvidence): Map<string, Bytes> {
  const cohort = checkRoster(evidence.cohort);
  require(cohort.size === evidence.round.cohort_size, "the cohort has another size");
  require(equal(rosterRoot(cohort), evidence.round.cohort_root), "another cohort than the configuration's");
  return cohort;
}

/** Of `masking`: the mask key, behind the channel key. */
export function maskKeyOf(part: Bytes): Bytes {
  require(part.length === 64, "the backend's part has a wrong length");
  const [channel, mask] = [part.slice(0, 32), part.slice(32)];
  checkExchangeKey(channel);
  checkExchangeKey(mask);
  require(!equal(channel, mask), "channel and mask key are the same");
  return mask;
}

/** The backend's part of an advertisement. */
function checkPart(policy: Policy, part: Bytes): void {
  if (policy.backend === "masking") {
    maskKeyOf(part);
  } else if (policy.backend === "additive") {
    require(part.length > 0 && part.length % 32 === 0, "the backend's part has a wrong length");
  } else {
    require(part.length === 0, "a part that this backend has not");
  }
}

/** 3; `planted` makes the sid of an edge in a tree. */
export async function checkAdvertisements(
  evidence: ReadEvidence,
  cohort: Map<string, Bytes>,
  planted?: (session: Bytes) => Bytes,
): Promise<Pick<Participants, "session" | "setup" | "bases" | "signers" | "advertised">> {
  const { round: config, context, advertisements } = evidence;
  checkOrder(advertisements.map((item) => item.name), "advertisements");
  const advertised = new Map<string, { hash: Bytes; part: Bytes }>();
  const hashes = new Set<string>();
  for (const item of advertisements) {
    require(cohort.has(item.name), `${item.name} is not in the cohort`);
    const body = decode(Advertisement, item.body, 1024, "an advertisement");
    hashes.add(hex(body.commitment_hash));
    advertised.set(item.name, { hash: body.commitment_hash, part: body.backend });
    checkPart(config.policy, body.backend);
  }
  require(hashes.size === advertisements.length, "a commitment hash is there twice");
  require(advertised.size >= config.policy.min_advertised, "too few advertisements");
  await Promise.all(advertisements.map((item) => {
    const signed = signedAdvertisement(context, item.name, item.body);
    return checkSignature(cohort.get(item.name)!, item.signature, signed, `the advertisement of ${item.name}`);
  }));
  const sparse = isSparse(config);
  const own = sparse ? sparseSession(context, cohort, advertisements) : sessionOf(context, advertisements);
  if (isShared(config.policy)) {
    const setup = await checkSetup(config, evidence.setup);
    const bases = checkBases(config, evidence.setup);
    checkSize(config);
    const signers = new Map(setup.map((member) => [member.name, member.identity]));
    return { session: digest("session", context), setup, bases, signers, advertised };
  }
  if (planted) return { session: planted(own), setup: [], bases: [], signers: cohort, advertised };
  const hasSetup = isEncrypted(config.policy) && config.generation > 0n;
  require(hasSetup || evidence.setup.length === 0, "a part that this backend has not");
  if (hasSetup) require(equal(config.setup, digest("setup", evidence.setup)), "another setup than the configuration's");
  return { session: own, setup: [], bases: [], signers: cohort, advertised };
}

/** 4. */
export function checkOpenings(
  evidence: ReadEvidence,
  advertised: Participants["advertised"],
  bases: readonly Base[] = [],
): Pick<Participants, "entries" | "commitments" | "total" | "based"> {
  const { round: config, context } = evidence;
  const { policy } = config;
  checkOrder(evidence.openings.map((item) => item.name), "openings");
  const commitments = new Map<string, Bytes>();
  const entries = new Map<string, Bytes>();
  const total = new Float64Array(rank(config) * N);
  const seen = new Set<string>();
  const based = new Map<string, bigint>();
  const where = [utf8(config.task), u64(config.round), u64(config.attempt)];
  for (const { name, commitment, nonce } of evidence.openings) {
    const said = advertised.get(name);
    require(said !== undefined, `${name} did not advertise`);
    let [opened, whole] = [NONE, commitment];
    if (policy.backend === "additive") {
      require(said.part.length === hashesBytes(policy), "the hashes have a wrong length");
      if (bases.length > 0) based.set(name, baseOf(bases, said.part, policy));
      const found = openShares(context, config, name, said.part, nonce, commitment);
      [opened, whole] = [found.hash, found.commitment];
    } else {
      require(nonce.length === 32, "a nonce has a wrong length");
      opened = digest("commitment-hash", ...where, utf8(name), commitment, nonce);
    }
    require(equal(opened, said.hash), `the opening of ${name} is not what was advertised`);
    addTo(total, toElements(whole, total.length, `the commitment of ${name}`));
    seen.add(hex(whole));
    commitments.set(name, whole);
    entries.set(name, isShared(policy) ? opened : digest("commitment", commitment));
  }
  require(seen.size === commitments.size, "a commitment is there twice");
  const least = Math.max(policy.min_clients, quorum(config.cohort_size, policy));
  require(commitments.size >= least && commitments.size <= policy.max_clients, "too few openings, or too many");
  // Key holders open a sum after all who advertised are agreed on, by the hashes that they advertised.
  const agreed = isEncrypted(policy) ? new Map([...advertised].map(([name, { hash }]) => [name, hash])) : entries;
  return { entries: agreed, commitments, total, based };
}

/** 5. */
export async function checkAgreement(
  evidence: ReadEvidence,
  found: Pick<Participants, "cohort" | "session" | "signers" | "entries">,
): Promise<Bytes> {
  const { policy, cohort_size } = evidence.round;
  const leaves = [...found.entries].map(([name, value]) => frame("survivor", utf8(name), value));
  const made = root(leaves);
  const signed = isSparse(evidence.round)
    ? sparseAgreement(found.session, found.entries, found.cohort, made)
    : frame("agreement", found.session, u64(leaves.length), made);
  const shared = isShared(policy);
  for (const { name } of evidence.agreement) {
    require(shared || found.entries.has(name), `${name} has signed, and is not in the agreed set`);
  }
  const needed = shared ? vouchers(policy) : Math.max(policy.min_clients, quorum(cohort_size, policy));
  await checkSigners(evidence.agreement, found.signers, signed, needed);
  return made;
}

export function isZeros(data: Bytes): boolean {
  return equal(data, ZEROS);
}

