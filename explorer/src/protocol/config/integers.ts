/** ⌊√x⌋. */
export function floorRoot(x: bigint): bigint {
  if (x < 2n) return x;
  let found = 1n << BigInt((x.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (found + x / found) >> 1n;
    if (next >= found) return found;
    found = next;
  }
}
