// Backends whose aggregators hold shares: docs/specification.md, sections 9 and 10.

import { type Bytes, equal, hex, require, utf8 } from "../decoding/bytes.ts";
import { decode } from "../decoding/messagepack.ts";
import { digest, frame } from "../crypto/hash.ts";
import { checkExchangeKey, checkSignature } from "../crypto/keys.ts";
import { add, fromElements, inverse, mul, N, reduce, toElements } from "../crypto/ring.ts";
import { aggregators, honest, rank, threshold } from "./config/layout.ts";
import { checkRoster } from "./parties.ts";
import { AggregatorSet, OpenedShares, type Policy, type RoundConfig } from "./records.ts";

export interface Aggregator {
  name: string;
  identity: Bytes;
  channel: Bytes;
}

/** The aggregators of a round, in order. */
export async function checkSetup(config: RoundConfig, setup: Bytes): Promise<Aggregator[]> {
  require(equal(config.setup, digest("setup", setup)), "another setup than the configuration's");
  const { members, bases } = decode(AggregatorSet, setup, 1 << 16, "the setup");
  require((bases !== undefined) === honest(config.policy) > 0, "bases where there are none, or none");
  require(members.length === aggregators(config.policy), "another number of aggregators");
  checkRoster(members.map((member) => ({ name: member.name, public: member.identity })));
  for (const member of members) checkExchangeKey(member.channel);
  await Promise.all(members.map((member) => {
    const signed = frame("channel-key", utf8(member.name), member.channel);
    return checkSignature(member.identity, member.signature, signed, `the channel key of ${member.name}`);
  }));
  const channels = new Set(members.map((member) => hex(member.channel)));
  require(channels.size === members.length, "a channel key is there twice");
  return members;
}

/** Bytes of all that a client signs of its shares: h_0 ‖ … ‖ h, and behind it, in a buffered round, its base. */
export function hashesBytes(policy: Policy): number {
  return 32 * (aggregators(policy) + (honest(policy) ? 2 : 1));
}

/** h_a. */
export function shareHash(context: Bytes, client: string, party: number, commitment: Bytes, nonce: Bytes): Bytes {
  return digest("share-commitment", context, utf8(client), new Uint8Array([party]), commitment, nonce);
}

/** D_i. */
export function sharesHash(context: Bytes, client: string, hashes: Bytes): Bytes {
  return digest("share-commitments", context, utf8(client), hashes);
}

/** h, which the shares' commitments have to combine to. */
export function wholeHash(context: Bytes, client: string, commitment: Bytes): Bytes {
  return digest("whole-commitment", context, utf8(client), commitment);
}

/** The value at a place of the polynomial through the first degree + 1 of the shares, by party. */
function valueAt(shares: Map<number, Float64Array>, degree: number, place: number): Float64Array {
  const chosen = [...shares.keys()].slice(0, degree + 1);
  const total = new Float64Array(shares.get(chosen[0])!.length);
  for (const party of chosen) {
    let factor = 1;
    for (const other of chosen) {
      if (other !== party) factor = mul(factor, mul(reduce(place - other - 1), inverse(reduce(party - other))));
    }
    const share = shares.get(party)!;
    for (let i = 0; i < total.length; i++) total[i] = add(total[i], mul(share[i], factor));
  }
  return total;
}

/** What is shared, after the check that the shares fit together. */
export function combine(shares: Map<number, Float64Array>, policy: Policy): Float64Array {
  const [k, t] = [aggregators(policy), threshold(policy)];
  require(shares.size >= t, "too few parties revealed their shares' commitments");
  if (t === k) {
    const total = new Float64Array(shares.values().next().value!.length);
    for (const share of shares.values()) for (let i = 0; i < total.length; i++) total[i] = add(total[i], share[i]);
    return total;
  }
  for (const party of [...shares.keys()].slice(t)) {
    const expected = valueAt(shares, t - 1, party + 1);
    const share = shares.get(party)!;
    require(expected.every((value, i) => value === share[i]), "the shares' commitments lie on no polynomial");
  }
  return valueAt(shares, t - 1, 0);
}

export interface Part {
  party: number;
  commitment: Bytes;
  nonce: Bytes;
}

/** Of every party that revealed a commitment. */
export function openedShares(opened: Bytes, commitments: Bytes, config: RoundConfig): Part[] {
  const { parties, nonces } = decode(OpenedShares, opened, 4096, "opened shares");
  const length = 4 * rank(config) * N;
  require(parties.every((party, i) => i === 0 || parties[i - 1] < party), "parties are out of order");
  require(parties.every((party) => party < aggregators(config.policy)), "there is no such party");
  require(nonces.length === 32 * parties.length, "the nonces have a wrong length");
  require(commitments.length === length * parties.length, "the commitments have a wrong length");
  return parties.map((party, i) => ({
    party,
    commitment: commitments.slice(length * i, length * (i + 1)),
    nonce: nonces.slice(32 * i, 32 * (i + 1)),
  }));
}

/** The encoded commitment that a client's shares combine to, and D_i. */
export function openShares(
  context: Bytes,
  config: RoundConfig,
  client: string,
  hashes: Bytes,
  opened: Bytes,
  commitments: Bytes,
): { commitment: Bytes; hash: Bytes } {
  const shares = new Map<number, Float64Array>();
  for (const { party, commitment, nonce } of openedShares(opened, commitments, config)) {
    const expected = hashes.slice(32 * party, 32 * (party + 1));
    const made = shareHash(context, client, party, commitment, nonce);
    require(equal(made, expected), "a share is not what was advertised");
    shares.set(party, toElements(commitment, rank(config) * N, "the commitment of a share"));
  }
  const commitment = fromElements(combine(shares, config.policy));
  const at = 32 * aggregators(config.policy);
  const whole = hashes.slice(at, at + 32);
  require(equal(wholeHash(context, client, commitment), whole), "the shares combine to another commitment");
  return { commitment, hash: sharesHash(context, client, hashes) };
}

