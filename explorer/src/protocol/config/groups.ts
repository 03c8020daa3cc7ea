// Groups of a policy, and where their values lie: docs/specification.md, section 22. What decodes them is in `codec/`.

import { compareText, hex, require, ZEROS } from "../../decoding/bytes.ts";
import { checkId } from "../parties.ts";
import type { Group, Policy, RoundConfig } from "../records.ts";
import { elementsOf, paddedSize } from "./blocks.ts";
import { floorRoot } from "./integers.ts";

const LAST_STEP = 12672;
const MOST_CLIPS = 4096;

/** Those of a policy, in order; none where it has no groups. */
export function groupsOf(policy: Policy): readonly Group[] {
  const found = policy.options.find((item) => item.name === "groups")?.value;
  return Array.isArray(found) ? found : [];
}

export function isGrouped(policy: Policy): boolean {
  return policy.options.some((item) => item.name === "groups");
}

/** H, which 0 is encoded as. */
export function halfOf(group: Group): number {
  return group.kind === "count" ? 0 : 2 ** (group.bits - 1) - 1;
}

/** Q. */
export function topOf(group: Group): number {
  return group.kind === "count" ? 2 ** group.bits - 1 : 2 * halfOf(group);
}

export function isAdaptive(group: Group): boolean {
  return group.clip_rule === "adaptive";
}

/** The first that is weighted, or the first of all. */
export function mainGroup(policy: Policy): Group {
  const found = groupsOf(policy);
  return found.find((group) => group.weighted) ?? found[0];
}

/** What holds of a policy with groups. */
export function checkGroups(policy: Policy): void {
  if (!isGrouped(policy)) return;
  const found = groupsOf(policy);
  require(found.length >= 1 && found.length <= 256, "no groups, or too many");
  found.forEach((group, i) => {
    checkId(group.name);
    require(i === 0 || compareText(found[i - 1].name, group.name) < 0, "groups are out of order");
    checkGroup(group);
  });
  require(policy.bits === Math.max(2, ...found.map((group) => group.bits)), "bits are not the most of any group");
  const clips = found.filter((group) => group.kind === "signed").map((group) => group.clip);
  require(policy.clip === (clips.length ? Math.max(...clips) : 1), "clip is not the most of any group");
  const others = policy.options.some(({ name, value }) => (name === "halves" || name === "level") && value !== 0n);
  require(!others, "halves or a tree beside groups");
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}

function checkGroup(group: Group): void {
  const [num, den] = group.support;
  require(group.support.length === 2 && num >= 1 && num <= den && den <= 2 ** 16, "a support is no fraction");
  require(divisor(num, den) === 1, "a support is not in its lowest terms");
  require(group.clip_rule === "pinned" || group.clip_rule === "adaptive", "an unknown rule of clips");
  require(group.bits <= 24, "the bits of a group are out of range");
  if (group.kind === "count") {
    const plain = !group.weighted && !group.rotated && den === 1 && !isAdaptive(group);
    require(group.bits >= 1 && group.clip === 0 && plain, "a count has nothing but its bits");
    return;
  }
  require(group.kind === "signed", "an unknown kind of group");
  require(group.bits >= 2 && group.clip >= 1e-30 && group.clip <= 1e30, "bits or clip of a group are out of range");
  const room = group.clip >= 2 ** -99 && group.clip <= 2 ** 99;
  require(!isAdaptive(group) || room, "an adaptive clip is out of range");
}

/** That norms of these groups are norms of one grid. */
export function checkOneGrid(policy: Policy): void {
  if (!isGrouped(policy)) return;
  const weighted = groupsOf(policy).filter((group) => group.weighted);
  const [first] = weighted;
  const same = weighted.length > 0 && weighted.every((item) => item.bits === first.bits && item.clip === first.clip);
  require(same, "a norm bound over groups of several grids, or of none");
  require(!groupsOf(policy).some(isAdaptive), "a norm bound with adaptive clips");
}

/** The worst error of a policy, V being the most that a weight counts. */
export function worstError(policy: Policy, most: number): number {
  const signed = groupsOf(policy).filter((group) => group.kind === "signed");
  return signed.reduce((worst, group) => {
    const step = group.clip / halfOf(group);
    return Math.max(worst, group.weighted ? step * most : step);
  }, 0);
}

// Clips

let table: number[] | null = null;

/** The float64 nearest to 2^(i/64), from an integer root: what Math.pow gives is not the same in all browsers. */
function tableOfClips(): number[] {
  if (table !== null) return table;
  table = [];
  for (let i = 0; i < 64; i++) {
    let found = 1n << BigInt(i + 64 * 60);
    for (let k = 0; k < 6; k++) found = floorRoot(found);
    // Behind the 60 bits of the root there are more: with a 1 for them no sum is in the middle of two floats.
    table.push(Number(2n * found + 1n) / 2 ** 61);
  }
  return table;
}

