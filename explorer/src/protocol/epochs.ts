// Epochs: docs/specification.md, section 18. `verifyEpoch` is the entry; `follow` makes pins of what it found.

import { type Bytes, equal, NONE, require, u64, utf8, ZEROS } from "../decoding/bytes.ts";
import { decode, encode, list } from "../decoding/messagepack.ts";
import { digest, frame, sha256 } from "../crypto/hash.ts";
import { checkSignature } from "../crypto/keys.ts";
import { checkSource } from "./beacon.ts";
import { checkBackend, checkPolicy } from "./config/limits.ts";
import { honest, isEncrypted, isShared, option, quorum } from "./config/layout.ts";
import { checkId, checkOrder, checkRoster, type Member, rosterRoot, type Signature, sorted } from "./parties.ts";
import { isZeros } from "./participants.ts";
import {
  BeaconSource, EpochBody, EpochEvidence, EpochRecord, Option, type Policy, RenunciationCertificate, type RoundRecord,
} from "./records.ts";
import { counted, Report } from "./report.ts";
import { renouncersOfAll, renouncersOfSparse } from "./graph.ts";
import type { TaskPins, Trust } from "./trust.ts";

const ENDING = "-evaluation";

/** The task whose epochs a task is under. */
export function rootTask(task: string): string {
  return task.endsWith(ENDING) && task !== ENDING ? task.slice(0, -ENDING.length) : task;
}

/** What is in force: a body, and its digest. */
export interface Force {
  body: EpochBody;
  digest: Bytes;
}

/** What a task's last record says to the next. */
export interface Last {
  digest: Bytes;
  next: bigint;
  startModel: Bytes;
  generation: bigint;
}

export function lastOfRound(record: RoundRecord, leafDigest: Bytes): Last {
  return { digest: leafDigest, next: record.round + 1n, startModel: record.result_model, generation: 0n };
}

export function lastOfEpoch(record: EpochRecord, leafDigest: Bytes): Last {
  return {
    digest: leafDigest, next: record.rounds, startModel: record.start_model, generation: record.generation,
  };
}

/** What is in force in the epoch that a trust file pins of a task. */
export function pinnedForce(trust: Trust, task: string, pins: TaskPins): Force {
  const body: EpochBody = {
    version: 1,
    task,
    epoch: pins.epoch?.number ?? 0n,
    previous_epoch: ZEROS,
    roster: sorted(pins.roster),
    policy: pins.policy,
    operators: sorted(trust.operators),
    witnesses: sorted(trust.witnesses),
    quorum: trust.quorum ?? 0,
    administrators: sorted(pins.administrators),
    threshold: pins.threshold,
    beacon: pins.beacon === null ? NONE : encode(BeaconSource, pins.beacon),
    mode: "genesis",
    base_model: ZEROS,
    name: "",
  };
  const genesis = digest("epoch-genesis", encode(EpochBody, body), trust.log ?? NONE);
  return { body, digest: pins.epoch?.digest ?? genesis };
}

/** The trust that follows from an epoch. */
export function follow(trust: Trust, force: Force, closure: Bytes): Trust {
  const { body } = force;
  const before = trust.tasks.get(body.task);
  require(before !== undefined, "the task is not pinned");
  const pins: TaskPins = {
    policy: body.policy,
    roster: mapOf(body.roster),
    claims: before.claims,
    beacon: body.beacon.length ? decode(BeaconSource, body.beacon, 512, "the beacon") : null,
    administrators: mapOf(body.administrators),
    threshold: body.threshold,
    epoch: { number: body.epoch, digest: force.digest, closure },
  };
  const tasks = new Map(trust.tasks);
  tasks.set(body.task, pins);
  const quorum = body.quorum || null;
  return { ...trust, tasks, operators: mapOf(body.operators), witnesses: mapOf(body.witnesses), quorum };
}

function mapOf(members: readonly Member[]): Map<string, Bytes> {
  return new Map(members.map((member) => [member.name, member.public]));
}

function checkBody(body: EpochBody, before: Force): void {
  require(body.version === 1, "another version of epoch");
  checkId(body.task);
  require(rootTask(body.task) === body.task, "not a root task");
  require(body.task === before.body.task && body.epoch === before.body.epoch + 1n, "not the task's next epoch");
  require(equal(body.previous_epoch, before.digest), "it follows another epoch");
  for (const list of [body.roster, body.operators, body.witnesses, body.administrators]) checkRoster(list);
  const operators = mapOf(body.operators);
  require(body.roster.every((member) => !operators.has(member.name)), "an id of a member and an operator");
  require(body.quorum <= body.witnesses.length, "a quorum above the witnesses");
  const count = body.administrators.length;
  const least = count ? Math.floor(count / 2) + 1 : 0;
  require(body.threshold >= least && body.threshold <= count, "a threshold of half or less");
  const { policy } = body;
  for (const of of [before.body.policy, policy]) {
    require(option(of, "level", 0) === 0 && honest(of) === 0, "a tree, or a buffered task, is pinned once");
  }
  checkPolicy(policy);
  checkBackend(policy);
  const [drawn, size] = [policy.cohort_size, body.roster.length];
  require(drawn <= size, "too few to draw from");
  const cohort = drawn || size;
  require(policy.min_advertised <= cohort && cohort <= policy.max_clients, "too many or too few members");
  if (body.beacon.length) {
    require(drawn > 0, "a beacon where no cohort is drawn");
    checkSource(decode(BeaconSource, body.beacon, 512, "the beacon"));
  }
  require(body.mode === "continue" || body.mode === "restart", "an unknown mode");
  const restarts = body.mode === "restart";
  require(isZeros(body.base_model) !== restarts, "a model that is not of a new training");
  require((body.name !== "") === restarts, "a name that is not of a new training");
  if (restarts) checkId(body.name);
}

