// The limits of a configuration: docs/specification.md, sections 3, 9, 10, 16, 19, 20, 22 and 23.
//
// A backend, or an option, that is not in the tables below is nothing that this page knows how to check: `Unknown`.

import { hex, require, Unknown, ZEROS } from "../../decoding/bytes.ts";
import { PROTOCOL } from "../../crypto/hash.ts";
import { boundOf } from "../../zk/norm/bound.ts";
import { elementsOf } from "./blocks.ts";
import { checkGrouping, checkGroups, checkOneGrid, groupsOf, isAdaptive, isGrouped, worstError } from "./groups.ts";
import {
  aggregators, committed, committee, half, isAttested, isShared, isUnpacked, option, PRIVACY_OPTIONS, randomness, rank,
  sharedLength, step, threshold, values,
} from "./layout.ts";
import { BUFFER_OPTIONS, checkBuffered, checkCorrupt } from "../kinds/buffer.ts";
import { checkPrivate, checkPrivatePolicy } from "../kinds/privacy.ts";
import { checkRing } from "../encryption/rings.ts";
import { checkId, checkOrder } from "../parties.ts";
import type { Policy, RoundConfig } from "../records.ts";

type Range = readonly [number, number];
const ANY: Range = [0, 2 ** 32 - 1];

const RING_OPTIONS: Readonly<Record<string, Range>> = { degree: [4096, 16384], primes: ANY, more_primes: ANY };

const OPTIONS: Readonly<Record<string, Readonly<Record<string, Range>>>> = {
  masking: { complete_up_to: [0, 2 ** 20], screening: [0, 2], transport: [0, 1] },
  plain: {},
  bfv: { ...RING_OPTIONS, plain_modulus: ANY },
  ckks: RING_OPTIONS,
  paillier: { modulus_bits: [2048, 8192], holders: [1, 64], threshold: [1, 64] },
  additive: { aggregators: [2, 16], threshold: [2, 16], ...BUFFER_OPTIONS },
  crypten: { aggregators: [2, 5], function: [0, 2], norm_bound_milli: ANY, trim: ANY },
};
const NORM_OPTIONS: Readonly<Record<string, Range>> = {
  norm_excess: [0, 1],
  norm_outside: [0, 8],
  norm_steps: [1, 2 ** 32 - 1],
};
/** Of every backend, and no number. */
const GROUPS: Readonly<Record<string, Range>> = { groups: ANY };
const LEVELS: Readonly<Record<string, Range>> = { masking: [1, 2], plain: [1, 2], additive: [2, 2] };

function knownOptions(backend: string): Readonly<Record<string, Range>> {
  const own = Object.hasOwn(OPTIONS, backend) ? OPTIONS[backend] : undefined;
  if (own === undefined) throw new Unknown(`backend ${JSON.stringify(backend)} is unknown to this page`);
  return {
    ...own,
    ...GROUPS,
    ...(isShared({ backend } as Policy) ? {} : NORM_OPTIONS),
    ...(backend === "crypten" ? {} : PRIVACY_OPTIONS),
    ...(["masking", "plain", "additive"].includes(backend) ? { halves: [0, 1] as Range } : {}),
    ...(Object.hasOwn(LEVELS, backend) ? { level: LEVELS[backend] } : {}),
  };
}

export function checkConfig(config: RoundConfig): void {
  checkLimits(config);
  checkBackend(config.policy, config);
}

