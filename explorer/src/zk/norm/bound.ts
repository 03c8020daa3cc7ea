// What a norm is held to, and what follows from it: docs/specification.md, section 16.

import { type Bytes, bitLength, concat, require, u64 } from "../../decoding/bytes.ts";
import { P } from "../../crypto/ring.ts";
import { counts, leastWeight, limbs, option } from "../../protocol/config/layout.ts";
import type { Policy, RoundConfig } from "../../protocol/records.ts";

export const SKETCHED = 16384; // values in a block of the sketch
export const BLOCK = 512;

export interface Bound {
  n: number;
  B: number;
  M: number;
  m: number;
  limb: number;
  L: number;
  e: number;
  kappa: number;
  beta: number;
  offset: number;
  alpha: number;
  omega: number;
  g: number;
  M1: number;
  rho: number;
  J: number;
  /** ℓ. */
  rows: number;
}

export function makeBound(n: number, B: number, M: number, m: number, limb: number, L: number, e: number): Bound {
  require(m >= 1 && m <= M && M < 2 ** 28 && B >= 1 && limb >= 1 && limb <= 28, "weights, norm or limb out of range");
  const omega = bitLength(M);
  require(L * limb >= omega && e >= 0 && L + e <= 34, "limbs out of range");
  require(n >= 1 && n <= 2 ** 18, "too many clients for a norm bound");
  const kappa = Math.max(0, bitLength(6 * B - 1) - 10);
  const beta = kappa + 11;
  const offset = 2 ** (beta - 1) + Math.floor(2 ** kappa / 2);
  const alpha = Math.ceil((20 * B) / 2 ** kappa);
  const g = Math.max(0, omega - 16);
  const rho = n <= 2 ** 10 ? 1 : 2;
  const J = rho === 1 ? 6 : 8;
  require(2 * n * offset < P, "too many clients for this norm");
  require(n * (2 ** Math.min(limb, omega) - 1) < P, "too many clients for this limb");
  const M1 = Math.floor(M / 2 ** g);
  return { n, B, M, m, limb, L, e, kappa, beta, offset, alpha, omega, g, M1, rho, J, rows: 2 * J + beta + 2 };
}

/** Of a round, for a weight limit. */
export function boundOf(policy: Policy, limit: number): Bound {
  const steps = option(policy, "norm_steps", 0);
  return makeBound(
    policy.max_clients, steps, limit, leastWeight(policy, limit), policy.bits - 1, limbs(policy), counts(policy),
  );
}

/** Coordinates of s'; 0 where no norm is bounded. */
export function sketchRandomness(config: RoundConfig): number {
  if (!option(config.policy, "norm_steps", 0)) return 0;
  return boundOf(config.policy, config.weight_limit).J * BLOCK;
}

/** Elements of C'. */
export function sketchElements(bound: Bound): number {
  return (bound.rho + 1) * BLOCK + bound.L + bound.e;
}

export function encodeBound(bound: Bound): Bytes {
  return concat(...[bound.n, bound.B, bound.M, bound.m, bound.limb, bound.L, bound.e].map(u64));
}

/** In hundredths, by bits. */
const SLACKS: readonly (readonly [number, number])[] = [
  [160, 177], [192, 190], [224, 203], [256, 220], [288, 242], [320, 271], [352, 308],
  [384, 360], [416, 437], [448, 577], [480, 927], [496, 1569], [504, 3179],
];

export function normFactor(config: RoundConfig): bigint {
  const bound = boundOf(config.policy, config.weight_limit);
  const slack = SLACKS.find(([bits]) => 128 + config.policy.max_corrupt <= bits)?.[1] ?? 0;
  const above = BigInt(slack) * BigInt(13 + bound.alpha + 12) * 2n ** BigInt(bound.kappa);
  const below = 16n * BigInt(bound.B);
  return (above + below - 1n) / below;
}
