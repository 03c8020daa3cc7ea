// What follows from a configuration: docs/specification.md, section 3. Nothing here checks anything.

import { bitLength } from "../../decoding/bytes.ts";
import { N } from "../../crypto/ring.ts";
import { elementsOf, paddedSize } from "./blocks.ts";
import { groupsOf, halfOf, isAdaptive, isGrouped, mainGroup, parts, topOf } from "./groups.ts";
import type { Policy, RoundConfig } from "../records.ts";

export function option(policy: Policy, name: string, missing: number): number {
  const found = policy.options.find((item) => item.name === name);
  return found ? Number(found.value) : missing;
}

/** H; of the main group where there are several. */
export function half(policy: Policy): number {
  return isGrouped(policy) ? halfOf(mainGroup(policy)) : 2 ** (policy.bits - 1) - 1;
}

/** c / H, what norms are counted in. */
export function step(policy: Policy): number {
  return (isGrouped(policy) ? mainGroup(policy).clip : policy.clip) / half(policy);
}

export function isHalved(policy: Policy): boolean {
  return option(policy, "halves", 0) === 1;
}

export function coordinateBits(policy: Policy): number {
  return isHalved(policy) ? Math.ceil(policy.bits / 2) : policy.bits;
}

/** Q of sections 3 and 5. */
export function coordinateTop(policy: Policy): number {
  if (isGrouped(policy)) return Math.max(2 ** policy.bits - 2, ...groupsOf(policy).map(topOf));
  return isHalved(policy) ? 2 ** coordinateBits(policy) - 1 : 2 * half(policy);
}

export function maskBits(policy: Policy): number {
  return Math.max(coordinateBits(policy), policy.max_clients <= 2 ** 15 ? 10 : 8);
}

/** B of coordinates up to `top`, and m: how many of them are committed to as one element. */
export function digits(policy: Policy, top = coordinateTop(policy)): { base: number; count: number } {
  const base = policy.max_clients * top + 1;
  let count = 1;
  while (policy.commit_packed && base ** (count + 1) <= 2 ** 27) count++;
  return { base, count };
}

/** Whether each coordinate is an element of what is committed to, whichever groups a round has. */
export function isUnpacked(policy: Policy): boolean {
  const groups = groupsOf(policy);
  const tops = [coordinateTop(policy), ...groups.map(topOf), ...(groups.some(isAdaptive) ? [1] : [])];
  return tops.every((top) => digits(policy, top).count === 1);
}

export function limbs(policy: Policy): number {
  return Math.ceil(bitLength(policy.max_weight) / Math.max(coordinateBits(policy) - 1, 1));
}

export function counts(policy: Policy): number {
  return policy.weight_scale ? 2 : 0;
}

/** m of section 4. */
export function leastWeight(policy: Policy, limit: number): number {
  return policy.weight_scale ? Math.ceil(limit / policy.weight_span) : 1;
}

/** Elements of all arrays; below 2^32 once the configuration is checked. */
export function modelSize(config: RoundConfig): number {
  return Number(config.shapes.reduce((sum, shape) => sum + elementsOf(shape), 0n));
}

/** d: values that are sent; D of section 23 with privacy. */
export function values(config: RoundConfig): number {
  if (isGrouped(config.policy)) return parts(config).reduce((sum, part) => sum + part.length, 0);
  return isPrivate(config.policy) ? paddedSize(modelSize(config)) : modelSize(config);
}

/** Neighbours in x with one most. */
export interface Range {
  length: number;
  /** The most that one client's is; with `crypten` the parties check bits alone. */
  top: number;
}

/** All of x, in order. */
export function ranges(config: RoundConfig): Range[] {
  const { policy } = config;
  const beside = limbs(policy) + counts(policy);
  const found = isGrouped(policy)
    ? [
      ...parts(config).map((part) => ({ length: part.length, top: topOf(part.group) })),
      { length: beside, top: coordinateTop(policy) },
      { length: config.clips?.length ?? 0, top: 1 },
    ]
    : [{ length: values(config) * (isHalved(policy) ? 2 : 1) + beside, top: coordinateTop(policy) }];
  return found.filter((range) => range.length > 0);
}

/** The most that a coordinate of a range can be of one client. */
export function largest(policy: Policy, { top }: Range): number {
  return policy.backend === "crypten" ? 2 ** bitLength(top) - 1 : top;
}

/** Whether several coordinates are committed to as one element. */
export function isPacked(config: RoundConfig): boolean {
  return ranges(config).some(({ top }) => digits(config.policy, top).count > 1);
}

