// Public keys of backend `paillier`: docs/specification.md, section 8.

import { type Bytes, littleEndian, require } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { floorRoot } from "../config/integers.ts";
import { committee, option } from "../config/layout.ts";
import { PaillierPublic, type Policy } from "../records.ts";
import { divisorOf, isPrime, primesBelow } from "./primes.ts";

const SMALL_BITS = 16;
const MOST_MEMBERS = 64;

/** A modulus that is none: even, prime, a power, or with a small factor. That it is a product of two nobody can see. */
export function checkModulus(n: bigint): void {
  const primes = primesBelow(2 ** SMALL_BITS);
  require(primes.every((p) => n % BigInt(p) !== 0n), "the modulus has a factor below 2^16");
  require(!isPrime(n), "the modulus is prime");
  const most = Math.floor(n.toString(2).length / SMALL_BITS); // of a higher power the root would have a small factor
  for (const k of primes.filter((p) => p <= most)) {
    require(floorRoot(n, k) ** BigInt(k) !== n, "the modulus is a perfect power");
  }
}

/** That a key is one of the length, and is shared as the policy says: among those who have signed it. */
export function checkPaillierKey(data: Bytes, policy: Policy, signers: readonly string[]): string {
  const key = decode(PaillierPublic, data, 1 << 20, "the encryption key");
  const bits = option(policy, "modulus_bits", 3072);
  const n = littleEndian(key.modulus);
  require(8 * key.modulus.length === bits && n >> BigInt(bits - 1) === 1n, "the modulus has another length");
  checkModulus(n);
  const { holders, needed } = committee(policy);
  require(key.threshold === needed && key.verification.length === key.members.length, "a key that is split otherwise");
  if (holders === 1) {
    require(key.members.length === 0 && key.base.length === 0, "a key that is split, and the policy's is whole");
    return `a modulus of ${bits} bits, in one hand`;
  }
  require(key.members.length <= MOST_MEMBERS && needed >= 2, "a key of too many, or of one");
  const same = key.members.length === signers.length && key.members.every((name, i) => name === signers[i]);
  require(same, "the key is shared among others than have signed it");
  for (const value of [key.base, ...key.verification]) {
    require(value.length === bits / 4, "a verification key has another length");
    const number = littleEndian(value);
    require(number > 0n && number < n * n && divisorOf(number, n) === 1n, "a verification key is no unit");
  }
  return `a modulus of ${bits} bits, of which ${needed} of ${holders} open together`;
}
