// Evidence of a tree: docs/specification.md, section 19. `verifyTree` is the entry.

import {
  type Bytes, compare, compareText, concat, equal, hex, NONE, pack, require, u64, unpack, utf8,
} from "../decoding/bytes.ts";
import { decode, encode, type Of } from "../decoding/messagepack.ts";
import { digest, frame, sha256Bulk } from "../crypto/hash.ts";
import { addTo, fromElements, N, toElements } from "../crypto/ring.ts";
import type { Progress } from "../zk/commitment.ts";
import { mustVerify, type Verified } from "./evidence.ts";
import { option, quorum, rank } from "./config/layout.ts";
import { checkId, checkOrder, checkSigners, rosterDigest } from "./parties.ts";
import { MAX_CONFIG, readEvidence, type ReadEvidence } from "./participants.ts";
import {
  Common, EdgeRecord, Evidence, Forest, type Policy, Roll, type RoundConfig, TreeHeader, Unsealed,
} from "./records.ts";
import { type Check, Report, Stopped } from "./report.ts";
import { checkKnownBeacon, type TaskPins, type Trust } from "./trust.ts";

const TAG = "secure-agg/tree/1";
const MAX_TREE = 2 ** 30;

export function isTree(data: Bytes): boolean {
  const head = concat(new Uint8Array([0x94, 0xa0 | TAG.length]), utf8(TAG));
  return data.length > 64 && equal(data.slice(4, 4 + head.length), head);
}

/** What all configurations of a tree share. */
function commonOf(config: RoundConfig): Bytes {
  return digest("tree-common", encode(Common, { ...config.policy, ...config }));
}

export function readForest(data: Bytes): Forest {
  const forest = decode(Forest, data, MAX_CONFIG, "the forest");
  require(forest.version === 1, "another version of a forest");
  checkId(forest.task);
  checkOrder(forest.edges.map((edge) => edge.name), "edges");
  require(forest.edges.length >= 2 && forest.edges.length <= 256 && forest.beacon.length <= 64, "too many edges");
  const seen = new Set(forest.edges.flatMap((edge) => [hex(edge.context), hex(edge.session)]));
  require(seen.size === 2 * forest.edges.length, "a context or session is there twice");
  return forest;
}

/** The sid of an edge, from what its advertisements make and the forest, which is its evidence's setup. */
function planted(evidence: ReadEvidence, own: Bytes): Bytes {
  const { round: config, context, setup } = evidence;
  const forest = readForest(setup);
  const mine = forest.edges.filter((edge) => equal(edge.context, context));
  require(mine.length === 1 && equal(mine[0].session, own), "the edge is not in its forest");
  require(!mine[0].name.includes("/"), "an edge's id has a slash");
  require(config.task === `${forest.task}/${mine[0].name}`, "the forest is another tree's");
  const same = forest.round === config.round && forest.attempt === config.attempt
    && equal(forest.instructions, config.instructions) && equal(forest.common, commonOf(config));
  require(same, "the forest is of other rounds");
  return digest("edge-session", own, digest("forest", setup));
}

const OF_ONE_SUM = [
  "clip", "bits", "commit_packed", "max_error", "max_weight", "weight_scale", "weight_span", "first_weight",
  "max_clients", "max_parameters",
] as const;

function taskPins(trust: Trust, name: string): TaskPins {
  const found = trust.tasks.get(name);
  require(found !== undefined, `task ${name} is not pinned`);
  return found;
}

/** Nobody is in the pinned tree twice, and all its policies are of one sum. */
function checkPinnedTree(trust: Trust, task: string): void {
  const top = taskPins(trust, task);
  require(!task.includes("/*"), "no tree");
  const names = trust.tasks.has(`${task}/*`) ? ["*"] : [...top.roster.keys()];
  const all = [...top.roster];
  for (const name of names) {
    const edge = taskPins(trust, `${task}/${name}`);
    all.push(...edge.roster);
    require(option(edge.policy, "level", 0) === 1, "an edge that is none");
    const same = OF_ONE_SUM.every((field) => (edge.policy as Policy)[field] === top.policy[field]);
    require(same, "policies that are not of one sum");
  }
  const [ids, keys] = [new Set(all.map(([id]) => id)), new Set(all.map(([, key]) => hex(key)))];
  require(ids.size === all.length && keys.size === all.length, "somebody is in the tree twice");
  require(all.length - top.roster.size <= top.policy.max_clients, "more members than sums have room for");
}

