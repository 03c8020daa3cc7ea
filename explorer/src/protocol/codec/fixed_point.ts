// From sums to means: docs/specification.md, section 4. Bit for bit: operations are in the order in which they stand.

import { type Bytes, concat, require, u64 } from "../../decoding/bytes.ts";
import { digest, sha256Bulk } from "../../crypto/hash.ts";
import {
  coordinateBits, counts, digits, half, hashedElements, isHalved, leastWeight, limbs, ranges, values,
} from "../config/layout.ts";
import type { RoundConfig } from "../records.ts";

export interface Decoded {
  means: Float64Array<ArrayBuffer>;
  weight: bigint;
  lowered: number;
  raised: number;
  error: number;
}

/** The summed weights and counts, which begin at `first` in the sums. */
export function weightsOf(
  sums: ArrayLike<number>,
  first: number,
  n: number,
  config: RoundConfig,
): Pick<Decoded, "weight" | "lowered" | "raised"> {
  const { policy, weight_limit: limit } = config;
  const bits = coordinateBits(policy);
  let weight = 0n;
  for (let i = 0; i < limbs(policy); i++) weight += BigInt(sums[first + i]) << BigInt((bits - 1) * i);
  const bounds = [BigInt(n) * BigInt(leastWeight(policy, limit)), BigInt(n) * BigInt(limit)];
  require(weight >= bounds[0] && weight <= bounds[1], "the sum of the weights is out of range");
  const counted: number[] = [0, 0];
  for (let i = 0; i < counts(policy); i++) {
    counted[i] = sums[first + limbs(policy) + i];
    require(counted[i] <= n, "more weights were limited than there are");
  }
  return { weight, lowered: counted[0], raised: counted[1] };
}

/** The means of n clients' summed values, their weights, and the error bound. `sums` are X. */
export function decodeSum(sums: ArrayLike<number>, n: number, config: RoundConfig): Decoded {
  const { policy, weight_limit: limit } = config;
  const [h, size] = [half(policy), values(config)];
  const bits = coordinateBits(policy);
  const weights = weightsOf(sums, size * (isHalved(policy) ? 2 : 1), n, config);
  const scaled = BigInt(h) * weights.weight;
  const factor = (policy.clip * limit) / Number(scaled);
  const means = new Float64Array(size);
  let most = 0;
  for (let j = 0; j < size; j++) {
    const whole = isHalved(policy) ? sums[j] + sums[size + j] * 2 ** bits : sums[j];
    const centred = whole - n * h;
    most = Math.max(most, Math.abs(centred));
    means[j] = centred * factor;
  }
  require(BigInt(limit) * (BigInt(most) - BigInt(n)) <= scaled, "a mean is out of range");
  const error = (policy.clip * Number(BigInt(n) * BigInt(limit))) / Number(scaled);
  return { ...weights, means, error };
}

function littleEndianFloats(data: Float64Array<ArrayBuffer>): Bytes {
  const out = new Uint8Array(8 * data.length);
  const view = new DataView(out.buffer);
  for (let i = 0; i < data.length; i++) view.setFloat64(8 * i, data[i], true);
  return out;
}

/** Of arrays of these shapes, whose elements stand in a row. */
export async function modelDigest(
  shapes: readonly (readonly number[])[],
  data: Float64Array<ArrayBuffer>,
): Promise<Bytes> {
  const sides = shapes.flatMap((shape) => [u64(shape.length), ...shape.map(u64)]);
  const hashed = await sha256Bulk(littleEndianFloats(data));
  return digest("model", u64(shapes.length), concat(...sides), hashed);
}

/** The elements that x is committed to as, one range after the other. */
export function packDigits(x: ArrayLike<number>, config: RoundConfig): Float64Array {
  const out = new Float64Array(hashedElements(config));
  let [from, to] = [0, 0];
  for (const { length, top } of ranges(config)) {
    const { base, count } = digits(config.policy, top);
    for (const end = from + length; from < end; to++) {
      const next = Math.min(from + count, end);
      for (let i = next - 1; i >= from; i--) out[to] = out[to] * base + x[i];
      from = next;
    }
  }
  return out;
}
