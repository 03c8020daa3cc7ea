// The calls that the worker answers. Arguments and results are data that can be cloned: no functions, no classes.

import { type Bytes, concat, equal, fromUtf8, hex, require, utf8 } from "./decoding/bytes.ts";
import { readNpy, readNpz } from "./decoding/npy.ts";
import { sha256Bulk } from "./crypto/hash.ts";
import { dropped, served } from "./ledger/source.ts";
import { followSteps } from "./ledger/following.ts";
import { Ledger, type Seen, seenName } from "./ledger/ledger.ts";
import { readLeaf } from "./ledger/leaves.ts";
import { verifyFork, verifyReceipt } from "./ledger/receipt.ts";
import { type Outcome, verifyEvidence } from "./protocol/evidence.ts";
import { verifyFault } from "./protocol/faults/verify.ts";
import { compareModel, type OfRound } from "./protocol/model.ts";
import { isGood } from "./protocol/report.ts";
import { isTree, type TreeOutcome, verifyTree } from "./protocol/trees.ts";
import { readTrust, type Trust } from "./protocol/trust.ts";
import type { Progress } from "./zk/commitment.ts";
import { primitives } from "./primitives.ts";

interface EvidenceArgs {
  evidence: Bytes;
  trust?: string | null;
  beacon?: Bytes | null;
  claims?: string[] | null;
  /** Norm proofs, and evidence of edges. */
  beside?: Bytes[];
}

let ledger: Ledger | null = null;

function current(): Ledger {
  require(ledger !== null, "no ledger is open");
  return ledger;
}

function trustOf(text: string | null | undefined): Trust | null {
  return text == null ? null : readTrust(text);
}

/** Of an outcome what a page shows, and no more. */
function shown({ checks, verified }: Outcome | TreeOutcome) {
  if (verified === null) return { checks, good: false, read: false as const };
  const { record, encoding, proofs, evidence, participants } = verified;
  const { round: config } = evidence;
  return {
    checks,
    good: isGood(checks),
    read: true as const,
    record,
    encoding,
    proofs,
    config,
    means: verified.means,
    cohort: [...participants.cohort.keys()],
    advertised: [...participants.advertised.keys()],
    participants: [...participants.commitments.keys()],
    signers: evidence.agreement.map((item) => item.name),
    bases: participants.bases,
    based: [...participants.based],
    operators: participants.setup.map((item) => item.name),
    edges: "edges" in verified ? verified.edges : null,
    seen: "seen" in verified ? verified.seen : null,
  };
}