/** Each by somebody who has a key and a message, in order; returns how many. */
async function checkAll(
  signatures: readonly Signature[],
  voters: ReadonlyMap<string, { key: Bytes; message: Bytes }>,
  what: string,
): Promise<number> {
  checkOrder(signatures.map((item) => item.name), what);
  for (const item of signatures) require(voters.has(item.name), `${what}: ${item.name} is a stranger`);
  await Promise.all(signatures.map((item) => {
    const { key, message } = voters.get(item.name)!;
    return checkSignature(key, item.signature, message, `${what} of ${item.name}`);
  }));
  return signatures.length;
}

export const EPOCH_CHECKS = [
  ["body", "It is the task's next epoch, and its roster, policy and beacon are within all limits"],
  ["authorised", "Enough of those who may change the task, in the epoch before, have authorised it"],
  ["accepted", "Whoever has a new key in it has accepted that"],
  ["closed", "Enough of the members before have closed their epoch: nothing of it can be opened any more"],
  ["record", "The record in the ledger is what these signatures lead to, to the byte"],
] as const;

/** The record that an epoch's evidence leads to, and what is in force then. Its last check is the caller's. */
export async function verifyEpoch(before: Force, data: Bytes, last: Last | null, report = new Report(EPOCH_CHECKS)) {
  const old = before.body;
  const { evidence, body } = await report.check("body", (say) => {
    const read = decode(EpochEvidence, data, 1 << 24, "the epoch's evidence");
    require(read.format === "secure-agg/epoch/1", "another format of epoch");
    const found = decode(EpochBody, read.body, 1 << 22, "the epoch");
    checkBody(found, before);
    say(`${counted(found.roster.length, "member")}; ${changesOf(old, found).join("; ") || "nothing else is changed"}`);
    return { evidence: read, body: found };
  });
  const hashed = digest("epoch-body", evidence.body);
  const task = utf8(body.task);

  await report.check("authorised", async (say) => {
    const { policy } = old;
    const size = old.roster.length;
    const corrupt = policy.cohort_size ? Math.floor((size - 1) / 3) : policy.max_corrupt;
    const byAdministrators = old.threshold > 0;
    const who = byAdministrators ? old.administrators : old.roster;
    const needed = byAdministrators ? old.threshold : Math.floor((size + corrupt) / 2) + 1;
    const message = frame("epoch-authorise", task, before.digest, hashed);
    const authority = new Map(who.map((member) => [member.name, { key: member.public, message }]));
    const found = await checkAll(evidence.authorisations, authority, "the authorisation");
    require(found >= needed, `too few have authorised it: ${found}, ${needed} are needed`);
    const names = evidence.authorisations.map((item) => item.name).join(", ");
    say(`${byAdministrators ? "administrators" : "members"} ${names}; ${needed} of ${who.length} are needed`);
  });

  await report.check("accepted", async (say) => {
    const known = [...old.roster, ...old.operators, ...old.administrators];
    const wanted = new Map<string, { key: Bytes; message: Bytes }>();
    for (const { name, public: key } of [...body.roster, ...body.operators, ...body.administrators]) {
      if (known.some((member) => member.name === name && equal(member.public, key))) continue;
      require(equal(wanted.get(name)?.key ?? key, key), "two new keys of one name");
      wanted.set(name, { key, message: frame("epoch-accept", task, hashed, utf8(name), key) });
    }
    const accepted = await checkAll(evidence.acceptances, wanted, "the acceptance");
    require(accepted === wanted.size, "a new key has not accepted");
    say([...wanted.keys()].join(", ") || "nobody has a new key");
  });

  const start = last?.startModel ?? ZEROS;
  const number = last?.next ?? 0n;
  const closed = await report.check("closed", (say) => {
    return checkClosure(before, evidence.closure, body, hashed, start, number, last?.generation ?? 0n, say);
  });
  const restarts = body.mode === "restart";
  const record: EpochRecord = {
    format: "secure-agg/epoch-record/1",
    task: body.task,
    epoch: body.epoch,
    previous_record: last?.digest ?? ZEROS,
    previous_epoch: before.digest,
    body: hashed,
    rounds: number,
    generation: closed.generation,
    renounced: closed.renounced,
    start_model: restarts ? digest("epoch-start", hashed) : start,
    base_model: restarts ? body.base_model : closed.base,
    next_weight_limit: body.policy.weight_scale ? body.policy.first_weight : 0,
    evidence: sha256(data),
  };
  return { leaf: encode(EpochRecord, record), record, force: { body, digest: hashed }, closure: closed.renounced };
}

