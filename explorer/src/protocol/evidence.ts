// The check of evidence: docs/specification.md, section 11. `verifyEvidence` is the entry.

import { type Bytes, equal, hex, require, unpack } from "../decoding/bytes.ts";
import { encode } from "../decoding/messagepack.ts";
import { sha256Bulk } from "../crypto/hash.ts";
import { fromElements } from "../crypto/ring.ts";
import type { Progress } from "../zk/commitment.ts";
import { normFactor } from "../zk/norm/bound.ts";
import { decodeSum, type Decoded, modelDigest } from "./codec/fixed_point.ts";
import { decodeGroups } from "./codec/grouped.ts";
import { decodePrivate } from "./codec/private.ts";
import { isGrouped } from "./config/groups.ts";
import { claimOf, isBounded, isEncrypted, isPrivate, isShared, option, step } from "./config/layout.ts";
import { checkConfig } from "./config/limits.ts";
import { checkKey, holdersOf, renouncingHolders } from "./encryption/certificate.ts";
import { privateFields } from "./kinds/privacy.ts";
import {
  checkAdvertisements, checkAgreement, checkCohort, checkOpenings, isZeros, type Participants, readEvidence,
  type ReadEvidence,
} from "./participants.ts";
import { type GroupRecord, RoundRecord } from "./records.ts";
import { checkRenounced, renouncers } from "./renunciation.ts";
import { type Check, counted, Report, Stopped } from "./report.ts";
import { checkNorms, checkSums } from "./sums.ts";
import { checkPins, type Trust } from "./trust.ts";

export interface Options {
  trust?: Trust | null;
  /** Whose pins these are, in words; the verifier's own by default. */
  pinnedBy?: string;
  /** The randomness that drew the cohort, as the verifier knows it. */
  beacon?: Bytes | null;
  /** Claims that are accepted; by default what is pinned, without pins sums only. */
  claims?: readonly string[] | null;
  /** Norm proofs that are at hand. */
  proofs?: readonly Bytes[];
  /** Where in a tree the round is, section 19; by default in none. */
  place?: Place | null;
  progress?: Progress;
}

export interface Place {
  level: 1 | 2;
  planted?: (evidence: ReadEvidence, session: Bytes) => Bytes;
  clients?: number;
  invited?: number;
  evidence?: Bytes;
}

export interface Verified {
  evidence: ReadEvidence;
  participants: Participants;
  total: Bytes;
  claim: string;
  proofs: number;
  /** Missing for an edge of a tree. */
  record?: RoundRecord;
  encoding?: Bytes;
  means?: Float64Array<ArrayBuffer>;
}

export interface Outcome {
  checks: readonly Check[];
  verified: Verified | null;
}

export const CHECKS = [
  ["form", "The file is evidence of a round, in its one spelling, and its configuration is within all limits"],
  ["0", "The result's claim is one that is accepted"],
  ["1", "The configuration is what is pinned: task, policy, roster, operators, witnesses, log, beacon"],
  ["2", "The cohort is the one that the configuration names"],
  ["3", "Everyone who advertised is in the cohort and has signed it"],
  ["4", "Each participant's commitment is the one it advertised, and there are enough"],
  ["5", "Enough of those who have a say have signed this very set"],
  ["10", "A later generation goes on from a certificate that enough have signed"],
  ["6", "Every sum is in its range"],
  ["7", "The sums open the sum of the commitments: nothing was added, left out or changed"],
  ["9", "What was proved to be short is what was summed"],
  ["9p", "Each participant's norm proof"],
  ["8", "The sums decode to the mean whose digest the result names"],
] as const;

const SAID_OF = {
  sum: "a sum, proved to anybody",
  "dp-sum": "a sum, proved to anybody, of updates that each have noise in them; how it was drawn nobody can check",
  attested: "attested: only the operators' signatures vouch for it",
};

/** Check evidence in itself and, with `trust`, against what the verifier has pinned. */
export async function verifyEvidence(data: Bytes, options: Options = {}): Promise<Outcome> {
  const report = new Report(CHECKS);
  try {
    const verified = await run(data, options, report);
    leave(verified, report);
    return { checks: report.close(), verified };
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    return { checks: report.close(), verified: null };
  }
}

