/** ⌊x^(1/k)⌋, by Newton's method from above. */
export function floorRoot(x: bigint, k = 2): bigint {
  if (x < 2n) return x;
  const degree = BigInt(k);
  let found = 1n << BigInt(Math.ceil((x.toString(16).length * 4) / k));
  for (;;) {
    const next = ((degree - 1n) * found + x / found ** (degree - 1n)) / degree;
    if (next >= found) return found;
    found = next;
  }
}
