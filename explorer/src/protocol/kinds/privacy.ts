// Differential privacy: docs/specification.md, section 23. Integers, and fractions of 2^256 where there are logarithms.

import { type Bytes, bitLength, require, u64 } from "../../decoding/bytes.ts";
import { digest } from "../../crypto/hash.ts";
import { blocksOf, paddedSize } from "../config/blocks.ts";
import { floorRoot } from "../config/integers.ts";
import { half, isPrivate, isShared, modelSize, option, PRIVACY_OPTIONS, quorum } from "../config/layout.ts";
import type { Policy, RoundConfig, RoundRecord } from "../records.ts";

const BITS = 256n;
const ONE = 1n << BITS;
const MOST = 2 ** 32 - 1;
const MOST_ROUNDS = 2n ** 20n;

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function up(a: bigint, b: bigint): bigint {
  return (a + b - 1n) / b;
}

function root(x: bigint): bigint {
  const found = floorRoot(x);
  return found * found === x ? found : found + 1n;
}

/** e^x of x in millionths, by its series. */
function exp(millionths: bigint): bigint {
  let [total, term] = [ONE, ONE];
  for (let k = 1n; term > 0n; k++) {
    term = (term * millionths) / (1_000_000n * k);
    total += term;
  }
  return total;
}

/** 2·artanh((y − 1)/(y + 1)), for y in [1, 2]. */
function series(y: bigint): bigint {
  const t = ((y - ONE) << BITS) / (y + ONE);
  const square = (t * t) >> BITS;
  let total = 0n;
  for (let [power, k] = [t, 1n]; power > 0n; power = (power * square) >> BITS, k += 2n) total += power / k;
  return 2n * total;
}

const LN2 = series(2n * ONE);

/** Of a fraction above 0. */
function ln(x: bigint): bigint {
  const doublings = bitLength(x) - 1 - Number(BITS);
  const y = doublings >= 0 ? x >> BigInt(doublings) : x << BigInt(-doublings);
  return series(y) + BigInt(doublings) * LN2;
}

const ORDERS = [...Array.from({ length: 127 }, (_, i) => BigInt(i + 2)), 256n];
let logarithms: { order: bigint; own: bigint; less: bigint }[] | null = null;

/** ln a and ln(a − 1) of all orders a. */
function logarithmsOf() {
  return (logarithms ??= ORDERS.map((order) => ({ order, own: ln(order << BITS), less: ln((order - 1n) << BITS) })));
}

/** In millionths, of rounds by their `privacy_ratio`. */
export function spending(rounds: ReadonlyMap<bigint, bigint>, delta: bigint, epsilon: bigint): number {
  const all = [...rounds.values()].reduce((sum, count) => sum + count, 0n);
  if (all === 0n) return 0;
  const left = (delta << BITS) / 10n ** 12n - ((all * (ONE + exp(epsilon))) >> 60n);
  if (left <= 0n) return MOST;
  const said = ln(left);
  let least: bigint | null = null;
  for (const { order, own, less } of logarithmsOf()) {
    let found = less - own - (said + own) / (order - 1n);
    for (const [ratio, count] of rounds) {
      const skellam = ((2n * order + 2n) << (20n + BITS)) / (1168n * ratio * ratio);
      found += count * (((512n * order) << BITS) / ratio + smaller(skellam, (768n << BITS) / ratio));
    }
    if (least === null || found < least) least = found;
  }
  if (least === null || least <= 0n) return 0;
  return Number(smaller(up(least * 1_000_000n, ONE), BigInt(MOST)));
}

export interface Numbers {
  D: bigint;
  L: bigint;
  squared: bigint;
  V: bigint;
  quantised: bigint;
  noise: bigint;
}

function atLeast(bits: number): bigint {
  return up(693148n * BigInt(bits), 1_000_000n);
}

const numbersOf = new WeakMap<RoundConfig, Numbers>();

