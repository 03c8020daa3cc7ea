// A ledger that is open: its log checked at once, each round and epoch when it is asked for.

import { type Bytes, equal, fromUtf8, hex, require, unpack, Unknown } from "../decoding/bytes.ts";
import { parseJson } from "../decoding/json.ts";
import { digest, sha256Bulk } from "../crypto/hash.ts";
import type { Progress } from "../zk/commitment.ts";
import { type Outcome, verifyEvidence } from "../protocol/evidence.ts";
import {
  EPOCH_CHECKS, follow, type Force, lastOfEpoch, lastOfRound, pinnedForce, rootTask, verifyEpoch,
} from "../protocol/epochs.ts";
import { checkBases, checkFollows } from "../protocol/kinds/buffer.ts";
import { isBounded } from "../protocol/config/layout.ts";
import { readEvidence } from "../protocol/participants.ts";
import {
  type Base, EdgeRecord, TreeHeader, Unsealed,
} from "../protocol/records.ts";
import { decode } from "../decoding/messagepack.ts";
import { type Check, counted, Report, Stopped } from "../protocol/report.ts";
import { isTree, type TreeOutcome, verifyTree } from "../protocol/trees.ts";
import { checkRead, readTrust, type Trust } from "../protocol/trust.ts";
import { checkBegins, checkChains, type EpochLeaf, type Leaf, readLeaf, type RoundLeaf } from "./leaves.ts";
import { checkCheckpoint, checkQuorum, type SignedCheckpoint } from "./note.ts";
import { Spending } from "./spending.ts";
import { checkTiles, evidencePath, readEntries, type Source } from "./source.ts";
import { Tree } from "./tree.ts";

const MAX_RECORDS = 2 ** 22;
/** Where what is pinned is only what the log publishes of itself. */
const BY_LOG = "pinned by the LOG ITSELF, and by nothing of yours";

/** What a browser has seen of logs: by key and origin, and which key there was at this address. */
export interface Seen {
  heads: [string, { size: string; root: string }][];
  key: string | null;
}

/** The name under which a browser keeps what it has seen of a log. */
export function seenName(log: Bytes, origin: string): string {
  return `${hex(log)} ${origin}`;
}

export const LOG_CHECKS = [
  ["key", "The log has signed its checkpoint with the pinned key"],
  ["witnesses", "As many witnesses have cosigned it as are pinned"],
  ["entries", "All records are there, and the tree over them has the root that was signed"],
  ["tiles", "All published hashes of the tree are over these records"],
  ["seen", "The log begins with what this browser has seen of it before"],
  ["chains", "Every task's records follow each other, each from the result before"],
  ["epochs", "Every change of a task was authorised under the pins before it, and accepted by new keys"],
] as const;

/** Words of the page's own file about the ledger: what the log says of itself, proof of nothing. */
export interface Site {
  trust: string | null;
  faults: string[];
}

export function readSite(data: Bytes): Site {
  const fields = parseJson(fromUtf8(data));
  require(fields instanceof Map && fields.get("format") === "secure-agg-site/1", "another format of site");
  const [trust, faults] = [fields.get("trust"), fields.get("faults")];
  require(trust === null || typeof trust === "string", "the site's trust is no text");
  require(Array.isArray(faults) && faults.every((item) => typeof item === "string"), "the site's faults are no list");
  return { trust, faults: faults.filter((item) => /^[0-9a-f]{64}$/.test(item)) };
}

export interface Opened {
  checks: readonly Check[];
  checkpoint: SignedCheckpoint | null;
  leaves: Leaf[];
  epochs: [number, readonly Check[]][];
  site: Site;
  trust: Trust | null;
  /** Whether the trust is the reader's own. */
  own: boolean;
}

export class Ledger {
  leaves: Leaf[] = [];
  /** Of each epoch that is followed, by its index, what was checked. */
  epochs: [number, readonly Check[]][] = [];
  #tree = new Tree();
  #log: Bytes | null = null;
  /** By root task, pins from an index on. */
  #trusts = new Map<string, { from: number; trust: Trust }[]>();
  #trust: Trust | null = null;
  #own = false;
  #checkpoint: SignedCheckpoint | null = null;
  #spending = new Spending();

