// From sums to means, group by group: docs/specification.md, section 22.

import { type Bytes, require, utf8 } from "../../decoding/bytes.ts";
import { digest } from "../../crypto/hash.ts";
import { KeyStream } from "../../crypto/keystream.ts";
import { blocksOf } from "../config/blocks.ts";
import { adaptiveClips, groupsOf, halfOf, nextStep, type Part, parts } from "../config/groups.ts";
import { counts, limbs, modelSize, values } from "../config/layout.ts";
import type { GroupRecord, RoundConfig } from "../records.ts";
import { type Decoded, weightsOf } from "./fixed_point.ts";
import { turnBack } from "./rotation.ts";

const DRAWN = 1 << 15; // values whose numbers are in one stream

/** Which values of a group are sent, in order; all where that is null. */
async function supportOf(part: Part, context: Bytes): Promise<Uint32Array | null> {
  const all = part.sizes.reduce((sum, size) => sum + size, 0);
  if (part.sent === all) return null;
  const [high, low] = [new Uint32Array(all), new Uint32Array(all)];
  const key = new KeyStream(digest("support", context, utf8(part.group.name)));
  for (let first = 0; first < all; first += DRAWN) {
    const count = Math.min(DRAWN, all - first);
    const words = await key.words(first / DRAWN, 2 * count);
    for (let i = 0; i < count; i++) [low[first + i], high[first + i]] = [words[2 * i], words[2 * i + 1]];
  }
  // Whatever is below the upper half of the last number is in; of those with the very same the lower half decides.
  const last = Uint32Array.from(high).sort()[part.sent - 1];
  const equals: number[] = [];
  const chosen = new Uint8Array(all);
  let left = part.sent;
  for (let i = 0; i < all; i++) {
    if (high[i] < last) left -= chosen[i] = 1;
    else if (high[i] === last) equals.push(i);
  }
  equals.sort((a, b) => low[a] - low[b] || a - b);
  for (const i of equals.slice(0, left)) chosen[i] = 1;
  const out = new Uint32Array(part.sent);
  let at = 0;
  for (let i = 0; i < all; i++) if (chosen[i]) out[at++] = i;
  return out;
}

/** The means of what is sent of a group, and what the record says of it. */
async function decodePart(
  part: Part,
  sums: ArrayLike<number>,
  n: number,
  limit: bigint,
  weight: bigint,
  support: Uint32Array | null,
  context: Bytes,
): Promise<{ means: Float64Array; said: Omit<GroupRecord, "next_clips"> }> {
  const { group, start, sent, length } = part;
  const { name } = group;
  if (group.kind === "count") {
    const means = Float64Array.from({ length: sent }, (_, i) => sums[start + i]);
    return { means, said: { name, error_bound: 0, error_rms: 0 } };
  }
  const h = halfOf(group);
  const centred = (at: number): number => sums[start + at] - n * h;
  const scaled = BigInt(h) * weight;
  let most = 0;
  for (let i = 0; i < length; i++) most = Math.max(most, Math.abs(centred(i)));
  require(limit * (BigInt(most) - BigInt(n)) <= scaled, `a mean of group ${name} is out of range`);
  const bound = (Math.max(...part.clips) * Number(BigInt(n) * limit)) / Number(scaled);
  const said = { name, error_bound: bound, error_rms: bound / (2 * Math.sqrt(n)) };
  const unit = (clip: number): number => (clip * Number(limit)) / Number(scaled);
  if (group.rotated) {
    const blocks = blocksOf(sent);
    const means = await turnBack(centred, blocks, sent, unit(part.clips[0]), context, name);
    return { means, said: { ...said, error_bound: bound * Math.sqrt(blocks[0]) } };
  }
  const means = new Float64Array(sent);
  let [array, end] = [0, part.sizes[0]];
  for (let i = 0; i < sent; i++) {
    const place = support === null ? i : support[i];
    while (place >= end) end += part.sizes[++array];
    means[i] = centred(i) * unit(part.clips[array]);
  }
  return { means, said };
}

/** Of n clients' sums. */
export async function decodeGroups(
  sums: ArrayLike<number>,
  n: number,
  config: RoundConfig,
  context: Bytes,
): Promise<Decoded & { groups: GroupRecord[] }> {
  const { policy, clips = [] } = config;
  const first = values(config);
  const weights = weightsOf(sums, first, n, config);
  const within = first + limbs(policy) + counts(policy);
  const of = adaptiveClips(config);
  const means = new Float64Array(modelSize(config));
  const starts: number[] = [];
  config.shapes.reduce((at, shape) => {
    starts.push(at);
    return at + shape.reduce((product, side) => product * side, 1);
  }, 0);
  const said = new Map<number, GroupRecord>();
  for (const part of parts(config)) {
    const [limit, weight] = part.group.weighted ? [BigInt(config.weight_limit), weights.weight] : [1n, BigInt(n)];
    const support = await supportOf(part, context);
    const found = await decodePart(part, sums, n, limit, weight, support, context);
    let [array, begin] = [0, 0]; // of the array that a value is in, among the group's
    for (let i = 0; i < part.sent; i++) {
      const place = support === null ? i : support[i];
      while (place >= begin + part.sizes[array]) begin += part.sizes[array++];
      means[starts[part.arrays[array]] + place - begin] = found.means[i];
    }
    const own = clips.map((_, i) => i).filter((i) => of[i] === part.index);
    const next_clips = own.map((i) => nextStep(clips[i], n, sums[within + i]));
    said.set(part.index, { ...found.said, next_clips });
  }
  const groups = groupsOf(policy).flatMap((_, index) => said.get(index) ?? []);
  return { ...weights, means, error: Math.max(...groups.map((group) => group.error_bound)), groups };
}
