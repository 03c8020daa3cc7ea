// A trust file, and whether a configuration is of what is pinned: docs/specification.md, sections 14 and 11, check 1.

import { type Bytes, compareText, equal, hex, NONE, require, unhex, Unknown } from "../decoding/bytes.ts";
import { type Json, parseJson } from "../decoding/json.ts";
import { encode } from "../decoding/messagepack.ts";
import { checkBeacon, checkSource } from "./beacon.ts";
import { checkPolicy } from "./config/limits.ts";
import { isShared } from "./config/layout.ts";
import { checkId, checkRoster, draw, type Member, rosterDigest, sameMembers } from "./parties.ts";
import { BeaconSource, type Group, Policy, type RoundConfig } from "./records.ts";

export interface TaskPins {
  policy: Policy;
  roster: Map<string, Bytes>;
  claims: string[];
  beacon: BeaconSource | null;
  administrators: Map<string, Bytes>;
  threshold: number;
  /** Of the epoch that is pinned where it is not the first: number, digest, and the closure's digest. */
  epoch: { number: bigint; digest: Bytes; closure: Bytes } | null;
}

export interface Trust {
  log: Bytes | null;
  origin: string | null;
  quorum: number | null;
  operators: Map<string, Bytes>;
  witnesses: Map<string, Bytes>;
  tasks: Map<string, TaskPins>;
  /** Tasks whose pins this page can't read, and why: nothing of them is good. */
  unread: Map<string, string>;
}

/** A task's pins are of a kind that this page does not know; what is pinned of other tasks is. */
class Unread extends Unknown {}

type Fields = Map<string, Json>;

function object(value: Json | undefined, what: string): Fields {
  require(value instanceof Map, `${what} of the trust file is no object`);
  return value;
}

function text(value: Json | undefined, what: string): string {
  require(typeof value === "string", `${what} of the trust file is no text`);
  return value;
}

function integer(value: Json | undefined, what: string): number {
  require(typeof value === "bigint" && value >= 0n && value < 2n ** 53n, `${what} of the trust file is no number`);
  return Number(value);
}

function known(fields: Fields, wanted: readonly string[], optional: readonly string[], what: string): void {
  for (const name of wanted) require(fields.has(name), `${what} lacks ${name}`);
  for (const name of fields.keys()) {
    if (!wanted.includes(name) && !optional.includes(name)) {
      throw new Unknown(`${what} has ${JSON.stringify(name)}, which is unknown to this page`);
    }
  }
}

function roster(value: Json | undefined, what: string): Map<string, Bytes> {
  const members: Member[] = [...object(value, what)].map(([name, key]) => ({ name, public: unhex(text(key, what)) }));
  return checkRoster(members.sort((a, b) => compareText(a.name, b.name)));
}

const CLAIMS = ["sum", "dp-sum", "attested"];
const FLOATS = ["clip", "max_error"];

function flag(value: Json | undefined, what: string): boolean {
  require(typeof value === "boolean", `${what} of the trust file is neither true nor false`);
  return value;
}

function real(value: Json | undefined, what: string): number {
  require(typeof value === "number" || typeof value === "bigint", `${what} of the trust file is no number`);
  return Number(value);
}

function numberOf(name: string, value: Json): bigint {
  if (typeof value === "object") throw new Unread(`the policy has ${name}, which this page does not check`);
  return BigInt(integer(value, name));
}

function groups(value: Json): Group[] {
  require(Array.isArray(value), "groups of the trust file are no list");
  return value.map((item) => {
    const fields = object(item, "a group");
    known(fields, ["name", "kind", "bits", "clip", "weighted", "rotated", "support", "clip_rule"], [], "a group");
    const of = (name: string) => fields.get(name);
    const support = of("support");
    require(Array.isArray(support), "a support of the trust file is no list");
    return {
      name: text(of("name"), "a group's name"),
      kind: text(of("kind"), "a group's kind"),
      bits: integer(of("bits"), "a group's bits"),
      clip: real(of("clip"), "a group's clip"),
      weighted: flag(of("weighted"), "weighted"),
      rotated: flag(of("rotated"), "rotated"),
      support: support.map((number) => integer(number, "a support")),
      clip_rule: text(of("clip_rule"), "clip_rule"),
    };
  });
}

function policy(value: Json | undefined): Policy {
  const fields = object(value, "policy");
  const names = [
    "backend", "options", "clip", "bits", "commit_packed", "max_error", "max_weight", "weight_scale", "weight_span",
    "first_weight", "cohort_size", "max_clients", "min_clients", "min_advertised", "max_corrupt", "max_parameters",
  ];
  known(fields, names, [], "the policy of the trust file");
  const options = [...object(fields.get("options"), "options")]
    .map(([name, item]) => ({ name, value: name === "groups" ? groups(item) : numberOf(name, item) }))
    .sort((a, b) => compareText(a.name, b.name));
  const out: Record<string, unknown> = { backend: text(fields.get("backend"), "backend"), options };
  out.commit_packed = flag(fields.get("commit_packed"), "commit_packed");
  for (const name of names) {
    const item = fields.get(name);
    if (FLOATS.includes(name)) out[name] = real(item, name);
    else if (!Object.hasOwn(out, name)) out[name] = integer(item, name);
  }
  checkPolicy(out as Policy);
  return out as Policy;
}

function beaconSource(value: Json): BeaconSource {
  const fields = object(value, "beacon");
  known(fields, ["scheme", "key", "first", "step", "genesis", "period"], [], "the beacon of the trust file");
  const [first, step, genesis, period] = ["first", "step", "genesis", "period"].map((name) => {
    return BigInt(integer(fields.get(name), name));
  });
  const source = { scheme: text(fields.get("scheme"), "scheme"), key: unhex(text(fields.get("key"), "key")) };
  const out = { ...source, first, step, genesis, period };
  checkSource(out);
  return out;
}

