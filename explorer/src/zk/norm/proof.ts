// The check of a norm proof: docs/specification.md, section 16.

import { type Bytes, concat, equal, require, utf8 } from "../../decoding/bytes.ts";
import { digest, leafHash, nodeHash } from "../../crypto/hash.ts";
import { KeyStream } from "../../crypto/keystream.ts";
import {
  add, dot, fromElements, interpolate, inverse, mul, N, power, powerSums, reduce, sub, toElements, transform, ZETA,
} from "../../crypto/ring.ts";
import { type Bound, encodeBound, sketchElements } from "./bound.ts";
import { sketchKey, sketchMatrix } from "./sketch.ts";

const QUERIES = 127;
const PARTS = 4;
const LEVELS = 12; // of the tree over 4096 columns
const ROW_DEGREE = N + QUERIES;
const SUM_DEGREE = 2 * ROW_DEGREE - 1;
const BITS_DEGREE = SUM_DEGREE - N;
const SALT = 16;

export interface NormStatement {
  context: Bytes;
  session: Bytes;
  name: string;
  commitment: Bytes;
  sketch: Bytes;
  bound: Bound;
}

function statementDigest(statement: NormStatement): Bytes {
  const fields: [string, Bytes][] = [
    ["context", statement.context],
    ["session", statement.session],
    ["name", utf8(statement.name)],
    ["commitment", statement.commitment],
    ["sketch", statement.sketch],
    ["bound", encodeBound(statement.bound)],
    ["sketch-key", sketchKey(statement.session)],
  ];
  return digest("norm-statement", ...fields.flatMap(([name, value]) => [utf8(name), value]));
}

/** Of one part of the first challenge: the weights of the first row of each number, τ, and Z. */
interface Weights {
  polynomials: Float64Array[];
  tau: number;
  z: number;
}

/** γ or δ or the equations' challenges: four parts of `count`. */
async function parts(stream: KeyStream, number: number, count: number): Promise<Float64Array[]> {
  const flat = await stream.residues(number, PARTS * count);
  return Array.from({ length: PARTS }, (_, a) => flat.slice(a * count, (a + 1) * count));
}

async function weigh(bound: Bound, target: Float64Array, challenges: Float64Array): Promise<Weights> {
  const { ring, plain } = await sketchMatrix(bound.rho, bound.J);
  const noise = Array.from({ length: bound.J }, () => new Float64Array(N));
  const [entries, misc, last] = [new Float64Array(N), new Float64Array(N), new Float64Array(N)];
  let z = 0;
  let next = 0;
  const take = (): number => challenges[next++];
  const number = (place: number, count: number, factor: number): void => {
    let weight = reduce(factor);
    for (let k = 0; k < count; k++) {
      misc[place + k] = add(misc[place + k], weight);
      weight = add(weight, weight);
    }
  };
  for (let i = 0; i <= bound.rho; i++) {
    const chi = challenges.slice(next, next + N);
    next += N;
    z = add(z, dot(chi, target.subarray(i * N, (i + 1) * N)));
    const products = new Float64Array(N);
    for (let j = 0; j < bound.J; j++) {
      for (let t = 0; t < N; t++) products[t] = mul(chi[t], ring[(i * bound.J + j) * N + t]);
      const sums = powerSums(products);
      for (let c = 0; c < N; c++) noise[j][c] = add(noise[j][c], sums[c]);
    }
    if (i === bound.rho) {
      const sums = powerSums(chi);
      for (let c = 0; c < N; c++) {
        z = add(z, mul(reduce(bound.offset), sums[c]));
        entries[c] = sums[c];
      }
    }
  }
  for (let index = 0; index < bound.L + bound.e; index++) {
    const chi = take();
    z = add(z, mul(chi, target[(bound.rho + 1) * N + index]));
    for (let c = 0; c < bound.J * N; c++) {
      const row = noise[Math.floor(c / N)];
      row[c % N] = add(row[c % N], mul(chi, plain[index * bound.J * N + c]));
    }
    if (index >= bound.L) number(192 + index - bound.L, 1, chi);
    else number(bound.limb * index, Math.max(0, Math.min(bound.limb, bound.omega - bound.limb * index)), chi);
  }
  const [most, least, share, tau] = [take(), take(), take(), take()];
  number(0, bound.omega, most);
  number(32, bound.omega, most);
  z = add(z, mul(most, bound.M));
  number(0, bound.omega, least);
  number(64, bound.omega, -least);
  z = add(z, mul(least, bound.m));
  number(bound.g, bound.omega - bound.g, mul(share, bound.alpha));
  number(96, 12, -mul(share, bound.M1));
  number(128, 28, -share);
  number(160, 24, tau);
  for (let i = 0; i < N; i++) last[i] = take();
  number(96, 12, -last[0]);
  z = add(z, mul(13, last[0]));
  const polynomials = [...noise, entries, misc, last];
  for (const polynomial of polynomials) interpolate(polynomial);
  return { polynomials, tau, z };
}

