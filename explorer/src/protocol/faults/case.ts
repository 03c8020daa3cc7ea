// A proof of fault before its exhibits are looked at: docs/specification.md, section 9.

import { type Bytes, equal, NONE, Refused, require, Unknown, unpack, utf8 } from "../../decoding/bytes.ts";
import { decode, type Kind, type Of } from "../../decoding/messagepack.ts";
import { digest, frame, sha256Bulk } from "../../crypto/hash.ts";
import { checkIdentity, checkSignature } from "../../crypto/keys.ts";
import { N } from "../../crypto/ring.ts";
import { boundOf, sketchElements, sketchRandomness } from "../../zk/norm/bound.ts";
import { checkBackend, checkLimits } from "../config/limits.ts";
import { checkBases } from "../kinds/buffer.ts";
import { isBounded, option, rank, sharedLength } from "../config/layout.ts";
import { MAX_CONFIG } from "../participants.ts";
import { Advertisement, FaultProof, Header, RoundConfig, SignedAdvertisement } from "../records.ts";
import { type Aggregator, checkSetup } from "../shares.ts";
import { signedAdvertisement } from "../signed.ts";

export const LIMIT = 2 ** 34;
const MORE = 147456; // bytes that a header may have more where a norm is bounded
/** Kinds of any backend, which have no setup. */
const OF_ALL = ["two-advertisements", "bad-norm-proof", "edge-seal", "edge-commitment"];

export interface Case {
  proof: Of<typeof FaultProof>;
  config: RoundConfig;
  context: Bytes;
  aggregators: readonly Aggregator[];
}

export async function readCase(data: Bytes): Promise<Case> {
  const proof = decode(FaultProof, data, LIMIT, "the proof of fault");
  require(proof.format === "secure-agg/fault/1", "another format of proof");
  checkIdentity(proof.public);
  const config = decode(RoundConfig, proof.config, MAX_CONFIG, "the configuration");
  checkLimits(config);
  const { backend } = config.policy;
  let aggregators: readonly Aggregator[] = [];
  if (OF_ALL.includes(proof.kind) || backend === "masking") {
    require(proof.setup.length === 0, "a setup that nobody needs");
    if (backend === "masking" && !OF_ALL.includes(proof.kind)) checkBackend(config.policy, config);
  } else {
    require(backend === "additive", "this backend has no such fault");
    checkBackend(config.policy, config);
    aggregators = await checkSetup(config, proof.setup);
    checkBases(config, proof.setup);
  }
  return { proof, config, context: digest("round-config", proof.config), aggregators };
}

export function shown(found: Case, count: number): readonly Bytes[] {
  require(found.proof.exhibits.length === count, "another number of exhibits");
  return found.proof.exhibits;
}

/** What the culprit would not deny: null for what is no such record. */
export function readOrNull<T>(kind: Kind<T>, data: Bytes): T | null {
  try {
    return decode(kind, data, LIMIT, "an exhibit");
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return null;
  }
}

/** Whether an error says that something is wrong: what this page has no check for, or can't do, convicts nobody. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Refused && !(error instanceof Unknown);
}

/** Whether a check refuses. */
export async function refuses(check: () => Promise<unknown> | unknown): Promise<boolean> {
  try {
    await check();
    return false;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return true;
  }
}

export interface Message {
  header: Of<typeof Header>;
  bulk: Bytes;
}

/** Bytes of a header; in a round whose sums are shown where they have failed, requests have more. */
function headerLimit(config: RoundConfig, without: boolean): number {
  const { policy, cohort_size: size } = config;
  let limit = (64 + size) * 1024;
  if (isBounded(policy)) {
    limit += MORE;
    if (option(policy, "screening", 0)) {
      const bound = boundOf(policy, config.weight_limit);
      const total = 4 * (sharedLength(config) + sketchRandomness(config));
      limit += (64 + size) * 1024 + MORE + total + size * (256 + 4 * (rank(config) * N + sketchElements(bound)));
    }
  }
  return without ? limit + (1 << 22) : limit;
}

/** A message of the culprit; `without` its bulk where that was left out of the exhibit. */
export async function messageOf(
  found: Case,
  data: Bytes,
  phase: string,
  session: Bytes,
  without = false,
): Promise<Message> {
  const [encoded, bulk] = unpack(data);
  const header = decode(Header, encoded, headerLimit(found.config, without), "a message");
  require(header.version === 1, "another version of message");
  require(equal(header.session, session) && header.phase === phase, "a message of another round or phase");
  require(header.sender === found.proof.culprit, "a message of somebody else");
  const hashed = bulk.length ? await sha256Bulk(bulk) : NONE;
  require(without ? bulk.length === 0 : equal(header.bulk_digest, hashed), "another bulk than was signed");
  const texts = [header.phase, header.sender, header.recipient].map(utf8);
  const signed = frame("message", session, ...texts, header.body, header.bulk_digest);
  await checkSignature(found.proof.public, header.signature, signed, "a message");
  return { header, bulk };
}

/** The advertisement in an encoded SignedAdvertisement of the culprit. */
export async function advertisementOf(found: Case, data: Bytes): Promise<Of<typeof Advertisement>> {
  const item = decode(SignedAdvertisement, data, LIMIT, "an advertisement");
  require(item.name === found.proof.culprit, "an advertisement of somebody else");
  const signed = signedAdvertisement(found.context, item.name, item.body);
  await checkSignature(found.proof.public, item.signature, signed, "an advertisement");
  return decode(Advertisement, item.body, 1024, "an advertisement");
}
