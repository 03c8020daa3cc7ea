// The sketch R e, and the commitment to it: docs/specification.md, section 16.

import { type Bytes, Unknown } from "../../decoding/bytes.ts";
import { digest } from "../../crypto/hash.ts";
import { KeyStream } from "../../crypto/keystream.ts";
import { add, dot, mul, N, reduce, transform } from "../../crypto/ring.ts";
import { BLOCK, type Bound, SKETCHED } from "./bound.ts";

const GROUPS = 4;
const ROWS = 16; // of y in a group
const BETAS = 131072; // words of a group's stream
const SIGNS = 32768;

export function sketchKey(sid: Bytes): Bytes {
  return digest("norm-sketch", sid);
}

/**
 * R e, 512 integers. `modular` takes residues and gives them; otherwise all sums are exact.
 *
 * Each word that random bits are read from serves 32 rows or values.
 */
export async function sketch(key: Bytes, e: ArrayLike<number>, modular = false): Promise<Float64Array> {
  const stream = new KeyStream(key);
  const blocks = Math.ceil(e.length / SKETCHED);
  if (!modular && blocks > 4096) throw new Unknown("more values than this page can sketch exactly");
  const v = new Float64Array(N);
  for (let g = 0; g < GROUPS; g++) {
    const y = Array.from({ length: ROWS }, () => new Float64Array(SKETCHED));
    for (let m = 0; 4 * m < blocks; m++) {
      const random = await stream.words(4 * (m + 1) + g, SIGNS + 64);
      for (let q = 0; q < 4 && 4 * m + q < blocks; q++) addBlock(y, e, 4 * m + q, q, random);
    }
    if (modular) for (const row of y) for (let k = 0; k < SKETCHED; k++) row[k] = reduce(row[k]);
    const betas = await stream.words(g, BETAS);
    for (let c = 0; c < ROWS; c++) {
      for (let i = 0; i < 8; i++) {
        const total = ofRow(y[c], betas, 8 * c + i);
        v[8 * (ROWS * g + c) + i] = modular ? reduce(total) : total;
      }
    }
  }
  return v;
}

function addBlock(y: Float64Array[], e: ArrayLike<number>, b: number, q: number, random: Uint32Array): void {
  for (let c = 0; c < ROWS; c++) {
    const [row, turn] = [y[c], random[SIGNS + 4 * c + q] % SKETCHED];
    for (let u = 0; u < 4; u++) {
      for (let j = 0; j < 8; j++) {
        const [shift, signs] = [4 * j + q, (4 * c + u) * BLOCK];
        const first = BLOCK * (8 * u + j);
        for (let l = 0; l < BLOCK; l++) {
          const value = e[SKETCHED * b + ((first + l + turn) % SKETCHED)] ?? 0;
          row[first + l] += (random[signs + l] >>> shift) & 1 ? -value : value;
        }
      }
    }
  }
}

function ofRow(y: Float64Array, betas: Uint32Array, row: number): number {
  let total = 0;
  for (let l = 0; l < BLOCK; l++) {
    const [plus, minus] = [betas[row * 2 * BLOCK + l], betas[(row * 2 + 1) * BLOCK + l]];
    for (let t = 0; t < 32; t++) total += (((plus >>> t) & 1) - ((minus >>> t) & 1)) * y[BLOCK * t + l];
  }
  return total;
}

export interface SketchMatrix {
  ring: Float64Array;
  plain: Float64Array;
}

const matrices = new Map<number, Promise<SketchMatrix>>();

/** a_ij[t], and b_l[c]. */
export function sketchMatrix(rho: number, blocks: number): Promise<SketchMatrix> {
  let found = matrices.get(rho);
  if (found === undefined) {
    const stream = new KeyStream(digest("sketch-matrix", new Uint8Array([rho])));
    found = Promise.all([
      stream.residues(0, (rho + 1) * blocks * N),
      stream.residues(1, 34 * blocks * N),
    ]).then(([ring, plain]) => ({ ring, plain }));
    matrices.set(rho, found);
  }
  return found;
}

/** The elements of C' for a sketch of residues, with limbs and counts and s'. */
export async function commitSketch(
  bound: Bound,
  v: ArrayLike<number>,
  side: ArrayLike<number>,
  s: ArrayLike<number>,
): Promise<Float64Array> {
  const { ring, plain } = await sketchMatrix(bound.rho, bound.J);
  const out = new Float64Array((bound.rho + 1) * N + side.length);
  const block = new Float64Array(N);
  for (let j = 0; j < bound.J; j++) {
    for (let i = 0; i < N; i++) block[i] = s[j * N + i];
    transform(block);
    for (let i = 0; i <= bound.rho; i++) {
      for (let t = 0; t < N; t++) {
        out[i * N + t] = add(out[i * N + t], mul(ring[(i * bound.J + j) * N + t], block[t]));
      }
    }
  }
  for (let i = 0; i < N; i++) block[i] = reduce(v[i]);
  transform(block);
  for (let t = 0; t < N; t++) out[bound.rho * N + t] = add(out[bound.rho * N + t], block[t]);
  const size = bound.J * N;
  for (let l = 0; l < side.length; l++) {
    out[(bound.rho + 1) * N + l] = add(dot(plain, s, l * size, size), reduce(side[l]));
  }
  return out;
}