/** d + L + e, and the clips that adapt. */
export function committed(config: RoundConfig): number {
  return ranges(config).reduce((sum, range) => sum + range.length, 0);
}

/** Elements that x is committed to as. */
export function hashedElements(config: RoundConfig): number {
  const { policy } = config;
  return ranges(config).reduce((sum, { length, top }) => sum + Math.ceil(length / digits(policy, top).count), 0);
}

/** k, or 0 where no rank is enough. */
export function rank(config: RoundConfig): 0 | 3 | 4 {
  const { policy } = config;
  let width = maskBits(policy) + bitLength(policy.max_clients - 1);
  if (width > 27) return 0;
  for (const { top } of ranges(config)) {
    const { base, count } = digits(policy, top);
    if (count > 1) width = Math.max(width, bitLength(base ** count - 1));
  }
  const columns = N * (Math.ceil(hashedElements(config) / N) + 5);
  if (width <= 24 || (width === 25 && columns <= 2 ** 27)) return 3;
  return width <= 27 ? 4 : 0;
}

/** r. */
export function randomness(config: RoundConfig): number {
  return (rank(config) + 2) * N;
}

export function quorum(cohort: number, policy: Policy): number {
  if (honest(policy)) return policy.max_corrupt + honest(policy);
  return Math.floor((cohort + policy.max_corrupt) / 2) + 1;
}

// 20 and 23

/** Honest updates that a sum of a buffered task has at least; 0 where rounds are not buffered. */
export function honest(policy: Policy): number {
  return option(policy, "buffer_honest", 0);
}

export const PRIVACY_OPTIONS: Readonly<Record<string, readonly [number, number]>> = {
  privacy_delta: [1, 4 * 10 ** 9],
  privacy_epsilon: [1, 32 * 10 ** 6],
  privacy_honest: [1, 2 ** 24],
  privacy_mechanism: [1, 1],
  privacy_ratio: [1, 2 ** 32 - 1],
};

export function isPrivate(policy: Policy): boolean {
  return policy.options.some((item) => Object.hasOwn(PRIVACY_OPTIONS, item.name));
}

/** What the result of a round claims to be. */
export function claimOf(policy: Policy): "sum" | "dp-sum" | "attested" {
  return isAttested(policy) ? "attested" : isPrivate(policy) ? "dp-sum" : "sum";
}

// 9 and 10

/** Backends whose aggregators sign the set. */
export function isShared(policy: Policy): boolean {
  return policy.backend === "additive" || policy.backend === "crypten";
}

/** Backends whose key holders open the sum; the set is agreed on before commitments are shown. */
export function isEncrypted(policy: Policy): boolean {
  return ["bfv", "ckks", "paillier"].includes(policy.backend);
}

/** How many hold the key, and how many of them open a sum. */
export function committee(policy: Policy): { holders: number; needed: number } {
  const holders = option(policy, "holders", 1);
  return { holders, needed: option(policy, "threshold", holders === 1 ? 1 : Math.floor((holders + 1) / 2) + 1) };
}

export function aggregators(policy: Policy): number {
  return option(policy, "aggregators", 3);
}

export function threshold(policy: Policy): number {
  return option(policy, "threshold", aggregators(policy));
}

/** How many aggregators' signatures bind a round to a set. */
export function vouchers(policy: Policy): number {
  return Math.floor((aggregators(policy) + threshold(policy) - 1) / 2) + 1;
}

export function isAttested(policy: Policy): boolean {
  return policy.backend === "crypten" && option(policy, "function", 0) !== 0;
}

/** How many clients' values are in every element of the result. */
export function kept(policy: Policy, clients: number): number {
  const chosen = policy.backend === "crypten" ? option(policy, "function", 0) : 0;
  if (chosen === 1) return clients - 2 * option(policy, "trim", 0);
  return chosen === 2 ? 2 - (clients % 2) : clients;
}

/** Elements of what is shared in `additive`, and hashed in `masking` with screening. */
export function sharedLength(config: RoundConfig): number {
  return hashedElements(config) + randomness(config);
}

/** Values whose norm is bounded: all but those of the last arrays, or of weighted groups. */
export function covered(config: RoundConfig): number {
  if (isGrouped(config.policy)) {
    return parts(config).filter((part) => part.group.weighted).reduce((sum, part) => sum + part.length, 0);
  }
  const inside = Math.max(0, config.shapes.length - option(config.policy, "norm_outside", 0));
  return Number(config.shapes.slice(0, inside).reduce((sum, shape) => sum + elementsOf(shape), 0n));
}

export function isBounded(policy: Policy): boolean {
  return option(policy, "norm_steps", 0) > 0;
}
