// Public randomness that draws cohorts: docs/specification.md, section 3, *Beacons*.

import { bls12_381 as bls } from "@noble/curves/bls12-381.js";
import { type Bytes, equal, Refused, require, u64be } from "../decoding/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encode } from "../decoding/messagepack.ts";
import { BeaconSource, type RoundConfig } from "./records.ts";

const SCHEME = "bls-unchained-g1-rfc9380";
const SUITE = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
const DRAWS = 16n;

interface Point {
  toBytes(compressed: boolean): Uint8Array;
  is0(): boolean;
  isTorsionFree(): boolean;
}

/** A compressed point in canonical form, in the subgroup of prime order, and not the point at infinity. */
function point<T extends Point>(read: (data: Uint8Array) => T, data: Bytes, size: number, what: string): T {
  require(data.length === size && (data[0] & 0x80) !== 0, `${what} has a wrong length or form`);
  let found: T;
  try {
    found = read(data);
  } catch {
    throw new Refused(`${what} is no point`);
  }
  require(!found.is0() && found.isTorsionFree(), `${what} is not of the group`);
  require(equal(found.toBytes(true), data), `${what} is not canonical`);
  return found;
}

function publicKey(data: Bytes) {
  return point((bytes) => bls.G2.Point.fromBytes(bytes), data, 96, "a beacon's key");
}

export function checkSource(source: BeaconSource): void {
  require(source.scheme === SCHEME, "another scheme of beacon");
  require(source.first >= 1n && source.first <= 2n ** 53n, "first of a beacon is out of range");
  require(source.step >= 1n && source.step <= 2n ** 32n, "step of a beacon is out of range");
  require(source.genesis <= 2n ** 53n && source.period <= 2n ** 32n, "times of a beacon are out of range");
  require((source.genesis === 0n) === (source.period === 0n), "a beacon has a genesis without a period");
  require(encode(BeaconSource, source).length <= 512, "a beacon is too long");
  publicKey(source.key);
}

/** Number of the pulse that draws. */
export function pulseNumber(source: BeaconSource, round: bigint, draw: number): bigint {
  require(round < 2n ** 16n && BigInt(draw) < DRAWS, "no pulse draws this");
  const found = source.first + (DRAWS * round + BigInt(draw)) * source.step;
  require(found < 2n ** 64n, "no pulse has so large a number");
  return found;
}

export function checkPulse(key: Bytes, pulse: bigint, signature: Bytes): void {
  const public_ = publicKey(key);
  const signed = point((bytes) => bls.G1.Point.fromBytes(bytes), signature, 48, "a pulse");
  const hashed = bls.G1.hashToCurve(sha256(u64be(pulse)), { DST: SUITE });
  const left = bls.pairing(signed, bls.G2.Point.BASE);
  const right = bls.pairing(bls.G1.Point.fromAffine(hashed.toAffine()), public_);
  require(bls.fields.Fp12.eql(left, right), "not the pulse of the beacon");
}

/** That the randomness in a configuration is the pulse which has to draw its cohort. */
export function checkBeacon(source: BeaconSource, config: RoundConfig): void {
  checkSource(source);
  checkPulse(source.key, pulseNumber(source, config.round, config.draw), config.beacon);
}