async function openedColumns(key: Bytes, coefficients: Bytes): Promise<number[]> {
  const stream = new KeyStream(digest("norm-queries", key, coefficients));
  for (let count = 512; ; count *= 2) {
    const found = new Set<number>();
    for (const word of await stream.words(0, count)) {
      if (found.size < QUERIES) found.add(word & 0xfff);
    }
    if (found.size === QUERIES) return [...found].sort((a, b) => a - b);
  }
}

function polynomialsOf(data: Bytes, length: number): Float64Array[] {
  const flat = toElements(data, PARTS * length, "a polynomial");
  return Array.from({ length: PARTS }, (_, a) => flat.slice(a * length, (a + 1) * length));
}

/** Values of polynomials at columns: of the 512 that are 2^k·ζ_t for one k by one transform, when one is asked for. */
class Columns {
  #found = new Map<Float64Array, Float64Array[]>();

  value(polynomial: Float64Array, column: number): number {
    const [k, t] = [Math.floor(column / N), column % N];
    const found = this.#found.get(polynomial) ?? [];
    this.#found.set(polynomial, found);
    return (found[k] ??= valuesOn(polynomial, power(2, k + 1)))[t];
  }
}

/** At all shift·ζ_t. Since ζ_t^512 = −1 coefficients 512 apart are of one power, with the other sign. */
function valuesOn(coefficients: Float64Array, shift: number): Float64Array {
  const out = new Float64Array(N);
  let scale = 1;
  for (let i = 0; i < coefficients.length; i++) {
    const term = mul(coefficients[i], scale);
    out[i % N] = Math.floor(i / N) % 2 === 0 ? add(out[i % N], term) : sub(out[i % N], term);
    scale = mul(scale, shift);
  }
  transform(out);
  return out;
}