/** *Numbers of a round*. */
export function numbers(config: RoundConfig): Numbers {
  const known = numbersOf.get(config);
  if (known) return known;
  const { policy } = config;
  const of = (name: string) => BigInt(option(policy, name, 0));
  const blocks = blocksOf(modelSize(config));
  const [D, smallest] = [BigInt(paddedSize(modelSize(config))), BigInt(blocks[blocks.length - 1])];
  const h = BigInt(half(policy));
  const g = bitLength(BigInt(policy.max_clients) * D);
  const K = atLeast(62 + g);
  const made = (L: bigint): Numbers => {
    const square = L * L;
    const squared = smaller(
      square + D + floorRoot(4n * square * D), (4n * square + D + 4n * L + floorRoot(4n * D)) / 4n,
    );
    const V = up(of("privacy_ratio") * squared * 256n, 1024n * of("privacy_honest"));
    const quantised = root(up(2n * atLeast(41 + g) * square, smallest)) + 1n;
    const noise = up(K + root(up(256n * K * K + 18n * K * V, 256n)), 3n);
    return { D, L, squared, V, quantised, noise };
  };
  const room = (found: Numbers, top: bigint) => found.quantised + found.noise <= h && found.V <= top;
  let low = root(4n * D);
  require(room(made(low), 2n ** 36n), "there is no room for the noise");
  let high = smaller(h, 2n ** 22n);
  while (low < high) {
    const middle = (low + high + 1n) / 2n;
    if (room(made(middle), 2n ** 28n)) low = middle;
    else high = middle - 1n;
  }
  const found = made(low);
  numbersOf.set(config, found);
  return found;
}

/** What is a policy's alone; nothing where it has no privacy. */
export function checkPrivatePolicy(policy: Policy): void {
  const said = policy.options.filter((item) => Object.hasOwn(PRIVACY_OPTIONS, item.name));
  if (said.length === 0) return;
  require(said.length === Object.keys(PRIVACY_OPTIONS).length, "some options of privacy are missing");
  for (const { name, value } of said) {
    const [least, most] = PRIVACY_OPTIONS[name];
    const fits = typeof value === "bigint" && value >= BigInt(least) && value <= BigInt(most);
    require(fits, `option ${name} is out of range`);
  }
  require(policy.max_weight === 1 && policy.weight_scale === 0, "weights beside privacy");
  const others = policy.options.some((item) => ["norm_steps", "level", "groups", "buffer_honest"].includes(item.name));
  require(!others && option(policy, "halves", 0) === 0, "a norm bound, a tree, groups, bases or halves beside privacy");
  const delta = BigInt(option(policy, "privacy_delta", 0));
  require(delta * BigInt(policy.max_clients) < 10n ** 12n, "delta is no less than one in the clients");
  checkHonest(policy, policy.max_clients);
  require(spentAfter(policy, 1n) <= option(policy, "privacy_epsilon", 0), "the budget is not enough for one round");
}

function checkHonest(policy: Policy, cohort: number): void {
  const signers = isShared(policy) ? 0 : quorum(cohort, policy);
  const known = Math.max(policy.min_clients, signers) - policy.max_corrupt;
  require(option(policy, "privacy_honest", 0) <= known, "too few are known to be honest");
}

/** Of so many rounds of a policy. */
export function spentAfter(policy: Policy, rounds: bigint): number {
  const [ratio, delta, epsilon] = ["privacy_ratio", "privacy_delta", "privacy_epsilon"].map((name) => {
    return BigInt(option(policy, name, 0));
  });
  return spending(new Map([[ratio, rounds]]), delta, epsilon);
}

export function checkPrivate(config: RoundConfig): void {
  const { policy } = config;
  if (!isPrivate(policy)) return;
  checkHonest(policy, config.cohort_size);
  const fits = config.round < MOST_ROUNDS
    && spentAfter(policy, config.round + 1n) <= option(policy, "privacy_epsilon", 0);
  require(fits, "the budget is spent");
  numbers(config);
}

function float64(value: number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setFloat64(0, value, true);
  return out;
}

/** What a record has after the fields of any. */
export function privateFields(
  config: RoundConfig,
): Pick<RoundRecord, "mechanism" | "epsilon" | "delta" | "spent" | "privacy"> {
  const { policy } = config;
  const of = (name: string) => option(policy, name, 0);
  const { D, L, squared, V, quantised, noise } = numbers(config);
  const said = ["mechanism", "delta", "epsilon", "ratio", "honest"].map((name) => of(`privacy_${name}`));
  const terms = [...said, D, L, squared, V, quantised, noise].map(u64);
  return {
    mechanism: "skellam",
    epsilon: of("privacy_epsilon"),
    delta: of("privacy_delta"),
    spent: spentAfter(policy, config.round + 1n),
    privacy: digest("privacy", float64(policy.clip), ...terms),
  };
}