/** The pins of one edge, as if it were all there is. */
function edgePins(trust: Trust, task: string, edge: string, beacon: Bytes): Trust {
  const operators = taskPins(trust, task).roster;
  const drawn = trust.tasks.get(`${task}/*`);
  require((drawn !== undefined) === beacon.length > 0, "a beacon where edges are fixed, or none where they are drawn");
  let found: TaskPins;
  if (drawn === undefined) {
    found = taskPins(trust, `${task}/${edge}`);
  } else {
    const ranked = [...drawn.roster.keys()].map((name) => ({ name, rank: digest("edge-draw", beacon, utf8(name)) }));
    ranked.sort((a, b) => compare(a.rank, b.rank));
    const edges = [...operators.keys()].sort(compareText);
    const place = edges.indexOf(edge);
    require(place >= 0, "an edge that is not pinned");
    const least = Math.floor(ranked.length / edges.length);
    const more = ranked.length % edges.length;
    const start = place * least + Math.min(place, more);
    const part = ranked.slice(start, start + least + (place < more ? 1 : 0));
    found = { ...drawn, roster: new Map(part.map(({ name }) => [name, drawn.roster.get(name)!])) };
  }
  const operator = operators.get(edge);
  require(operator !== undefined, "an edge whose operator is not pinned");
  return { ...trust, tasks: new Map([[`${task}/${edge}`, found]]), operators: new Map([[edge, operator]]) };
}

export interface TreeOptions {
  trust?: Trust | null;
  pinnedBy?: string;
  beacon?: Bytes | null;
  progress?: Progress;
}

export const TREE_CHECKS = [
  ["form", "The file is evidence of a tree, in its one spelling"],
  ["1", "The tree is the one that is pinned"],
  ["top", "The top round is right, with the edges' commitments as what was summed"],
  ["roll", "Forest and roll are those of this round"],
  ["edges", "The evidence of each edge that is at hand leads to the record that is sealed"],
  ["seals", "Each edge's record is the one it sealed, and enough of its members have signed it"],
  ["sum", "The edges' records are of this very sum"],
] as const;

export interface TreeOutcome {
  checks: readonly Check[];
  verified: (Verified & { seen: string[]; edges: Of<typeof EdgeRecord>[] }) | null;
}

/** Check a tree's evidence with as many edges' as are at hand. */
export async function verifyTree(data: Bytes, edges: readonly Bytes[], options: TreeOptions = {}): Promise<TreeOutcome> {
  const report = new Report(TREE_CHECKS);
  try {
    const verified = await run(data, edges, options, report);
    return { checks: report.close(), verified };
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    return { checks: report.close(), verified: null };
  }
}

interface Listed {
  unsealed: Of<typeof Unsealed>;
  record: Of<typeof EdgeRecord>;
}

interface Seen {
  cohort: Map<string, Bytes>;
  policy: Policy;
}

async function run(data: Bytes, edges: readonly Bytes[], options: TreeOptions, report: Report) {
  const { trust = null, beacon = null } = options;
  const { header, forest, listed, top, sums } = await report.check("form", (say) => {
    const [raw, bulk] = unpack(data);
    const head = decode(TreeHeader, raw, MAX_TREE, "the evidence");
    require(head.tag === TAG, "no evidence of a tree");
    checkOrder(head.edges.map((item) => item.name), "edges");
    const found = new Map<string, Listed>();
    for (const item of head.edges) {
      const unsealed = decode(Unsealed, item.unsealed, MAX_TREE, "an edge");
      found.set(item.name, { unsealed, record: decode(EdgeRecord, unsealed.record, 1 << 16, "an edge's record") });
    }
    const [topHeader, topSums] = unpack(bulk);
    const grown = readForest(head.forest);
    say(`${found.size} edges of task ${grown.task}, round ${grown.round}`);
    const evidence = decode(Evidence, topHeader, MAX_TREE, "the top's evidence");
    return { header: head, forest: grown, listed: found, top: evidence, sums: topSums };
  });
  const { task } = forest;
  const root = digest("forest", header.forest);
  if (trust === null) report.skip("1", "nothing of yours was compared: anybody could have made all of this up");
  else {
    await report.compare("1", (say) => {
      say(options.pinnedBy ?? "pinned by you");
      checkPinnedTree(trust, task);
      checkKnownBeacon(forest.beacon, beacon);
    });
  }
  const found = await report.check("top", async (say) => {
    for (const opening of top.openings) {
      const known = listed.get(opening.name)?.record.commitment_sum ?? NONE;
      require(!equal(opening.commitment, known), "a commitment is there twice");
      if (opening.commitment.length === 0) opening.commitment = known;
    }
    const records = [...listed.values()].map((item) => item.record);
    const whole = pack(encode(Evidence, top), sums);
    const pins = trust && { ...trust, tasks: new Map([[task, taskPins(trust, task)]]) };
    const clients = records.reduce((sum, record) => sum + record.participants, 0);
    const invited = records.reduce((sum, record) => sum + record.cohort_size, 0);
    const place = { level: 2 as const, clients, invited, evidence: await sha256Bulk(data) };
    const verified = await mustVerify(whole, { trust: pins, place, progress: options.progress });
    const same = top.openings.length === listed.size && top.openings.every((item) => listed.has(item.name));
    require(same, "records of other edges than the sum's");
    say(`${clients} participants of ${invited} members`);
    return verified;
  });
  const { round: config } = found.evidence;
  await report.check("roll", () => {
    const same = forest.task === config.task && forest.round === config.round && forest.attempt === config.attempt
      && equal(forest.common, commonOf(config));
    require(same, "the forest is of other rounds");
    checkOrder(header.roll.edges.map((item) => item.name), "the roll");
    require(equal(header.roll.forest, root), "the roll is of another forest");
    const named = equal(config.instructions, digest("edge-roll", encode(Roll, header.roll)));
    require(named, "another roll than configured");
  });
  const operators = new Map(top.cohort.map((member) => [member.name, member.public]));
  const seen = new Map<string, Seen>();
  if (edges.length === 0 && trust !== null) report.skip("edges", "no edge's evidence is at hand");
  else {
    await report.check("edges", async (say) => {
      for (const item of edges) {
        const edge = await checkEdge(item, task, header.forest, listed, operators, trust, forest.beacon);
        require(!seen.has(edge.name), "a second evidence of one edge");
        seen.set(edge.name, edge);
      }
      const members = [...operators, ...[...seen.values()].flatMap((edge) => [...edge.cohort])];
      const [ids, keys] = [new Set(members.map(([id]) => id)), new Set(members.map(([, key]) => hex(key)))];
      require(ids.size === members.length && keys.size === members.length, "somebody is in the tree twice");
      say(`${seen.size} of ${listed.size} edges`);
    });
  }
  await report.check("seals", async () => {
    for (const [name, item] of listed) await checkSeal(name, item, header, forest, root, trust, seen);
  });
  await report.check("sum", () => {
    const total = new Float64Array(rank(config) * N);
    for (const { record } of listed.values()) addTo(total, toElements(record.commitment_sum, total.length, "C_j"));
    require(equal(fromElements(total), found.total), "the records are of another sum");
    for (const [name, commitment] of found.participants.commitments) {
      require(equal(listed.get(name)!.record.commitment_sum, commitment), "a record is of another sum than the top's");
    }
  });
  return { ...found, seen: [...seen.keys()].sort(compareText), edges: [...listed.values()].map((item) => item.record) };
}

