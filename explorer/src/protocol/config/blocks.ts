// Sizes of arrays, and the blocks in which values are rotated: docs/specification.md, sections 22 and 23.

export function elementsOf(shape: readonly number[]): bigint {
  return shape.reduce((product, side) => product * BigInt(side), 1n);
}

/** The blocks that so many values are rotated in. */
export function blocksOf(size: number): number[] {
  const found: number[] = [];
  let left = size;
  for (const block of [4096, 1024, 256, 64]) for (; left >= block; left -= block) found.push(block);
  if (left > 0) found.push(64);
  return found;
}

/** Values of all blocks, each of which is a multiple of 64. */
export function paddedSize(size: number): number {
  return 64 * Math.ceil(size / 64);
}
