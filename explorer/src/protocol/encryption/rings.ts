// Rings that a policy of `bfv` or `ckks` names: docs/specification.md, section 8. Security is that of the Homomorphic
// Encryption Standard (Albrecht et al. 2018), table 2; the noise that of SEAL's fresh ciphertexts.

import { require } from "../../decoding/bytes.ts";
import { option } from "../config/layout.ts";
import type { Policy } from "../records.ts";
import { isPrime } from "./primes.ts";

const MOST_BITS: Readonly<Record<number, number>> = { 4096: 101, 8192: 202, 16384: 411 };
const SIGMAS = 8;
const SLOT_SIGMAS = 24;
const ERROR_VARIANCE = 21 / 2;
const DOUBLE = 2 ** -53;

interface Ring {
  degree: number;
  sizes: number[];
  plain: number;
}

/** Two digits for each size. */
function pairs(joined: number): number[] {
  return joined === 0 ? [] : [...pairs(Math.floor(joined / 100)), joined % 100];
}

function ringOf(policy: Policy): Ring | null {
  const [degree, primes, more, plain] = ["degree", "primes", "more_primes", "plain_modulus"].map((name) => {
    return option(policy, name, 0);
  });
  if (degree + primes + more + plain === 0) return null;
  const first = pairs(primes);
  require(more === 0 || first.length === 4, "more primes of a ring, and fewer than four before them");
  return { degree, sizes: [...first, ...pairs(more)], plain };
}

/** The primes that ciphertexts are modulo: the largest of each size, but for the largest of the special prime's. */
function dataPrimes({ degree, sizes }: Ring): bigint[] {
  const [step, found] = [BigInt(2 * degree), [] as bigint[]];
  for (const size of new Set(sizes)) {
    const count = sizes.filter((item) => item === size).length;
    const taken: bigint[] = [];
    for (let candidate = (1n << BigInt(size)) - step + 1n; taken.length < count; candidate -= step) {
      require(candidate >= 1n << BigInt(size - 1), `there are not ${count} primes of ${size} bits for the ring`);
      if (isPrime(candidate)) taken.push(candidate);
    }
    found.push(...(size === sizes[sizes.length - 1] ? taken.slice(1) : taken));
  }
  return found;
}

/** V. */
function noiseVariance(degree: number, special: number): number {
  const secret = (2 * degree) / 3 + SIGMAS * Math.sqrt((2 * degree) / 9);
  const errors = ERROR_VARIANCE * (degree + SIGMAS * Math.sqrt(2 * degree));
  const keyed = (errors * 2) / 3 + ERROR_VARIANCE * (1 + secret);
  return (1 + secret) / 12 + keyed / 4 ** (special - 1) + 1 / 12;
}

/** What q has to exceed where a slot holds one coordinate, null where double precision does not reach. */
function leastModulus(backend: string, ring: Ring, most: number, clients: number): number | null {
  const { degree, sizes, plain } = ring;
  const deviation = Math.sqrt(clients * noiseVariance(degree, sizes[sizes.length - 1]));
  if (backend === "bfv") return 2 * plain * SIGMAS * deviation;
  const largest = (clients * (most + 1)) / 2;
  const margin = 1 / 4 - SIGMAS * DOUBLE * Math.sqrt(Math.log2(degree)) * largest;
  if (margin < 1 / 8) return null;
  const scale = Math.ceil(Math.log2((SLOT_SIGMAS * deviation * Math.sqrt(degree / 2)) / margin));
  return 2 * (largest * 2 ** scale + SIGMAS * deviation);
}

const checked = new Set<string>();

/** That a ring which a policy names is secure, and holds its sums exactly. */
export function checkRing(policy: Policy): void {
  const { backend, bits, max_clients: clients } = policy;
  const ring = ringOf(policy);
  if (ring === null) return;
  const name = JSON.stringify([backend, ring, bits, clients]);
  if (checked.has(name)) return;
  const { degree, sizes, plain } = ring;
  require(Object.hasOwn(MOST_BITS, degree), "the ring's degree is none of 4096, 8192 and 16384");
  const fits = sizes.length >= 2 && sizes.length <= 8 && sizes.every((size) => size >= 16 && size <= 60);
  require(fits, "the ring has too few primes or too many, or of another size than 16 to 60 bits");
  const whole = sizes.reduce((sum, size) => sum + size, 0);
  require(whole <= MOST_BITS[degree], `a modulus of ${whole} bits is less secure than 128 bits against quantum attacks`);
  require((backend === "bfv") === plain > 0, "a plaintext modulus goes with bfv, and only with it");
  const batches = plain === 0 || (plain % (2 * degree) === 1 && isPrime(BigInt(plain)));
  require(batches, "the plaintext modulus is no prime that is 1 modulo twice the degree");
  const q = dataPrimes(ring).reduce((product, prime) => product * prime, 1n);
  const most = 2 ** bits - 1;
  const base = clients * most + 1;
  require(base <= 2 ** 32 && (plain === 0 || base <= plain), "the ring's plaintexts hold no sum");
  const least = leastModulus(backend, ring, most, clients);
  require(least !== null && q > BigInt(Math.floor(least)), "the ring holds no exact sum");
  checked.add(name);
}