  constructor(readonly source: Source) {}

  async open(own: Trust | null, seen: Seen | null, progress: Progress): Promise<Opened> {
    const report = new Report(LOG_CHECKS);
    let checkpoint: SignedCheckpoint | null = null;
    const found = await this.source("site.json");
    const site: Site = found === null ? { trust: null, faults: [] } : readSite(found);
    this.#own = own !== null;
    this.#trust = own ?? (site.trust === null ? null : readTrust(site.trust));
    try {
      checkpoint = this.#checkpoint = await this.#openLog(report, own !== null, seen, progress);
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    }
    const all = { leaves: this.leaves, epochs: this.epochs, site, trust: this.#trust, own: own !== null };
    return { checks: report.close(), checkpoint, ...all };
  }

  async #openLog(report: Report, own: boolean, seen: Seen | null, progress: Progress) {
    const trust = this.#trust;
    const checkpoint = await report.check("key", async (say) => {
      const data = await this.source("checkpoint");
      require(data !== null, "there is no checkpoint: this is no published ledger");
      this.#log = trust?.log ?? null;
      if (this.#log === null) throw new Unknown("no key of the log is known: choose your trust file");
      const signed = await checkCheckpoint(data, this.#log, trust?.origin ?? null, trust?.witnesses);
      require(signed.size <= BigInt(MAX_RECORDS), "more records than this page can hold");
      say(`${signed.origin}, ${counted(signed.size, "record")}; ${own ? "pinned by you" : BY_LOG}`);
      return signed;
    });
    if (trust?.quorum == null) {
      const names = [...checkpoint.cosigned.keys()].join(", ");
      report.skip("witnesses", `none are asked for; cosigned by ${names || "nobody that is pinned"}`);
    } else {
      await report.check("witnesses", (say) => {
        checkQuorum(checkpoint, trust.quorum, BigInt(Math.floor(Date.now() / 1000)));
        say(`${checkpoint.cosigned.size} of ${trust.witnesses.size}: ${[...checkpoint.cosigned.keys()].join(", ")}`);
      });
    }
    const entries = await report.check("entries", async (say) => {
      const all = await readEntries(this.source, Number(checkpoint.size), progress);
      for (const entry of all) this.#tree.push(entry);
      require(equal(this.#tree.root(), checkpoint.root), "the records are not those that the log has signed");
      say(counted(all.length, "record"));
      return all;
    });
    await report.check("tiles", async (say) => {
      say(counted(await checkTiles(this.source, this.#tree), "hash", "hashes"));
    });
    const head = seen?.heads.find(([name]) => name === seenName(this.#log!, checkpoint.origin))?.[1] ?? null;
    const known = head !== null || seen?.key != null;
    if (!known) report.skip("seen", "this browser has not seen this log before");
    else await report.check("seen", (say) => this.#checkSeen(head, seen!.key, say));
    await report.check("chains", (say) => {
      entries.forEach((entry, index) => this.leaves.push(readLeaf(entry, index)));
      say(counted(checkChains(this.leaves).size, "task"));
    });
    const epochs = this.leaves.filter((leaf) => leaf.kind === "epoch");
    if (epochs.length === 0) report.skip("epochs", "nothing was changed: there are no epochs");
    else if (trust === null) report.skip("epochs", "nothing is pinned that they could change");
    else await report.check("epochs", (say) => this.#followAll(trust, say));
    return checkpoint;
  }

  #checkSeen(seen: { size: string; root: string } | null, key: string | null, say: (detail: string) => void): void {
    require(key === null || key === hex(this.#log!), "the log at this address had another key before");
    require(seen !== null, "the log at this address had another name before");
    const size = Number(seen.size);
    require(size <= this.#tree.hashes.length, `${seen.size} records were seen, and there are fewer now`);
    require(hex(this.#tree.root(size)) === seen.root, `the first ${seen.size} records are others than were seen`);
    say(`${counted(size, "record")} had been seen`);
  }

  async #followAll(trust: Trust, say: (detail: string) => void): Promise<void> {
    const forces = new Map<string, Force>();
    let count = 0;
    for (const leaf of this.leaves) {
      if (leaf.kind !== "epoch") continue;
      const { task, epoch } = leaf.record;
      const before = this.#pinsAt(task, leaf.index) ?? trust;
      checkRead(before, task);
      const pins = before.tasks.get(task);
      require(pins !== undefined, `task ${task} is not pinned`);
      const force = forces.get(task) ?? pinnedForce(trust, task, pins);
      if (epoch <= force.body.epoch) { // what was in force then is not known: only which epoch it has led to
        const led = epoch < force.body.epoch || equal(leaf.record.body, force.digest);
        require(led, `epoch ${epoch} of task ${task} is another than the pinned one`);
        continue;
      }
      const report = new Report(EPOCH_CHECKS);
      const data = await this.content(leaf.record.evidence);
      try {
        const found = await verifyEpoch(force, data, this.#lastBefore(leaf), report);
        await report.check("record", () => require(equal(found.leaf, leaf.data), "they lead to another record"));
        forces.set(task, found.force);
        const followed = this.#trusts.get(task) ?? [];
        followed.push({ from: leaf.index, trust: follow(before, found.force, found.closure) });
        this.#trusts.set(task, followed);
      } catch (error) {
        if (!(error instanceof Stopped)) throw error;
        report.stop(`epoch ${epoch} of task ${task}`);
      } finally {
        this.epochs.push([leaf.index, report.close()]);
      }
      count++;
    }
    say(counted(count, "epoch"));
  }

  #lastBefore(leaf: EpochLeaf) {
    const before = this.leaves.slice(0, leaf.index).filter((item) => item.record.task === leaf.record.task);
    const last = before[before.length - 1];
    if (last === undefined) return null;
    return last.kind === "round" ? lastOfRound(last.record, last.digest) : lastOfEpoch(last.record, last.digest);
  }

  /** What is pinned of a task at a record. */
  #pinsAt(task: string, index: number): Trust | null {
    const list = this.#trusts.get(rootTask(task)) ?? [];
    return this.#pinsOf(task, [...list].reverse().find((item) => item.from < index)?.trust ?? this.#trust);
  }

  /** What is pinned of a task in an epoch; what the reader has pinned where the ledger has none of that number. */
  pinnedIn(task: string, epoch: bigint): Trust | null {
    const root = rootTask(task);
    const followed = (this.#trusts.get(root) ?? []).map((item) => item.trust);
    const found = followed.find((trust) => trust.tasks.get(root)?.epoch?.number === epoch);
    return this.#pinsOf(task, found ?? this.#trust);
  }

  #pinsOf(task: string, found: Trust | null): Trust | null {
    if (found === null || rootTask(task) === task) return found;
    const root = found.tasks.get(rootTask(task));
    if (root === undefined || found === this.#trust) return found;
    // An evaluation is under the epochs of the task that it evaluates.
    const own = found.tasks.get(task);
    const tasks = new Map(found.tasks);
    tasks.set(task, { ...root, claims: own?.claims ?? root.claims });
    return { ...found, tasks };
  }

  /** Published content by its SHA-256. */
  async content(hash: Bytes): Promise<Bytes> {
    const name = hex(hash);
    const data = await this.source(evidencePath(name));
    require(data !== null, `the evidence ${name.slice(0, 16)}… is not published here`);
    require(equal(await sha256Bulk(data), hash), `the evidence ${name.slice(0, 16)}… is another than its name says`);
    return data;
  }

  /** Verify the evidence of a round's record, norm proofs and edges included. */
  async round(index: number, progress: Progress, beacon: Bytes | null = null): Promise<Outcome | TreeOutcome> {
    const leaf = this.leaves[index];
    require(leaf !== undefined && leaf.kind === "round", "there is no such round");
    const numbers: readonly (readonly [string, string])[] = [
      ["content", "Evidence, norm proofs and edges are the very files that are named by their hashes"],
      ["record", "The record in the ledger is what this evidence proves, to the byte"],
      ["log", "The round was for this very log, and begins where its epoch and the round before say"],
    ];
    const report = new Report(numbers);
    try {
      const { data, beside } = await report.check("content", () => this.#contents(leaf));
      const outcome = await this.#verify(leaf, data, beside, progress, beacon);
      if (outcome.verified === null) return { ...outcome, checks: [...outcome.checks, ...report.close()] };
      const { encoding, evidence, participants } = outcome.verified;
      const { bases } = participants;
      await report.check("record", () => require(equal(encoding!, leaf.data), "the evidence proves another record"));
      await report.check("log", async () => {
        require(this.#log !== null && equal(evidence.round.log_key, this.#log), "the round was for another log");
        const before = this.#before(leaf);
        checkBegins(evidence.round, before);
        if (bases.length > 0) checkFollows(evidence.round.policy, bases, before && (await this.#basesOf(before)));
      });
      this.#spending.add(index, evidence.round.task, evidence.round.policy, participants.commitments.keys());
      return { ...outcome, checks: [...outcome.checks, ...report.close()] };
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      return { checks: report.close(), verified: null };
    }
  }

  #before(leaf: RoundLeaf): Leaf | null {
    const before = this.leaves.slice(0, leaf.index).filter((item) => item.record.task === leaf.record.task);
    return before[before.length - 1] ?? null;
  }

  /** The bases of a buffered task's round. */
  async #basesOf(leaf: Leaf): Promise<readonly Base[] | null> {
    require(leaf.kind === "round", "a buffered task has one epoch");
    const { round, setup } = readEvidence(unpack(await this.content(leaf.record.evidence))[0]);
    require(equal(round.setup, digest("setup", setup)), "the round before has another setup than its configuration's");
    return checkBases(round, setup);
  }

  /** The evidence of a round's record, with the edges' or the norm proofs that it names. */
  async #contents(leaf: RoundLeaf): Promise<{ data: Bytes; beside: Bytes[] }> {
    const data = await this.content(leaf.record.evidence);
    const beside: Bytes[] = [];
    if (isTree(data)) {
      const { edges } = decode(TreeHeader, unpack(data)[0], 2 ** 30, "the evidence");
      for (const edge of edges) {
        const { record } = decode(Unsealed, edge.unsealed, 2 ** 30, "an edge");
        beside.push(await this.content(decode(EdgeRecord, record, 1 << 16, "an edge's record").evidence));
      }
      return { data, beside };
    }
    const evidence = readEvidence(unpack(data)[0]);
    if (isBounded(evidence.round.policy)) {
      for (const opening of evidence.openings) beside.push(await this.content(opening.proof!));
    }
    return { data, beside };
  }

  #verify(
    leaf: RoundLeaf, data: Bytes, beside: Bytes[], progress: Progress, beacon: Bytes | null,
  ): Promise<Outcome | TreeOutcome> {
    const trust = this.#pinsAt(leaf.record.task, leaf.index);
    const pinnedBy = this.#own ? undefined : BY_LOG;
    if (isTree(data)) return verifyTree(data, beside, { trust, pinnedBy, beacon, progress });
    return verifyEvidence(data, { trust, pinnedBy, beacon, proofs: beside, progress });
  }

  budgets() {
    return this.#spending.all();
  }

  /** Whether it is the log with this key and name. */
  isOne(log: Bytes, origin: string): boolean {
    return this.#checkpoint?.origin === origin && this.#log !== null && equal(log, this.#log);
  }

  /** That another head of this log is of its own tree; false where that has more records than are published here. */
  compare(size: bigint, root: Bytes): boolean {
    if (size > BigInt(this.#tree.hashes.length)) return false;
    const same = equal(this.#tree.root(Number(size)), root);
    require(same, `the log has signed another tree of ${size} records than it publishes here: two histories`);
    return true;
  }

  /** The path from a record up to the root, for its receipt and the picture of the tree. */
  path(index: number): Bytes[] {
    return this.#tree.path(index);
  }

  get log(): Bytes | null {
    return this.#log;
  }

  /** The reader's pins, or else what the log publishes of itself. */
  get trust(): Trust | null {
    return this.#trust;
  }
}
