// What was proved to be short is what was summed: docs/specification.md, section 16, *Check on the sum*.

import { type Bytes, require } from "../../decoding/bytes.ts";
import { addTo, toElements } from "../../crypto/ring.ts";
import { type Bound, BLOCK, sketchElements } from "./bound.ts";
import { commitSketch, sketch, sketchKey } from "./sketch.ts";

export async function checkSketchedSum(
  bound: Bound,
  sid: Bytes,
  sketches: readonly Bytes[],
  x: ArrayLike<number>,
  covered: number,
  half: number,
  side: ArrayLike<number>,
  noise: ArrayLike<number>,
): Promise<void> {
  const n = sketches.length;
  require(n >= 1 && n <= bound.n, "the number of participants is out of range");
  require(noise.length === bound.J * BLOCK, "T' has a wrong length");
  for (let i = 0; i < noise.length; i++) require(noise[i] <= 3 * n, "an entry of T' is too large");
  require(side.length === bound.L + bound.e, "the number of sums beside the values");
  for (let l = 0; l < side.length; l++) {
    const bits = l < bound.L ? Math.max(0, Math.min(bound.limb, bound.omega - bound.limb * l)) : 1;
    require(side[l] <= n * (2 ** bits - 1), "a limb or count is too large");
  }
  const centred = new Float64Array(covered);
  for (let i = 0; i < covered; i++) {
    require(x[i] < 2 ** 27, "an entry of X is too large");
    centred[i] = x[i] - n * half;
  }
  const v = await sketch(sketchKey(sid), centred);
  require(v.every((value) => Math.abs(value) <= n * bound.offset), "an entry of the sum's sketch is too large");
  const total = new Float64Array(sketchElements(bound));
  for (const item of sketches) addTo(total, toElements(item, total.length, "a sketch"));
  const made = await commitSketch(bound, v, side, noise);
  require(made.every((value, i) => value === total[i]), "the sketch commitments are of something else than the sum");
}
