// Integers that keys are made of.

/** b^e mod m. */
export function power(b: bigint, e: bigint, m: bigint): bigint {
  let [out, square] = [1n, b % m];
  for (let rest = e; rest > 0n; rest >>= 1n) {
    if (rest & 1n) out = (out * square) % m;
    square = (square * square) % m;
  }
  return out;
}

export function divisorOf(a: bigint, b: bigint): bigint {
  while (b > 0n) [a, b] = [b, a % b];
  return a;
}

// They decide below 3.3e24: Sorenson, Webster 2015. What is longer, and passes all of them, is taken for prime.
const WITNESSES = [2n, 3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n];

export function isPrime(n: bigint): boolean {
  if (n < 2n || WITNESSES.some((p) => n % p === 0n)) return WITNESSES.includes(n);
  let [odd, twos] = [n - 1n, 0];
  while ((odd & 1n) === 0n) [odd, twos] = [odd >> 1n, twos + 1];
  return WITNESSES.every((witness) => {
    let x = power(witness, odd, n);
    if (x === 1n || x === n - 1n) return true;
    for (let i = 1; i < twos; i++) {
      x = (x * x) % n;
      if (x === n - 1n) return true;
    }
    return false;
  });
}

/** All primes below a bound. */
export function primesBelow(bound: number): number[] {
  const composite = new Uint8Array(bound);
  const found: number[] = [];
  for (let p = 2; p < bound; p++) {
    if (composite[p]) continue;
    found.push(p);
    for (let i = p * p; i < bound; i += p) composite[i] = 1;
  }
  return found;
}