export const methods = {
  ...primitives,

  async evidence(args: EvidenceArgs, progress: Progress) {
    const trust = trustOf(args.trust);
    const { beacon, claims, beside = [] } = args;
    if (isTree(args.evidence)) {
      return shown(await verifyTree(args.evidence, beside, { trust, beacon: beacon ?? null, progress }));
    }
    return shown(await verifyEvidence(args.evidence, { trust, beacon, claims, proofs: beside, progress }));
  },

  fault({ proof, trust, beacon }: { proof: Bytes; trust?: string | null; beacon?: Bytes }) {
    return verifyFault(proof, trustOf(trust), beacon ?? null);
  },

  async receipt(args: {
    receipt: Bytes; record: Bytes; log?: Bytes; origin?: string; witnesses?: [string, Bytes][]; trust?: string;
  }) {
    const trust = trustOf(args.trust);
    const log = args.log ?? trust?.log ?? null;
    require(log !== null, "no key of the log is known: choose your trust file");
    const witnesses = args.witnesses ? new Map(args.witnesses) : trust?.witnesses;
    const origin = args.origin ?? trust?.origin ?? null;
    const found = await verifyReceipt(args.receipt, args.record, log, origin, witnesses, trust?.quorum ?? null);
    const { index, size, root, cosigned } = found;
    const compared = ledger?.isOne(log, found.origin) ? ledger.compare(size, root) : null;
    return { origin: found.origin, index, size, root: hex(root), cosigned: [...cosigned], compared };
  },

  /** Epochs that somebody shows, from what a trust file pins. */
  async steps({ steps, trust }: { steps: Bytes; trust: string }) {
    const { task, epoch, digest, head } = await followSteps(steps, readTrust(trust));
    return { task, epoch, digest: hex(digest), origin: head.origin, size: head.size, root: hex(head.root) };
  },

  fork({ proof, log }: { proof: Bytes; log: Bytes }) {
    return verifyFork(proof, log);
  },

  /** Open what is published at an address, or the files of a folder by their paths below it. */
  async open(
    args: { base?: string; files?: Map<string, Blob>; trust?: string | null; seen?: Seen | null },
    progress: Progress,
  ) {
    ledger = new Ledger(args.files ? dropped(args.files) : served(args.base!));
    const { checkpoint, trust, ...found } = await ledger.open(trustOf(args.trust), args.seen ?? null, progress);
    return {
      ...found,
      checkpoint: checkpoint && { origin: checkpoint.origin, size: checkpoint.size, root: checkpoint.root,
        cosigned: [...checkpoint.cosigned] },
      log: ledger.log,
      seenAs: ledger.log && checkpoint ? seenName(ledger.log, checkpoint.origin) : null,
      trust: trust && { ...trust, tasks: [...trust.tasks], operators: [...trust.operators],
        witnesses: [...trust.witnesses] },
    };
  },

  /** `beacon` is what drew the round's cohort, or a tree's edges, as the reader knows it. */
  async round({ index, beacon }: { index: number; beacon?: Bytes | null }, progress: Progress) {
    return shown(await current().round(index, progress, beacon ?? null));
  },

  /** What the rounds that were verified so far have spent together. */
  budgets() {
    return current().budgets();
  },

  path({ index }: { index: number }) {
    return current().path(index);
  },

  /** A proof of fault that is published beside the ledger, by what is pinned of its round's epoch. */
  async faultAt({ hash }: { hash: string }) {
    const data = await current().source(`faults/${hash}.fault`);
    require(data !== null, "the proof of fault is not published here");
    require(hex(await sha256Bulk(data)) === hash, "the proof of fault is another than its name says");
    return verifyFault(data, current().trust, null, (task, epoch) => current().pinnedIn(task, epoch));
  },

  /** What a file is, by its content: its name says nothing. */
  sniff({ data }: { data: Bytes }): string {
    return kindOf(data);
  },

  leaf({ data }: { data: Bytes }) {
    return readLeaf(data, 0);
  },

  /** What a model is of a round, see `protocol/model.ts`. */
  model(args: OfRound) {
    return compareModel(args, (data) => (data[0] === 0x50 ? readNpz(data) : Promise.resolve([readNpy(data)])));
  },
};

const STEPS = concat(new Uint8Array([0x92, 0xb8]), utf8("secure-agg/epoch-steps/1"));

/** The encodings of records begin with their number of fields; texts with what they say. */
function kindOf(data: Bytes): string {
  const head = data.slice(0, 32);
  const text = (() => {
    try {
      return fromUtf8(data.slice(0, 24));
    } catch {
      return "";
    }
  })();
  if (text.startsWith("c2sp.org/tlog-proof@v1")) return "receipt";
  if (text.trimStart().startsWith("{")) return "trust";
  if (head[0] === 0x93 && text === "") return "model"; // \x93NUMPY
  if (head[0] === 0x50 && head[1] === 0x4b) return "model";
  if (isTree(data)) return "tree";
  if (head[0] === 0x97 && head[1] === 0xb2) return "fault";
  if (head[0] === 0x95 && head[1] === 0xb1) return "fork";
  if (equal(data.slice(0, STEPS.length), STEPS)) return "steps";
  if (head[0] === 0xdc || head[0] === 0x9d) return "record";
  if (data.length > 8 && (head[4] === 0x99 || head[4] === 0x9a) && head[5] === 2) return "evidence";
  return "unknown";
}

