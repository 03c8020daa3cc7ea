// Receipts (C2SP tlog-proof) and fork proofs: docs/specification.md, section 12.

import { type Bytes, decimal, equal, fromUtf8, require, unbase64, utf8 } from "../decoding/bytes.ts";
import { decode } from "../decoding/messagepack.ts";
import { ForkProof } from "../protocol/records.ts";
import { checkCheckpoint, checkQuorum, type SignedCheckpoint } from "./note.ts";
import { checkConsistency, checkInclusion } from "./tree.ts";

const MAX_RECEIPT = 393216;

export interface Receipt {
  index: bigint;
  path: Bytes[];
  note: Bytes;
}

export function readReceipt(data: Bytes): Receipt {
  require(data.length <= MAX_RECEIPT, "the receipt is too long");
  const all = fromUtf8(data);
  const end = all.indexOf("\n\n");
  require(end >= 0, "another format of receipt");
  const [header, ...lines] = all.slice(0, end).split("\n");
  require(header === "c2sp.org/tlog-proof@v1" && lines.length > 0, "another format of receipt");
  if (lines[0].startsWith("extra ")) {
    const extra = unbase64(lines.shift()!.slice(6));
    require(extra.length >= 1 && extra.length <= 65536, "no extra data, or too much");
  }
  const index = lines.shift();
  require(index !== undefined && index.startsWith("index "), "a receipt without an index");
  const path = lines.map(unbase64);
  require(path.length <= 63 && path.every((hash) => hash.length === 32), "the inclusion path has a wrong length");
  return { index: decimal(index.slice(6)), path, note: utf8(all.slice(end + 2)) };
}

/** That the log with this key has signed a tree that holds the encoded record. */
export async function verifyReceipt(
  data: Bytes,
  record: Bytes,
  log: Bytes,
  origin: string | null = null,
  witnesses: ReadonlyMap<string, Bytes> = new Map(),
  quorum: number | null = null,
  now: bigint = BigInt(Math.floor(Date.now() / 1000)),
): Promise<SignedCheckpoint & { index: bigint }> {
  const { index, path, note } = readReceipt(data);
  const checkpoint = await checkCheckpoint(note, log, origin, witnesses);
  checkQuorum(checkpoint, quorum, now);
  checkInclusion(record, index, checkpoint.size, path, checkpoint.root);
  return { ...checkpoint, index };
}

/** That a log has signed two histories. */
export async function verifyFork(data: Bytes, log: Bytes): Promise<{ origin: string; sizes: [bigint, bigint] }> {
  const proof = decode(ForkProof, data, 2 ** 20, "the fork proof");
  require(proof.format === "secure-agg/fork/1" && proof.proof.length <= 64, "another format of fork proof");
  const first = await checkCheckpoint(proof.first, log);
  const second = await checkCheckpoint(proof.second, log, first.origin);
  require(first.size <= second.size, "the checkpoints are out of order");
  checkConsistency(first.size, proof.root, second.size, second.root, proof.proof);
  require(!equal(proof.root, first.root), "the two checkpoints are of one history");
  return { origin: first.origin, sizes: [first.size, second.size] };
}