/** What nobody can check here, with the command that does. */
function leave({ evidence, claim }: Verified, report: Report): void {
  if (isEncrypted(evidence.round.policy)) {
    report.leave("opened", "The ciphertexts that were opened are those which clients had fixed",
      "they are in no evidence: each key holder checks it before it opens the sum (secure-agg keyholder serve)");
  }
  if (claim === "sum") {
    report.leave("chain", "What a contract on a chain holds of this round, if it is anchored there", "this page may ask no "
      + "other host: secure-agg verify FILE.evidence --trust TRUST.json --chain URL --contract ADDRESS does");
  }
}

/** The same for a caller that refuses as one: of a tree's parts. */
export async function mustVerify(data: Bytes, options: Options): Promise<Verified> {
  const report = new Report(CHECKS);
  return report.whole(() => run(data, options, report));
}

async function run(data: Bytes, options: Options, report: Report): Promise<Verified> {
  const { trust = null, place = null } = options;
  const [evidence, bulk] = await report.check("form", (say) => {
    const [header, sums] = unpack(data);
    const read = readEvidence(header);
    checkConfig(read.round);
    const level = option(read.round.policy, "level", 0);
    require(level === (place?.level ?? 0), "a round of a tree, or none of one");
    const drawn = read.round.policy.cohort_size > 0 || isBounded(read.round.policy);
    require(level === 0 || !drawn, "no round of a tree: cohorts are drawn in it, or a norm is bounded");
    say(`task ${read.round.task}, round ${read.round.round}, backend ${read.round.policy.backend}`);
    return [read, sums] as const;
  });
  const { round: config } = evidence;
  const { policy } = config;
  const claim = claimOf(policy);
  await report.check("0", (say) => {
    const accepted = options.claims ?? trust?.tasks.get(config.task)?.claims ?? ["sum"];
    const known = accepted.includes(claim) || (claim === "dp-sum" && accepted.includes("sum"));
    require(known, `the result is claimed to be ${claim}, which is not accepted`);
    say(SAID_OF[claim]);
  });
  const cohort = await report.check("2", (say) => {
    say(counted(config.cohort_size, "member"));
    return checkCohort(evidence);
  });
  const advertised = await report.check("3", async (say) => {
    const planted = place?.planted;
    const found = await checkAdvertisements(evidence, cohort, planted && ((own) => planted(evidence, own)));
    say(counted(found.advertised.size, "signature"));
    return found;
  });
  if (trust === null) report.skip("1", "nothing of yours was compared: anybody could have made all of this up");
  else {
    await report.compare("1", (say) => {
      checkPins(config, cohort, trust, options.beacon ?? null, advertised.setup);
      say(options.pinnedBy ?? "pinned by you");
    });
  }
  const opened = await report.check("4", (say) => {
    const found = checkOpenings(evidence, advertised.advertised, advertised.bases);
    const { length } = advertised.bases;
    const from = length ? `; their updates are differences from ${counted(length, "model")}` : "";
    say(counted(found.commitments.size, "participant") + from);
    return found;
  });
  const participantsRoot = await report.check("5", async (say) => {
    const made = await checkAgreement(evidence, { cohort, ...advertised, ...opened });
    say(counted(evidence.agreement.length, "signature"));
    return made;
  });
  const participants = { cohort, ...advertised, ...opened, root: participantsRoot };
  if (isEncrypted(policy)) await checkKey(evidence, trust, options.proofs ?? [], report);
  await checkGeneration(evidence, participants, trust, report);

  const clients = opened.commitments.size;
  const total = fromElements(opened.total);
  const base = { evidence, participants, total, claim, proofs: 0 };
  if (place?.level === 1 && bulk.length === 0) {
    await report.check("8", () => checkEdge(evidence));
    for (const number of ["6", "7", "9", "9p"]) report.skip(number, "what is published of an edge has no sums");
    return base;
  }
  const sums = await checkSums(evidence, bulk, participants, place?.clients ?? clients, total, report, options.progress);
  const proofs = await checkNorms(evidence, participants, sums, report, options.proofs ?? []);
  if (place?.level === 1) {
    await report.check("8", () => {
      decodeSum(sums.x, clients, config);
      checkEdge(evidence);
    });
    return base;
  }
  const decoded = await report.check("8", async (say) => {
    const found = await decode(sums.x, sums.added, evidence);
    const made = await modelDigest(config.shapes, found.means);
    require(equal(made, evidence.result_model), "another result than stated");
    say(`weights of ${found.weight} in all; result ${hex(made).slice(0, 16)}…`);
    return found;
  });
  const made = recordOf(evidence, participants, decoded, claim, total, clients, place);
  made.evidence = place?.evidence ?? (await sha256Bulk(data));
  const encoding = encode(RoundRecord, made);
  require(encoding.length <= 65536, "the record is too long");
  return { ...base, proofs, record: made, encoding, means: decoded.means };
}