/** c(k). */
export function clipAt(k: number): number {
  return tableOfClips()[k % 64] * 2 ** (Math.floor(k / 64) - 99);
}

function firstStep(clip: number): number {
  for (let k = 0; k <= LAST_STEP; k++) if (clipAt(k) >= clip) return k;
  return LAST_STEP;
}

/** What k becomes after n clients, a of whom were within their clip. */
export function nextStep(k: number, n: number, a: number): number {
  const [size, within, below] = [BigInt(n), BigInt(a), 20n * BigInt(n)];
  const above = 128n * (9n * size - 10n * within) + 10n * size;
  const floor = (above - (((above % below) + below) % below)) / below;
  return Math.min(Math.max(k + Number(floor), 0), LAST_STEP);
}

/** Of every adaptive clip, in order, the group that it is of. */
export function adaptiveClips(config: RoundConfig): number[] {
  const { policy, grouping = [] } = config;
  return groupsOf(policy).flatMap((group, index) => {
    const arrays = grouping.filter((of) => of === index).length;
    if (!isAdaptive(group) || arrays === 0) return [];
    return new Array<number>(group.rotated ? 1 : arrays).fill(index);
  });
}

export function firstClips(config: RoundConfig): number[] {
  return adaptiveClips(config).map((index) => firstStep(groupsOf(config.policy)[index].clip));
}

/** The fields of a configuration that only one with groups has. */
export function checkGrouping(config: RoundConfig): void {
  const { policy, grouping, clips } = config;
  require(isGrouped(policy) === (grouping !== undefined), "groups in a policy or its configuration alone");
  if (grouping === undefined || clips === undefined) return;
  require(grouping.length === config.shapes.length, "another number of arrays than are in groups");
  require(grouping.every((index) => index < groupsOf(policy).length), "an array of no group");
  require(clips.length <= MOST_CLIPS, "too many adaptive clips");
  require(clips.length === adaptiveClips(config).length, "another number of adaptive clips");
  require(clips.every((k) => k <= LAST_STEP), "an adaptive clip is out of range");
  if (hex(config.previous_record) === hex(ZEROS)) checkClips(config, []);
}

/** That clips are those that follow from the record before: `said` is its next_clips, none but after a round's. */
export function checkClips(config: RoundConfig, said: readonly number[]): void {
  if (config.clips === undefined) return;
  const wanted = said.length ? said : firstClips(config);
  const same = wanted.length === config.clips.length && wanted.every((k, i) => k === config.clips![i]);
  require(same, "other clips than follow from the record before");
}

// Layout

/** The values of one group. */
export interface Part {
  group: Group;
  index: number;
  /** Its arrays, how many elements each has, and the clip of each. */
  arrays: number[];
  sizes: number[];
  clips: number[];
  /** How many of its values are sent, where they begin, and how many coordinates they are, filled up where rotated. */
  sent: number;
  start: number;
  length: number;
}

const partsOf = new WeakMap<RoundConfig, Part[]>();

/** In the order of x: weighted groups first. */
export function parts(config: RoundConfig): readonly Part[] {
  const known = partsOf.get(config);
  if (known) return known;
  const groups = groupsOf(config.policy);
  const { grouping = [], clips = [] } = config;
  const steps = adaptiveClips(config).map((index, i) => [index, clips[i]] as const);
  const found: Part[] = [];
  let start = 0;
  const ordered = groups.map((group, index) => ({ group, index }));
  const weightedFirst = [true, false].flatMap((is) => ordered.filter(({ group }) => group.weighted === is));
  for (const { group, index } of weightedFirst) {
    const arrays = grouping.flatMap((of, array) => (of === index ? [array] : []));
    if (arrays.length === 0) continue;
    const sizes = arrays.map((array) => Number(elementsOf(config.shapes[array])));
    const [num, den] = group.support;
    const all = sizes.reduce((sum, size) => sum + size, 0);
    const sent = Math.ceil((all * num) / den);
    const length = group.rotated ? paddedSize(sent) : sent;
    const own = steps.filter(([of]) => of === index).map(([, k]) => clipAt(k));
    const each = group.rotated ? 1 : arrays.length;
    const chosen = isAdaptive(group) ? own : new Array<number>(each).fill(group.clip);
    found.push({ group, index, arrays, sizes, clips: chosen, sent, start, length });
    start += length;
  }
  partsOf.set(config, found);
  return found;
}