/** What holds with every backend. */
export function checkLimits(config: RoundConfig): void {
  const { policy } = config;
  require(config.protocol === PROTOCOL, "another protocol");
  checkId(config.task);
  require(config.round <= 2n ** 53n && config.attempt <= 2n ** 32n, "the round or attempt is too large");
  require(config.epoch <= 2n ** 32n && config.generation <= 2n ** 32n, "the epoch or generation is too large");
  require(config.draw <= (policy.cohort_size ? 15 : 0), "the draw is out of range");
  const renounced = hex(config.renounced) !== hex(ZEROS);
  require(renounced === config.generation > 0n, "renounced does not go with the generation");
  checkPolicy(policy);
  checkGrouping(config);
  checkBuffered(config);
  const scale = policy.weight_scale;
  if (scale) {
    const first = hex(config.previous_record) === hex(ZEROS);
    require(!first || config.weight_limit === policy.first_weight, "the first round has another weight limit");
  }
  require(config.weight_limit >= 1 && config.weight_limit <= policy.max_weight, "weight_limit out of range");
  const spread = scale ? Math.min(policy.weight_span, policy.max_weight) : config.weight_limit;
  const worst = isGrouped(policy) ? worstError(policy, spread) : step(policy) * spread;
  require(worst <= policy.max_error, "the means could be too far off");
  const { min_advertised: least, max_clients: most, cohort_size: drawn } = policy;
  require(config.cohort_size >= least && config.cohort_size <= most, "cohort_size is out of range");
  require(config.shapes.length > 0, "no array");
  require(config.shapes.every((shape) => shape.length <= 32), "an array has too many dimensions");
  require(config.shapes.every((shape) => shape.every((side) => side >= 1)), "an array has a side of 0");
  const size = config.shapes.reduce((sum, shape) => sum + elementsOf(shape), 0n);
  require(size <= BigInt(policy.max_parameters), "too many parameters");
  require(config.beacon.length <= 64, "the beacon is too long");
  require(config.beacon.length > 0 === drawn > 0, "a beacon is missing, or there is one too many");
  require([0, 32].includes(config.log_key.length), "the log key has a wrong length");
  require(drawn === 0 || drawn === config.cohort_size, "another cohort_size than the policy draws");
  require(drawn === 0 || config.round < 2n ** 16n, "no cohort is drawn for so late a round");
  require([0, 32].includes(config.setup.length), "the digest of the setup has a wrong length");
  require(rank(config) !== 0, "no commitment rank is enough");
  checkPrivate(config);
  if (option(policy, "norm_steps", 0)) {
    require(policy.bits >= 3 && !option(policy, "halves", 0), "too few bits for a norm bound, or halves with one");
    checkOneGrid(policy);
    require(!isGrouped(policy) || option(policy, "norm_outside", 0) === 0, "norm_outside beside groups");
    boundOf(policy, config.weight_limit);
    boundOf(policy, scale ? policy.max_weight : 1);
  }
}

/** What is a policy's alone. */
export function checkPolicy(policy: Policy): void {
  checkId(policy.backend);
  require(policy.max_parameters >= 1 && policy.max_parameters <= 2 ** 32, "max_parameters out of range");
  checkOrder(policy.options.map((item) => item.name), "options");
  const inRange = policy.options.every(({ value }) => typeof value !== "bigint" || value < 2n ** 32n);
  require(inRange, "an option is out of range");
  checkGroups(policy);
  require(policy.bits >= (option(policy, "halves", 0) ? 4 : 2) && policy.bits <= 24, "bits out of range");
  require(policy.clip >= 1e-30 && policy.clip <= 1e30, "clip out of range");
  require(policy.max_error > 0 && policy.max_error < Infinity, "max_error out of range");
  require(policy.max_weight >= 1 && policy.max_weight < 2 ** 32, "max_weight out of range");
  const { weight_scale: scale, weight_span: span, first_weight: first } = policy;
  if (scale) {
    const fits = scale <= 2 ** 16 && span >= 1 && span <= 2 ** 24 && first >= 1 && first <= policy.max_weight;
    require(fits, "the limits of weights are out of range");
  } else {
    require(span === 0 && first === 0, "limits of weights that are kept");
  }
  const { min_advertised: least, max_clients: most, cohort_size: drawn } = policy;
  require(2 <= policy.min_clients && policy.min_clients <= least && least <= most, "client limits out of order");
  require(most < 2 ** 32, "max_clients out of range"); // rank 4 has no room for so many
  checkCorrupt(policy);
  require(drawn === 0 || (least <= drawn && drawn <= most), "the policy's cohort_size is out of range");
  if (!option(policy, "norm_steps", 0)) {
    const strange = policy.options.some((item) => Object.hasOwn(NORM_OPTIONS, item.name));
    require(!strange, "options of no norm bound");
  }
  checkPrivatePolicy(policy);
}

