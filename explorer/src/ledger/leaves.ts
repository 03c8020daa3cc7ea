// What a leaf holds, and that it follows its task's record before it: docs/specification.md, sections 12 and 18.

import { type Bytes, equal, require, Unknown, ZEROS } from "../decoding/bytes.ts";
import { decode, Reader } from "../decoding/messagepack.ts";
import { digest } from "../crypto/hash.ts";
import { checkClips } from "../protocol/config/groups.ts";
import { rootTask } from "../protocol/epochs.ts";
import { isZeros } from "../protocol/participants.ts";
import { EpochRecord, type RoundConfig, RoundRecord } from "../protocol/records.ts";

const MAX_RECORD = 65536;
const EPOCH_FIELDS = 13;
const CLAIMS = ["sum", "dp-sum", "attested"];

export interface RoundLeaf {
  kind: "round";
  index: number;
  data: Bytes;
  digest: Bytes;
  record: RoundRecord;
}

export interface EpochLeaf {
  kind: "epoch";
  index: number;
  data: Bytes;
  digest: Bytes;
  record: EpochRecord;
}

export type Leaf = RoundLeaf | EpochLeaf;

export function readLeaf(data: Bytes, index: number): Leaf {
  const fields = new Reader(data).array();
  if (fields === EPOCH_FIELDS) {
    const record = decode(EpochRecord, data, MAX_RECORD, `record ${index}`);
    if (record.format !== "secure-agg/epoch-record/1") throw new Unknown(`record ${index} has an unknown format`);
    return { kind: "epoch", index, data, digest: digest("epoch-record", data), record };
  }
  const record = decode(RoundRecord, data, MAX_RECORD, `record ${index}`);
  require(record.version === 2, `record ${index} is of another version`);
  if (!CLAIMS.includes(record.claim)) {
    throw new Unknown(`record ${index} makes the claim ${JSON.stringify(record.claim)}, which is unknown to this page`);
  }
  const isPrivate = record.mechanism !== undefined;
  require((record.claim === "dp-sum") === isPrivate, `record ${index} has fields of another claim`);
  return { kind: "round", index, data, digest: digest("round-record", data), record };
}

/** That every record follows its task's last; returns for each task its leaves in order. */
export function checkChains(leaves: readonly Leaf[]): Map<string, Leaf[]> {
  const chains = new Map<string, Leaf[]>();
  const epochs = new Map<string, EpochLeaf>(); // the newest of each task
  const renewed = new Set<string>(); // tasks that are evaluated under the epochs of another, which has begun one
  for (const leaf of leaves) {
    const { task } = leaf.record;
    const chain = chains.get(task) ?? [];
    checkLink(leaf, chain[chain.length - 1] ?? null, renewed.has(task));
    chains.set(task, [...chain, leaf]);
    renewed.delete(task);
    if (leaf.kind === "epoch") {
      checkNext(leaf, epochs.get(task) ?? null);
      epochs.set(task, leaf);
      for (const name of chains.keys()) if (name !== task && rootTask(name) === task) renewed.add(name);
    }
  }
  return chains;
}

/** Epochs of a task are counted from 1, each says which it follows, and none is left out or there again. */
function checkNext(leaf: EpochLeaf, before: EpochLeaf | null): void {
  const { record, index } = leaf;
  require(rootTask(record.task) === record.task, `record ${index} is an epoch of a task that has none of its own`);
  require(record.epoch === (before?.record.epoch ?? 0n) + 1n, `record ${index} is not its task's next epoch`);
  const follows = before === null || equal(record.previous_epoch, before.record.body);
  require(follows, `record ${index} follows another epoch than its task's last`);
}

function checkLink(leaf: Leaf, previous: Leaf | null, renewed: boolean): void {
  const where = `record ${leaf.index}`;
  const before = previous?.digest ?? ZEROS;
  require(equal(leaf.record.previous_record, before), `${where} does not follow its task's last record`);
  const last = previous === null ? -1n : previous.kind === "round" ? previous.record.round : previous.record.rounds - 1n;
  if (leaf.kind === "epoch") {
    require(leaf.record.rounds === last + 1n, `${where} counts another number of rounds`);
    return;
  }
  require(leaf.record.round > last, `${where} is not after its task's last round`);
  const { spent, epsilon } = leaf.record;
  if (spent !== undefined && epsilon !== undefined) {
    require(spent <= epsilon, `${where} spends more than the task's privacy budget`);
    const before = previous?.kind === "round" ? previous.record.spent ?? 0 : 0;
    require(spent >= before, `${where} has spent less of its privacy budget than its task's last record`);
  }
  if (previous === null) return;
  const start = previous.kind === "round" ? previous.record.result_model : previous.record.start_model;
  require(equal(leaf.record.start_model, start), `${where} starts from another model than its task's last result`);
  const limit = previous.record.next_weight_limit;
  require(renewed || limit === 0 || limit === leaf.record.weight_limit, `${where} has another weight limit`);
}

/** What a round's configuration says, and its record does not, of the record before it. */
export function checkBegins(config: RoundConfig, before: Leaf | null): void {
  checkClips(config, before?.kind === "round" ? (before.record.groups ?? []).flatMap((group) => group.next_clips) : []);
  if (before === null || before.kind !== "epoch") return;
  const epoch = before.record;
  require(config.generation >= epoch.generation, "the round is of a generation before its epoch's");
  const renounced = config.generation !== epoch.generation || equal(config.renounced, epoch.renounced);
  require(renounced, "the round goes on from another certificate than its epoch says");
  const base = isZeros(epoch.base_model) || equal(config.base_model, epoch.base_model);
  require(base, "the round trains from another model than its epoch says");
}