type AnyDecoded = Decoded & { groups?: GroupRecord[] };

/** By whichever codec the policy has. */
function decode(x: Uint32Array, n: number, { round: config, context }: ReadEvidence): AnyDecoded | Promise<AnyDecoded> {
  if (isPrivate(config.policy)) return decodePrivate(x, n, config, context);
  return isGrouped(config.policy) ? decodeGroups(x, n, config, context) : decodeSum(x, n, config);
}

function checkEdge(evidence: ReadEvidence): void {
  require(evidence.attestation.length === 0, "a part that this backend has not");
  require(isZeros(evidence.result_model), "an edge tells of its mean");
}

async function checkGeneration(
  evidence: ReadEvidence,
  found: Participants,
  trust: Trust | null,
  report: Report,
): Promise<void> {
  const { round: config, renounced } = evidence;
  if (renounced === undefined) return report.skip("10", "the first generation: there is nothing to go on from");
  await report.check("10", async (say) => {
    if (isEncrypted(config.policy)) {
      const holders = holdersOf(evidence.setup, trust);
      const closure = trust?.tasks.get(config.task)?.epoch?.closure ?? null;
      const least = renouncingHolders(config.policy);
      say(await checkRenounced(renounced, config, holders, least, trust && (closure ?? NEVER)));
      return;
    }
    const voters = isShared(config.policy) ? found.signers : found.cohort;
    const closure = trust?.tasks.get(config.task)?.epoch?.closure ?? null;
    const least = renouncers(config.policy, voters.size);
    say(await checkRenounced(renounced, config, voters, least, trust && (closure ?? NEVER)));
  });
}

const NEVER = new Uint8Array(0);

/** The record that is proved, but for the digest of its evidence. */
function recordOf(
  evidence: ReadEvidence,
  found: Participants,
  decoded: AnyDecoded,
  claim: string,
  total: Bytes,
  participants: number,
  place: Place | null,
): RoundRecord {
  const { round: config, context } = evidence;
  const { policy } = config;
  const clients = place?.clients ?? participants;
  const scaled = BigInt(policy.weight_scale) * decoded.weight;
  const next = Number((scaled + BigInt(clients) - 1n) / BigInt(clients));
  const made: RoundRecord = {
    version: 2,
    claim,
    task: config.task,
    round: config.round,
    attempt: config.attempt,
    context,
    session: found.session,
    cohort_size: place?.invited ?? found.cohort.size,
    participants: clients,
    participants_root: found.root,
    commitment_sum: total,
    weight_limit: config.weight_limit,
    weight_sum: decoded.weight,
    weights_lowered: decoded.lowered,
    weights_raised: decoded.raised,
    error_bound: decoded.error,
    next_weight_limit: Math.min(policy.max_weight, next),
    start_model: config.start_model,
    result_model: evidence.result_model,
    previous_record: config.previous_record,
    evidence: new Uint8Array(32),
  };
  if (decoded.groups) made.groups = decoded.groups;
  if (isPrivate(policy)) Object.assign(made, privateFields(config));
  if (isBounded(policy)) {
    const bound = option(policy, "norm_steps", 0) * step(policy);
    Object.assign(made, { norm_bound: bound, norm_factor: normFactor(config) });
  }
  return made;
}
