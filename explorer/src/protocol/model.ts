// Which model of a round somebody holds: the mean, what updates are relative to, or what follows from both.

import { type Bytes, equal, hex, require } from "../decoding/bytes.ts";
import type { NpyArray } from "../decoding/npy.ts";
import { modelDigest } from "./codec/fixed_point.ts";
import { isZeros } from "./participants.ts";

export interface OfRound {
  /** The model in question, and what it was moved from where that is at hand. */
  file: Bytes;
  base?: Bytes | null;
  result_model: Bytes;
  base_model: Bytes;
  start_model: Bytes;
  shapes: number[][];
  means: Float64Array<ArrayBuffer>;
  /** Of the record; a buffered round's mean is moved by with its share of the weights. */
  weight_sum: bigint;
  participants: number;
  weight_limit: number;
  buffered: boolean;
}

const FLOATS = ["f2", "f4", "f8"];

/** What the model is of the round, in words; none where it is nothing of it. */
export async function compareModel(
  round: OfRound,
  read: (data: Bytes) => Promise<NpyArray[]>,
): Promise<{ digest: string; found: string[] }> {
  const arrays = (await read(round.file)).filter((array) => FLOATS.includes(array.type));
  require(arrays.length > 0, "the file has no arrays of floating-point numbers");
  const digest = await modelDigest(arrays.map((array) => array.shape), joined(arrays));
  const found: string[] = [];
  const named: [Bytes, string][] = [
    [round.result_model, "the round's mean, bit for bit"],
    [round.base_model, "the model that the round's updates are relative to"],
    [round.start_model, "the result that the round started from"],
  ];
  for (const [known, words] of named) if (!isZeros(known) && equal(known, digest)) found.push(words);
  const sameShapes = JSON.stringify(arrays.map((array) => array.shape)) === JSON.stringify(round.shapes);
  if (sameShapes && !equal(round.result_model, digest) && isRounded(arrays, round.means)) {
    found.push("the round's mean, rounded to the file's types");
  }
  if (round.base) {
    const base = (await read(round.base)).filter((array) => FLOATS.includes(array.type));
    const bound = await modelDigest(base.map((array) => array.shape), joined(base));
    require(isZeros(round.base_model) || equal(bound, round.base_model), "the base model is another than the round's");
    const share = shareOf(round);
    const steps = share === 1 ? round.means : round.means.map((mean) => mean * share);
    const moved = `the base model moved by the round's mean${share === 1 ? "" : `, times ${share}`}, in its own types`;
    if (follows(arrays, base, steps)) found.push(moved);
  }
  return { digest: hex(digest), found };
}

/** W / (K·M) of a buffered round, docs/specification.md, section 20, *Step*. */
function shareOf({ buffered, weight_sum, participants, weight_limit }: OfRound): number {
  return buffered ? Number(weight_sum) / Number(BigInt(participants) * BigInt(weight_limit)) : 1;
}

function joined(arrays: readonly NpyArray[]): Float64Array<ArrayBuffer> {
  const out = new Float64Array(arrays.reduce((sum, array) => sum + array.values.length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array.values, at);
    at += array.values.length;
  }
  return out;
}

/** Float16 is compared by digests only: nothing here rounds to it. */
function rounded(type: string, value: number): number {
  return type === "f4" ? Math.fround(value) : type === "f8" ? value : NaN;
}

function isRounded(arrays: readonly NpyArray[], means: Float64Array): boolean {
  let at = 0;
  return arrays.every((array) => array.values.every((value) => value === rounded(array.type, means[at++])));
}

function follows(arrays: readonly NpyArray[], base: readonly NpyArray[], means: Float64Array): boolean {
  let at = 0;
  return arrays.length === base.length && arrays.every((array, i) => {
    const before = base[i];
    const same = array.type === before.type && JSON.stringify(array.shape) === JSON.stringify(before.shape);
    return same && array.values.every((value, k) => value === rounded(array.type, before.values[k] + means[at++]));
  });
}
