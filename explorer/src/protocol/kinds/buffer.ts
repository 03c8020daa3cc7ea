// Rounds whose updates are differences from several models: docs/specification.md, section 20.

import { type Bytes, equal, hex, require, ZEROS } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { aggregators, honest, option } from "../config/layout.ts";
import { AggregatorSet, type Base, type Policy, type RoundConfig } from "../records.ts";

export const BUFFER_OPTIONS: Readonly<Record<string, readonly [number, number]>> = {
  buffer_honest: [2, 2 ** 32 - 1],
  buffer_staleness: [0, 255],
};

/** In the place of 3·max_corrupt < min_advertised. */
export function checkCorrupt(policy: Policy): void {
  if (honest(policy) === 0) {
    const strange = policy.options.some((item) => Object.hasOwn(BUFFER_OPTIONS, item.name));
    require(!strange, "options of no buffered round");
    require(3 * policy.max_corrupt < policy.min_advertised, "max_corrupt is too large");
    return;
  }
  require(policy.min_clients >= policy.max_corrupt + honest(policy), "too few honest updates");
  require(policy.cohort_size === 0, "a buffered task draws no cohort");
}

export function checkBuffered(config: RoundConfig): void {
  if (honest(config.policy) === 0) return;
  require(config.epoch === 0n, "a buffered round of a later epoch");
  require(!equal(config.base_model, ZEROS), "a buffered round goes on from no model");
  require(option(config.policy, "level", 0) === 0, "a buffered round of a tree");
}

/** The bases in a setup, oldest first; none where rounds are not buffered. */
export function checkBases(config: RoundConfig, setup: Bytes): Base[] {
  if (honest(config.policy) === 0) return [];
  const { bases = [] } = decode(AggregatorSet, setup, 1 << 16, "the setup");
  require(bases.length > 0, "there is no base");
  const last = bases[bases.length - 1];
  const staleness = BigInt(option(config.policy, "buffer_staleness", 0));
  const first = last.number > staleness ? last.number - staleness : 0n;
  require(bases[0].number === first, "too many bases, or too few");
  require(bases.every((base, i) => i === 0 || bases[i - 1].number + 1n === base.number), "bases are out of order");
  require(new Set(bases.map((base) => hex(base.record))).size === bases.length, "two bases have one record");
  for (const base of bases) {
    require(!equal(base.model, ZEROS), "a base has no model");
    require(equal(base.record, ZEROS) === (base.number === 0n), "a base follows from no record, or from one too many");
  }
  require(equal(last.model, config.base_model), "the last base is not base_model");
  require(equal(last.record, config.previous_record), "the last base is not of the record before");
  const hasResults = !equal(config.start_model, ZEROS);
  require(last.number === 0n || hasResults, "a base follows from results, and there is none");
  return bases;
}

/** The number of the base that an advertisement's part names, behind its hashes. */
export function baseOf(bases: readonly Base[], part: Bytes, policy: Policy): bigint {
  require(part.length === 32 * (aggregators(policy) + 2), "the hashes have a wrong length");
  const model = part.slice(-32);
  const named = bases.filter((base) => equal(base.model, model));
  require(named.length > 0, "an update is a difference from none of the bases");
  return named[named.length - 1].number;
}

/** That a round's bases follow those of the task's round before it; null before its first. */
export function checkFollows(policy: Policy, bases: readonly Base[], before: readonly Base[] | null): void {
  if (before === null) {
    require(bases.length === 1 && bases[0].number === 0n, "a task's first round has another base than its first");
    return;
  }
  const kept = before.length === option(policy, "buffer_staleness", 0) + 1 ? before.slice(1) : before;
  require(bases.length === kept.length + 1, "another number of bases than follow those of the round before");
  kept.forEach((base, i) => {
    const same = base.number === bases[i].number && equal(base.record, bases[i].record)
      && equal(base.model, bases[i].model);
    require(same, "another base than the round before had");
  });
  const next = before[before.length - 1].number + 1n;
  require(bases[bases.length - 1].number === next, "a base of another number than the next");
}
