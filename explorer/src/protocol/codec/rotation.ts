// Values that are sent rotated, turned back: docs/specification.md, sections 22 and 23.

import { type Bytes, utf8 } from "../../decoding/bytes.ts";
import { digest } from "../../crypto/hash.ts";
import { KeyStream } from "../../crypto/keystream.ts";

const STREAM = 1 << 16; // words of the rotation's key in one stream

/** The Walsh-Hadamard transform in natural order, in place; integers, exact below 2^53. */
function hadamard(data: Float64Array): void {
  for (let step = 1; step < data.length; step *= 2) {
    for (let first = 0; first < data.length; first += 2 * step) {
      for (let i = first; i < first + step; i++) {
        const [a, b] = [data[i], data[i + step]];
        data[i] = a + b;
        data[i + step] = a - b;
      }
    }
  }
}

/** Whether a coordinate changes its sign, as one bit each. */
async function signsOf(context: Bytes, name: string, count: number): Promise<Uint32Array> {
  const key = new KeyStream(digest("rotation", context, utf8(name)));
  const out = new Uint32Array(Math.ceil(count / 32));
  for (let s = 0; STREAM * s < out.length; s++) {
    out.set(await key.words(s, Math.min(STREAM, out.length - STREAM * s)), STREAM * s);
  }
  return out;
}

/**
 * The means behind sums S of rotated values, each of which is `unit` times the root of its block. `centred` says S of a
 * coordinate, padding counted; of what comes back `size` values are no padding.
 */
export async function turnBack(
  centred: (at: number) => number,
  blocks: readonly number[],
  size: number,
  unit: number,
  context: Bytes,
  name: string,
): Promise<Float64Array<ArrayBuffer>> {
  const signs = await signsOf(context, name, blocks.reduce((sum, block) => sum + block, 0));
  const means = new Float64Array(size);
  let start = 0;
  for (const block of blocks) {
    const part = new Float64Array(block);
    for (let i = 0; i < block; i++) part[i] = centred(start + i);
    hadamard(part);
    const factor = unit / Math.sqrt(block);
    for (let i = 0, at = start; i < block && at < size; i++, at++) {
      const changed = ((signs[at >>> 5] >>> (at & 31)) & 1) === 1;
      means[at] = (changed ? 0 - part[i] : part[i]) * factor; // 0 − 0 is 0, and −0 is another double
    }
    start += block;
  }
  return means;
}