/** Refused unless the proof is one of the statement. */
export async function checkNormProof(statement: NormStatement, proof: Bytes): Promise<void> {
  const { bound } = statement;
  const target = toElements(statement.sketch, sketchElements(bound), "a sketch");
  const lengths = [ROW_DEGREE, SUM_DEGREE - 1, BITS_DEGREE];
  const sizes = [32, ...lengths.map((l) => 4 * PARTS * l), 4 * QUERIES * bound.rows, SALT * QUERIES];
  require(proof.length >= sizes.reduce((a, b) => a + b), "the norm proof is too short");
  const pieces: Bytes[] = [];
  let place = 0;
  for (const size of sizes) {
    pieces.push(proof.slice(place, place + size));
    place += size;
  }
  const [rootGiven, , , , entries, salts] = pieces;
  const [combination, sum, bits] = lengths.map((length, i) => polynomialsOf(pieces[i + 1], length));
  const columns = toElements(entries, QUERIES * bound.rows, "an opened column");

  const key = digest("norm-challenge", statementDigest(statement), rootGiven);
  const stream = new KeyStream(key);
  const equations = (bound.rho + 2) * N + bound.L + bound.e + 4;
  const [gamma, chi, delta] = await Promise.all([
    parts(stream, 0, bound.rows), parts(stream, 1, equations), parts(stream, 2, bound.rows - 1),
  ]);
  const opened = await openedColumns(key, concat(pieces[1], pieces[2], pieces[3]));
  const weights: Weights[] = [];
  for (let a = 0; a < PARTS; a++) weights.push(await weigh(bound, target, chi[a]));
  const inverseOfN = inverse(N);
  const onColumns = new Columns();

  const known = new Map<number, Bytes>();
  opened.forEach((column, q) => {
    const x = mul(power(2, Math.floor(column / N) + 1), ZETA[column % N]);
    const at = (polynomial: Float64Array): number => onColumns.value(polynomial, column);
    const f = columns.subarray(q * bound.rows, (q + 1) * bound.rows);
    const grouped = groups(bound, f);
    const high = sub(bitsOf(f, 2 * bound.J + bound.kappa, 11), 1024);
    const square = sub(mul(high, high), mul(f[bound.rows - 1], f[bound.rows - 1]));
    const vanishing = add(power(x, N), 1);
    const leaf = [...f];
    for (let a = 0; a < PARTS; a++) leaf.push(sub(at(combination[a]), dot(gamma[a], f)));
    for (let a = 0; a < PARTS; a++) {
      const { polynomials, tau, z } = weights[a];
      const constant = add(mul(z, inverseOfN), sub(sum[a][N - 1], sum[a][2 * N - 1]));
      const value = add(mul(at(sum[a]), x), constant);
      const linear = dot(polynomials.map(at), grouped);
      leaf.push(sub(sub(value, linear), mul(tau, square)));
    }
    for (let a = 0; a < PARTS; a++) {
      let squares = 0;
      for (let r = 0; r < bound.rows - 1; r++) squares = add(squares, mul(delta[a][r], sub(mul(f[r], f[r]), f[r])));
      leaf.push(sub(mul(at(bits[a]), vanishing), squares));
    }
    known.set(column, leafHash(concat(fromElements(leaf), salts.subarray(SALT * q, SALT * (q + 1)))));
  });
  require(equal(climb(known, proof.slice(place)), rootGiven), "the norm proof's opened columns are not in its tree");
}

/** Of the rows of bits of one number the weights are multiples of the first one's: their entries are put together. */
function groups(bound: Bound, f: ArrayLike<number>): number[] {
  const out: number[] = [];
  for (let j = 0; j < bound.J; j++) out.push(bitsOf(f, 2 * j, 2));
  out.push(bitsOf(f, 2 * bound.J, bound.beta), f[bound.rows - 2], f[bound.rows - 1]);
  return out;
}

function bitsOf(f: ArrayLike<number>, first: number, count: number): number {
  let total = 0;
  for (let k = count - 1; k >= 0; k--) total = add(add(total, total), f[first + k]);
  return total;
}

/** The root that leaves lead to with the hashes that are missing, level by level and from left to right. */
function climb(leaves: Map<number, Bytes>, hashes: Bytes): Bytes {
  let known = leaves;
  let used = 0;
  for (let level = 0; level < LEVELS; level++) {
    const above = new Map<number, Bytes>();
    for (const place of [...known.keys()].sort((a, b) => a - b)) {
      const parent = place >> 1;
      if (above.has(parent)) continue;
      let other = known.get(place ^ 1);
      if (other === undefined) {
        require(used + 32 <= hashes.length, "the norm proof is too short");
        other = hashes.slice(used, used + 32);
        used += 32;
      }
      const own = known.get(place)!;
      above.set(parent, place % 2 === 0 ? nodeHash(own, other) : nodeHash(other, own));
    }
    known = above;
  }
  require(used === hashes.length, "the norm proof is too long");
  return known.get(0)!;
}