/** The backend's options; with a configuration whether it has a setup. */
export function checkBackend(policy: Policy, config?: RoundConfig): void {
  const known = knownOptions(policy.backend);
  for (const item of policy.options) {
    if (!Object.hasOwn(known, item.name)) {
      throw new Unknown(`option ${JSON.stringify(item.name)} of backend ${policy.backend} is unknown to this page`);
    }
    if (typeof item.value !== "bigint") continue; // groups, which are checked with the policy
    const [least, most] = known[item.name];
    require(item.value >= BigInt(least) && item.value <= BigInt(most), `option ${item.name} is out of range`);
  }
  if (option(policy, "screening", 0)) {
    require(option(policy, "transport", 0) === 0, "words of several values are not screened");
  }
  if (policy.backend === "masking" && option(policy, "screening", 0) === 2) {
    require(option(policy, "norm_steps", 0) > 0 && isUnpacked(policy), "no sketches that can be tested");
  }
  if (policy.backend === "additive") require(threshold(policy) <= aggregators(policy), "the threshold is too large");
  if (policy.backend === "crypten") checkFunction(policy);
  if (policy.backend === "paillier") checkCommittee(policy);
  if (policy.backend === "bfv" || policy.backend === "ckks") checkRing(policy);
  if (config === undefined) return;
  if (option(policy, "level", 0)) {
    require(config.epoch === 0n && config.generation === 0n, "a tree has one epoch and one generation");
  }
  const hasSetup = policy.backend !== "masking" && policy.backend !== "plain";
  require(config.setup.length > 0 === hasSetup, "a setup that this backend has not, or none where it has one");
}

function checkCommittee(policy: Policy): void {
  require(option(policy, "modulus_bits", 3072) % 128 === 0, "modulus_bits out of range");
  const { holders, needed } = committee(policy);
  require(needed <= holders && (holders === 1 || 2 * needed - holders > 1), "the committee's threshold is out of range");
}

function checkFunction(policy: Policy): void {
  const [chosen, bound, trim] = ["function", "norm_bound_milli", "trim"].map((name) => option(policy, name, 0));
  require(policy.max_clients <= 64, "too many clients");
  require(policy.weight_scale === 0, "these functions keep weights");
  require(!groupsOf(policy).some(isAdaptive), "clips that adapt, which parties can't count");
  if (chosen === 0) {
    checkOneGrid(policy);
    require((bound / 1000 / step(policy)) ** 2 >= 1, "no norm bound, or one below a step");
  } else {
    require(bound === 0, "a norm bound for another function");
    require(policy.max_weight === 1, "an order statistic has no weights");
  }
  if (chosen === 1) require(2 * trim >= 1 && 2 * trim < policy.min_clients, "trim is out of range");
  else require(trim === 0, "trim for another function");
}

/** That the vector is short enough to be shared. */
export function checkSize(config: RoundConfig): void {
  const { policy } = config;
  const length = committed(config) + randomness(config);
  const share = policy.backend === "additive" ? 4 * sharedLength(config) : 8 * length;
  require(share <= 2 ** 31 - 17, "a share is too long");
  if (policy.backend !== "crypten") return;
  require(policy.max_clients * (length + 2) + values(config) <= 2 ** 30, "too many shares");
  const squares = BigInt(values(config)) * BigInt(2 * half(policy)) ** 2n;
  require(isAttested(policy) || squares < 2n ** 63n, "squared norms may overflow");
}