async function checkEdge(
  data: Bytes,
  task: string,
  forest: Bytes,
  listed: ReadonlyMap<string, Listed>,
  operators: ReadonlyMap<string, Bytes>,
  trust: Trust | null,
  beacon: Bytes,
): Promise<Seen & { name: string }> {
  const [public_] = unpack(data);
  const { round, setup } = readEvidence(public_);
  require(round.task.startsWith(`${task}/`), "evidence of another task");
  const name = round.task.slice(task.length + 1);
  const item = listed.get(name);
  require(item !== undefined, "evidence of no edge of the sum");
  const pins = trust && edgePins(trust, task, name, beacon);
  const found = await mustVerify(data, { trust: pins, place: { level: 1, planted } });
  require(equal(setup, forest), "another forest");
  require(equal(round.operators, rosterDigest(new Map([[name, operators.get(name) ?? NONE]]))), "another operator");
  const { participants } = found;
  const made = {
    version: 1,
    claim: "edge",
    task: round.task,
    round: round.round,
    attempt: round.attempt,
    context: found.evidence.context,
    session: participants.session,
    cohort_size: participants.cohort.size,
    participants: participants.commitments.size,
    participants_root: participants.root,
    commitment_sum: found.total,
    evidence: await sha256Bulk(pack(public_, NONE)),
  };
  const same = equal(encode(EdgeRecord, made), item.unsealed.record);
  require(same, `the evidence of ${name} leads to another record`);
  return { name, cohort: participants.cohort, policy: round.policy };
}

async function checkSeal(
  name: string,
  { unsealed, record }: Listed,
  header: Of<typeof TreeHeader>,
  forest: Forest,
  root: Bytes,
  trust: Trust | null,
  seen: ReadonlyMap<string, Seen>,
): Promise<void> {
  const entry = forest.edges.find((edge) => edge.name === name);
  const seal = header.roll.edges.find((item) => item.name === name)?.seal;
  require(entry !== undefined && seal !== undefined, `${name} is not in the forest or not on the roll`);
  require(record.version === 1 && record.claim === "edge", "no record of an edge");
  const hashed = digest("edge-record", unsealed.record);
  const numbers = [u64(forest.round), u64(forest.attempt)];
  const made = digest("edge", utf8(forest.task), ...numbers, utf8(name), hashed, record.commitment_sum, unsealed.nonce);
  require(equal(made, seal), `${name} shows another record than it sealed`);
  require(record.task === `${forest.task}/${name}`, "the record of another edge");
  const sid = digest("edge-session", entry.session, root);
  const same = record.round === forest.round && record.attempt === forest.attempt
    && equal(record.context, entry.context) && equal(record.session, sid);
  require(same, "a record of another round");
  const pins = trust && edgePins(trust, forest.task, name, forest.beacon).tasks.get(record.task)!;
  const own = seen.get(name);
  const [keys, policy] = pins ? [pins.roster, pins.policy] : [own?.cohort, own?.policy];
  require(keys !== undefined && policy !== undefined, `nothing is pinned, and the evidence of ${name} is missing`);
  const needed = quorum(keys.size, policy);
  require(record.cohort_size === keys.size, "another number of members");
  const enough = Math.max(policy.min_clients, needed) <= record.participants && record.participants <= keys.size;
  require(enough, `too few are summed in ${name}`);
  await checkSigners(unsealed.signatures, keys, frame("edge-record", hashed), needed, "the record");
}
