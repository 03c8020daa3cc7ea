// Arithmetic modulo p, and the transform at ζ_0 … ζ_511: docs/specification.md, sections 1 and 5.

import { type Bytes, require } from "../decoding/bytes.ts";

export const P = 2147473409; // 2^31 - 10239
export const N = 512;
const INVERSE_OF_P = 1 / P;

/**
 * a·b mod p for 0 <= a, b < p. The quotient is off by one at most, and then the remainder is outside [0, p) by less
 * than 2^11: p is 10239 below 2^31, so that it still fits 32 bits with its sign.
 */
export function mul(a: number, b: number): number {
  const q = Math.floor(a * b * INVERSE_OF_P);
  const r = (Math.imul(a, b) - Math.imul(q, P)) | 0;
  return r < 0 ? r + P : r >= P ? r - P : r;
}

export function add(a: number, b: number): number {
  const sum = a + b - P;
  return sum < 0 ? sum + P : sum;
}

export function sub(a: number, b: number): number {
  const difference = a - b;
  return difference < 0 ? difference + P : difference;
}

/** Any safe integer modulo p. */
export function reduce(value: number): number {
  const rest = value % P;
  return rest < 0 ? rest + P : rest === 0 ? 0 : rest;
}

export function power(base: number, exponent: number): number {
  let result = 1;
  let square = reduce(base);
  for (let left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result = mul(result, square);
    square = mul(square, square);
  }
  return result;
}

export function inverse(value: number): number {
  return power(value, P - 2);
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>, from = 0, length = b.length): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum = add(sum, mul(a[from + i], b[i]));
  return sum;
}

function findPsi(): number {
  for (let g = 2; ; g++) {
    const found = power(g, (P - 1) / 1024);
    if (power(found, N) === P - 1) return found;
  }
}

export const PSI = findPsi();

export function reversed(t: number): number {
  let out = 0;
  for (let bit = 0; bit < 9; bit++) out |= ((t >> bit) & 1) << (8 - bit);
  return out;
}

const ROOTS = Float64Array.from({ length: N }, (_, k) => power(PSI, reversed(k)));
/** ζ_t. */
export const ZETA = Float64Array.from({ length: N }, (_, t) => power(PSI, 2 * reversed(t) + 1));
const INVERSE_OF_N = inverse(N);

/** In place: 512 coefficients become the polynomial's values at ζ_0 … ζ_511. */
export function transform(a: Float64Array): void {
  let k = 1;
  for (let length = N / 2; length >= 1; length >>= 1) {
    for (let start = 0; start < N; start += 2 * length) {
      const zeta = ROOTS[k++];
      for (let j = start; j < start + length; j++) {
        const t = mul(zeta, a[j + length]);
        a[j + length] = sub(a[j], t);
        a[j] = add(a[j], t);
      }
    }
  }
}

/** In place, the other way. */
export function interpolate(a: Float64Array): void {
  let k = N;
  for (let length = 1; length < N; length <<= 1) {
    for (let start = 0; start < N; start += 2 * length) {
      const zeta = P - ROOTS[--k];
      for (let j = start; j < start + length; j++) {
        const t = a[j];
        a[j] = add(t, a[j + length]);
        a[j + length] = mul(zeta, sub(t, a[j + length]));
      }
    }
  }
  for (let i = 0; i < N; i++) a[i] = mul(a[i], INVERSE_OF_N);
}

/** Σ_t y_t · ζ_t^i for i = 0 … 511; since ζ_t^512 = -1 they are those of the interpolation, turned around. */
export function powerSums(y: Float64Array): Float64Array {
  const inner = Float64Array.from(y);
  interpolate(inner);
  const out = new Float64Array(N);
  out[0] = mul(inner[0], N);
  for (let i = 1; i < N; i++) out[i] = mul(sub(0, inner[N - i]), N);
  return out;
}

/** 32-bit words, little endian, whatever the machine's order. */
export function words(data: Bytes): Uint32Array<ArrayBuffer> {
  require(data.length % 4 === 0, "no whole number of words");
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const out = new Uint32Array(data.length / 4);
  for (let i = 0; i < out.length; i++) out[i] = view.getUint32(4 * i, true);
  return out;
}

export function fromElements(values: ArrayLike<number>): Bytes {
  const out = new Uint8Array(4 * values.length);
  const view = new DataView(out.buffer);
  for (let i = 0; i < values.length; i++) view.setUint32(4 * i, values[i], true);
  return out;
}

/** Elements, each below p. */
export function toElements(data: Bytes, count: number, what: string): Float64Array {
  require(data.length === 4 * count, `${what} has a wrong length`);
  const out = Float64Array.from(words(data));
  for (let i = 0; i < out.length; i++) require(out[i] < P, `${what} is not canonical`);
  return out;
}

export function addTo(total: Float64Array, more: ArrayLike<number>): void {
  for (let i = 0; i < total.length; i++) total[i] = add(total[i], more[i]);
}