function task(name: string, value: Json): TaskPins {
  checkId(name);
  const fields = object(value, "a task");
  const optional = ["beacon", "administrators", "threshold", "epoch", "epoch_digest", "closure"];
  known(fields, ["policy", "roster", "claims"], optional, "a task of the trust file");
  const claims = fields.get("claims");
  require(Array.isArray(claims), "claims of the trust file are no list");
  const spelled = claims.map((claim) => text(claim, "a claim"));
  for (const claim of spelled) {
    if (!CLAIMS.includes(claim)) throw new Unknown(`the claim ${claim} is unknown to this page`);
  }
  const ordered = CLAIMS.filter((claim) => spelled.includes(claim));
  require(spelled.length > 0 && ordered.join() === spelled.join(), "claims are out of order");
  const pinned = policy(fields.get("policy"));
  const found = fields.get("beacon");
  require(found === undefined || pinned.cohort_size > 0, "a beacon where no cohort is drawn");
  const administrators = fields.get("administrators");
  const epoch = fields.get("epoch");
  return {
    policy: pinned,
    roster: roster(fields.get("roster"), "roster"),
    claims: spelled,
    beacon: found === undefined ? null : beaconSource(found),
    administrators: administrators === undefined ? new Map() : roster(administrators, "administrators"),
    threshold: administrators === undefined ? 0 : integer(fields.get("threshold"), "threshold"),
    epoch: epoch === undefined ? null : {
      number: BigInt(integer(epoch, "epoch")),
      digest: unhex(text(fields.get("epoch_digest"), "epoch_digest")),
      closure: unhex(text(fields.get("closure"), "closure")),
    },
  };
}

export function readTrust(data: string): Trust {
  const fields = object(parseJson(data), "all");
  known(fields, ["format", "log", "operators", "witnesses", "tasks"], ["origin", "quorum"], "the trust file");
  require(fields.get("format") === "secure-agg-trust/2", "another format of trust file");
  const [log, origin, quorum] = [fields.get("log"), fields.get("origin"), fields.get("quorum")];
  const key = log === null ? null : unhex(text(log, "log"));
  require(key === null || key.length === 32, "the log's key has a wrong length");
  const witnesses = roster(fields.get("witnesses"), "witnesses");
  const needed = quorum === undefined ? null : integer(quorum, "quorum");
  const hasLog = key !== null && origin !== undefined;
  const fits = needed === null || (needed >= 1 && needed <= witnesses.size && hasLog);
  require(fits, "quorum of the trust file is out of range");
  const [tasks, unread] = [new Map<string, TaskPins>(), new Map<string, string>()];
  for (const [name, value] of object(fields.get("tasks"), "tasks")) {
    try {
      tasks.set(name, task(name, value));
    } catch (error) {
      if (!(error instanceof Unread)) throw error;
      unread.set(name, error.message);
    }
  }
  return {
    log: key,
    origin: origin === undefined ? null : text(origin, "origin"),
    quorum: needed,
    operators: roster(fields.get("operators"), "operators"),
    witnesses,
    tasks,
    unread,
  };
}

/** That what is pinned of a task, if anything, is known to this page. */
export function checkRead(trust: Trust, task: string): void {
  const reason = trust.unread.get(task);
  if (reason !== undefined) throw new Unknown(reason);
}

/** That what has drawn something is what the verifier knows itself, where no beacon is pinned that vouches for it. */
export function checkKnownBeacon(used: Bytes, known: Bytes | null): void {
  if (used.length > 0 && known === null) {
    throw new Unknown(`it was drawn by ${hex(used)}, and no beacon is pinned that vouches for that`);
  }
  require(equal(used, known ?? NONE), "another beacon than the verifier knows");
}

/** Check 1 of section 11; `beacon` is what the verifier knows itself. */
export function checkPins(
  config: RoundConfig,
  cohort: Map<string, Bytes>,
  trust: Trust,
  beacon: Bytes | null,
  setup: readonly { name: string; identity: Bytes }[] = [],
): void {
  checkRead(trust, config.task);
  const pins = trust.tasks.get(config.task);
  require(pins !== undefined, `task ${config.task} is not pinned`);
  const inForce = pins.epoch?.number ?? 0n;
  if (config.epoch < inForce) throw new Unknown(`a round of epoch ${config.epoch}: what is pinned is that of ${inForce}`);
  require(config.epoch === inForce, `a round of epoch ${config.epoch}: what is pinned is in force in ${inForce}`);
  require(equal(encode(Policy, config.policy), encode(Policy, pins.policy)), "another policy than pinned");
  const drawn = draw(pins.roster, config.policy.cohort_size, config.beacon);
  require(sameMembers(cohort, drawn), "another cohort than pinned");
  require(equal(config.operators, rosterDigest(trust.operators)), "other operators than pinned");
  require(equal(config.witnesses, rosterDigest(trust.witnesses)), "other witnesses than pinned");
  require(equal(config.log_key, trust.log ?? NONE), "another log than pinned");
  if (isShared(config.policy) && trust.operators.size > 0) {
    const all = setup.every((item) => equal(trust.operators.get(item.name) ?? NONE, item.identity));
    require(all, "an aggregator who is not pinned");
  }
  if (config.beacon.length > 0 && pins.beacon !== null) {
    checkBeacon(pins.beacon, config);
    require(beacon === null || equal(beacon, config.beacon), "another beacon than the verifier knows");
  } else if (config.beacon.length > 0) checkKnownBeacon(config.beacon, beacon);
}
