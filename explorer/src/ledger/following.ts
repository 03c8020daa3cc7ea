// Epochs that somebody shows, without the ledger that they are in: docs/specification.md, section 18, *Following*.

import { type Bytes, equal, require } from "../decoding/bytes.ts";
import { decode } from "../decoding/messagepack.ts";
import { EPOCH_CHECKS, follow, type Last, pinnedForce, readClosure, rootTask, verifyEpoch } from "../protocol/epochs.ts";
import { EpochEvidence, EpochRecord, EpochSteps, type Step } from "../protocol/records.ts";
import { Report } from "../protocol/report.ts";
import type { Trust } from "../protocol/trust.ts";
import { readLeaf } from "./leaves.ts";
import { verifyReceipt } from "./receipt.ts";
import { checkConsistency } from "./tree.ts";

const MAX_STEPS = 1 << 28;

interface Head {
  origin: string;
  size: bigint;
  root: Bytes;
}

/** Where whoever follows has come to. */
export interface Followed {
  task: string;
  epoch: bigint;
  digest: Bytes;
  /** The newest checkpoint that was shown. */
  head: Head;
}

/** The steps of a file, from the pins on: each epoch under the one before, in a ledger that begins with what was seen. */
export async function followSteps(data: Bytes, trust: Trust): Promise<Followed> {
  const { format, steps } = decode(EpochSteps, data, MAX_STEPS, "the steps");
  require(format === "secure-agg/epoch-steps/1" && steps.length > 0, "no epochs to follow");
  const task = rootTask(decode(EpochRecord, steps[0].record, 65536, "an epoch's record").task);
  const pins = trust.tasks.get(task);
  require(pins !== undefined, `task ${task} is not pinned`);
  let [at, force, head] = [trust, pinnedForce(trust, task, pins), null as Head | null];
  for (const step of steps) {
    const leaf = readLeaf(step.record, 0);
    require(leaf.kind === "epoch" && leaf.record.task === task, "an epoch of another task");
    const before = lastBy(step, leaf.record);
    const report = new Report(EPOCH_CHECKS);
    const found = await report.whole(() => verifyEpoch(force, step.evidence, before, report));
    require(equal(found.leaf, step.record), `the record of epoch ${leaf.record.epoch} differs from its evidence`);
    require(at.log !== null, "no ledger is pinned that a receipt could be from");
    const shown = await verifyReceipt(step.receipt, step.record, at.log, at.origin, at.witnesses, at.quorum);
    head = advance(head, shown, step.consistency);
    [at, force] = [follow(at, found.force, found.closure), found.force];
  }
  return { task, epoch: force.body.epoch, digest: force.digest, head: head! };
}

/** The record before an epoch's, as far as its own tells: where the epoch before ended its members have signed. */
function lastBy(step: Step, record: EpochRecord): Last {
  const { closure } = decode(EpochEvidence, step.evidence, 1 << 24, "the epoch's evidence");
  const said = closure.length ? readClosure(closure).statement : null;
  return {
    digest: record.previous_record,
    next: said?.round ?? record.rounds,
    startModel: said?.start_model ?? record.start_model,
    generation: 0n,
  };
}

/** The newer of two heads of one ledger, if its tree begins with the other's. */
function advance(seen: Head | null, { origin, size, root }: Head, proof: readonly Bytes[]): Head {
  if (seen !== null) {
    require(origin === seen.origin, "a checkpoint of another log than was seen last");
    require(size >= seen.size, `a checkpoint of ${size} records, and ${seen.size} were seen before`);
    if (size === seen.size) require(equal(root, seen.root), `two ledgers of ${size} records`);
    else checkConsistency(seen.size, seen.root, size, root, proof);
  }
  return { origin, size, root };
}
