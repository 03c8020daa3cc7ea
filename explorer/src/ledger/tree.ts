// Trees of RFC 9162: inclusion, consistency, and a frontier that grows leaf by leaf.

import { type Bytes, bitLength, equal, require } from "../decoding/bytes.ts";
import { leafHash, nodeHash, rootOfHashes, sha256 } from "../crypto/hash.ts";

/** Section 2.1.3.2. */
export function checkInclusion(leaf: Bytes, index: bigint, size: bigint, path: readonly Bytes[], root: Bytes): void {
  require(index >= 0n && index < size, "the index is outside the tree");
  let [node, last, value] = [index, size - 1n, leafHash(leaf)];
  for (const sibling of path) {
    require(last !== 0n, "the inclusion path is too long");
    if (node & 1n || node === last) {
      value = nodeHash(sibling, value);
      while (!(node & 1n) && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      value = nodeHash(value, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  require(last === 0n, "the inclusion path is too short");
  require(equal(value, root), "the leaf is not in the tree");
}

/** Section 2.1.4.2: that the tree of (size, root) begins with the one of (oldSize, oldRoot). */
export function checkConsistency(
  oldSize: bigint,
  oldRoot: Bytes,
  size: bigint,
  root: Bytes,
  proof: readonly Bytes[],
): void {
  require(oldSize <= size, "the older tree is larger");
  if (oldSize === size) {
    require(proof.length === 0 && equal(oldRoot, root), "two roots of one size");
    return;
  }
  if (oldSize === 0n) {
    require(proof.length === 0 && equal(oldRoot, sha256(new Uint8Array(0))), "an empty tree with another root");
    return;
  }
  const powerOfTwo = (oldSize & (oldSize - 1n)) === 0n;
  const path = powerOfTwo ? [oldRoot, ...proof] : [...proof];
  require(path.length > 0, "the consistency proof is too short");
  let [node, last] = [oldSize - 1n, size - 1n];
  while (node & 1n) [node, last] = [node >> 1n, last >> 1n];
  let [older, newer] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    require(last !== 0n, "the consistency proof is too long");
    if (node & 1n || node === last) {
      older = nodeHash(sibling, older);
      newer = nodeHash(sibling, newer);
      while (!(node & 1n) && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      newer = nodeHash(newer, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  require(last === 0n, "the consistency proof is too short");
  require(equal(older, oldRoot) && equal(newer, root), "the consistency proof leads to other roots");
}

/** All leaves' hashes, and whatever a tree over the first of them says. */
export class Tree {
  readonly hashes: Bytes[] = [];

  push(leaf: Bytes): void {
    this.hashes.push(leafHash(leaf));
  }

  root(size = this.hashes.length): Bytes {
    return rootOfHashes(this.hashes.slice(0, size));
  }

  /** The root of the complete subtree of 2^level leaves at a place. */
  node(level: number, place: number): Bytes {
    return rootOfHashes(this.hashes.slice(place << level, (place + 1) << level));
  }

  /** The inclusion path of a leaf, from the leaf up. */
  path(index: number, from = 0, to = this.hashes.length): Bytes[] {
    const size = to - from;
    if (size <= 1) return [];
    const split = 2 ** (bitLength(size - 1) - 1);
    const inLeft = index - from < split;
    const other = inLeft ? this.hashes.slice(from + split, to) : this.hashes.slice(from, from + split);
    const inner = inLeft ? this.path(index, from, from + split) : this.path(index, from + split, to);
    return [...inner, rootOfHashes(other)];
  }
}