/** What an epoch changes, in words. */
function changesOf(old: EpochBody, body: EpochBody): string[] {
  const out = LISTS.flatMap(([list, one]) => {
    const [before, after] = [mapOf(old[list]), mapOf(body[list])];
    const named = (what: string, names: readonly string[]): string[] => {
      return names.length ? [`${one} ${what}: ${names.join(", ")}`] : [];
    };
    const both = [...after.keys()].filter((name) => before.has(name));
    return [
      ...named("new", [...after.keys()].filter((name) => !before.has(name))),
      ...named("gone", [...before.keys()].filter((name) => !after.has(name))),
      ...named("with another key", both.filter((name) => !equal(before.get(name)!, after.get(name)!))),
    ];
  });
  const fields = Object.keys(body.policy) as (keyof Policy)[];
  const policy = fields.filter((name) => name !== "options" && body.policy[name] !== old.policy[name]);
  const optioned = !equal(encode(list(Option), body.policy.options), encode(list(Option), old.policy.options));
  const changed = [...policy, ...(optioned ? ["options"] : [])];
  if (changed.length) out.push(`policy: ${changed.map((name) => `${name}${valueOf(old, body, name)}`).join(", ")}`);
  if (old.threshold !== body.threshold) out.push(`threshold of administrators ${old.threshold} to ${body.threshold}`);
  if (old.quorum !== body.quorum) out.push(`quorum of witnesses ${old.quorum} to ${body.quorum}`);
  if (!equal(old.beacon, body.beacon)) out.push("another beacon");
  if (body.mode === "restart") out.push(`a new training, ${body.name}`);
  return out;
}

const LISTS = [
  ["roster", "members"], ["operators", "operators"], ["witnesses", "witnesses"], ["administrators", "administrators"],
] as const;

function valueOf(old: EpochBody, body: EpochBody, name: string): string {
  const field = name as keyof Policy;
  return name === "options" ? "" : ` ${String(old.policy[field])} to ${String(body.policy[field])}`;
}

export function readClosure(data: Bytes) {
  const certificate = decode(RenunciationCertificate, data, 1 << 24, "the closure");
  require(certificate.version === 1, "another version of certificate");
  return certificate;
}

/** What the members of the epoch before have closed, and what the next goes on from. */
async function checkClosure(
  before: Force,
  data: Bytes,
  body: EpochBody,
  hashed: Bytes,
  start: Bytes,
  number: bigint,
  generation: bigint,
  say: (detail: string) => void,
): Promise<{ generation: bigint; renounced: Bytes; base: Bytes }> {
  const { policy, roster, epoch } = before.body;
  const nothing = { generation: 0n, renounced: ZEROS, base: ZEROS };
  if (policy.cohort_size) {
    require(data.length === 0, "nobody closes for drawn cohorts");
    say("cohorts are drawn: there is nothing to close");
    return nothing;
  }
  const certificate = readClosure(data);
  const said = certificate.statement;
  const members = mapOf(roster);
  const root = rosterRoot(members);
  const same = said.task === body.task && said.epoch === epoch && said.round === number && said.draw === 0n
    && equal(said.cohort_root, root) && equal(said.start_model, start) && equal(said.successor, hashed);
  require(same, "another epoch was closed, or elsewhere");
  require(said.generation >= generation, "an earlier generation was closed");
  const signed = frame(
    "renounce", utf8(body.task), u64(said.epoch), u64(number), u64(0), root, start, said.base_model,
    u64(said.generation), hashed,
  );
  const voters = new Map([...members].map(([name, key]) => [name, { key, message: signed }]));
  const found = await checkAll(certificate.signatures, voters, "the closure");
  const byMembers = !isShared(policy) && !isEncrypted(policy);
  let enough = quorum(members.size, policy);
  if (byMembers) {
    const isSparse = policy.backend === "masking" && members.size > option(policy, "complete_up_to", 128);
    const all = isSparse
      ? renouncersOfSparse(members.size, policy.max_corrupt, policy.min_advertised)
      : renouncersOfAll(members.size, policy.max_corrupt);
    enough = Math.max(enough, all);
  }
  require(found >= enough, `too few have closed the epoch before: ${found}, ${enough} are needed`);
  const lost = !byMembers && body.mode === "continue" && said.generation > 0n;
  require(!lost, "a later generation goes on, which nobody can close for all");
  say(`${found} of ${members.size} members, ${enough} are needed; from round ${number} on`);
  if (!byMembers || body.mode !== "continue") return { ...nothing, base: said.base_model };
  return { generation: said.generation + 1n, renounced: digest("renunciation", data), base: said.base_model };
}
