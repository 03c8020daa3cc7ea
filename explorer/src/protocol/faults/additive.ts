// Proofs of fault of backend `additive`: docs/specification.md, section 9.

import { type Bytes, equal, require, u64, utf8 } from "../../decoding/bytes.ts";
import { decode, encode } from "../../decoding/messagepack.ts";
import { digest, frame, kdf, root } from "../../crypto/hash.ts";
import { checkSignature, unseal } from "../../crypto/keys.ts";
import { KeyStream } from "../../crypto/keystream.ts";
import { addTo, fromElements, N, toElements } from "../../crypto/ring.ts";
import { commit } from "../../zk/commitment.ts";
import { aggregators, hashedElements, rank, sharedLength, threshold } from "../config/layout.ts";
import { checkLimits } from "../config/limits.ts";
import { MAX_CONFIG } from "../participants.ts";
import { PartialSum, Policy, Revealed, RoundConfig, ShareLetter, Statement } from "../records.ts";
import { combine, hashesBytes, openedShares, shareHash, sharesHash, wholeHash } from "../shares.ts";
import { advertisementOf, type Case, LIMIT, messageOf, refuses, shown } from "./case.ts";

function session(found: Case): Bytes {
  return digest("session", found.context);
}

/** Of all that a client signs of its shares. */
function hashesSize(found: Case): number {
  return hashesBytes(found.config.policy);
}

/** Of the culprit among the aggregators. */
function party(found: Case): number {
  const index = found.aggregators.findIndex((item) => item.name === found.proof.culprit);
  require(index >= 0 && equal(found.aggregators[index].identity, found.proof.public), "the culprit is no aggregator");
  return index;
}

/** The parties that get long shares of a client. */
export function longParties(context: Bytes, client: string, policy: Policy): Set<number> {
  const k = aggregators(policy);
  const hashed = digest("long-share", context, utf8(client));
  const start = Number(new DataView(hashed.buffer).getBigUint64(0, true) % BigInt(k));
  return new Set(Array.from({ length: k - threshold(policy) + 1 }, (_, i) => (start + i) % k));
}

/** Section 5's map of a whole vector or share. */
async function commitVector(config: RoundConfig, vector: Float64Array): Promise<Bytes> {
  const split = hashedElements(config);
  return commit(vector.subarray(0, split), vector.subarray(split), rank(config));
}

async function letterOf(found: Case, data: Bytes) {
  const { header, bulk } = await messageOf(found, data, "share", session(found));
  const letter = decode(ShareLetter, header.body, 1 << 16, "a letter");
  require(letter.hashes.length === hashesSize(found), "the hashes have a wrong length");
  return { letter, bulk, recipient: header.recipient };
}

/** The entries of a statement and their root. */
function statementOf(data: Bytes) {
  const { entries } = decode(Statement, data, LIMIT, "a statement");
  return { entries, root: root(entries.map((entry) => frame("survivor", utf8(entry.name), entry.value))) };
}

async function revealedBy(found: Case, data: Bytes, expected: Bytes) {
  const { header, bulk } = await messageOf(found, data, "reveal-commitments", session(found));
  const fields = decode(Revealed, header.body, LIMIT, "what was revealed");
  require(equal(fields.root, expected), "commitments of another set");
  return { nonces: fields.nonces, bulk };
}

export async function twoCommitments(found: Case): Promise<void> {
  const [advertised, data] = shown(found, 2);
  const body = await advertisementOf(found, advertised);
  const { letter } = await letterOf(found, data);
  const made = sharesHash(found.context, found.proof.culprit, letter.hashes);
  const same = equal(made, body.commitment_hash) && equal(letter.hashes, body.backend);
  require(!same, "the commitments of the letter are those that were advertised");
}

export async function badShare(found: Case): Promise<void> {
  const [data, key] = shown(found, 2);
  const { letter, bulk, recipient } = await letterOf(found, data);
  const { culprit } = found.proof;
  const number = found.aggregators.findIndex((item) => item.name === recipient);
  require(number >= 0, "a letter to no aggregator");
  const [client, aggregator] = [utf8(culprit), utf8(recipient)];
  const hashed = digest("share-key-hash", session(found), client, aggregator, key);
  require(equal(hashed, letter.key_hash), "another key than the letter is bound to");
  const open = (at: number, sealed: Bytes): Promise<Bytes> => {
    const nonce = new Uint8Array(12);
    nonce[11] = at;
    return unseal(key, nonce, sealed, frame("share", session(found), client, aggregator, letter.hashes));
  };
  const length = sharedLength(found.config);
  const wrong = await refuses(async () => {
    const plain = await open(0, letter.sealed);
    let share: Float64Array;
    if (longParties(found.context, culprit, found.config.policy).has(number)) {
      require(plain.length === 32, "the letter has a wrong length");
      share = toElements(await open(1, bulk), length, "a share");
    } else {
      require(plain.length === 64 && bulk.length === 0, "the letter has a wrong length");
      const stream = kdf(plain.slice(32), "share-stream", session(found), client, aggregator);
      share = await new KeyStream(stream).prg(length);
    }
    const committed = await commitVector(found.config, share);
    const made = shareHash(found.context, culprit, number, committed, plain.slice(0, 32));
    require(equal(made, letter.hashes.slice(32 * number, 32 * (number + 1))), "another share than advertised");
  });
  require(wrong, "the share is the one that was advertised");
}

export async function badShares(found: Case): Promise<void> {
  const [advertised, opened, commitments] = shown(found, 3);
  const { policy } = found.config;
  const hashes = (await advertisementOf(found, advertised)).backend;
  require(hashes.length === hashesSize(found), "the hashes have a wrong length");
  const parts = openedShares(opened, commitments, found.config);
  require(parts.length >= threshold(policy), "too few shares");
  for (const part of parts) {
    const made = shareHash(found.context, found.proof.culprit, part.party, part.commitment, part.nonce);
    require(equal(made, hashes.slice(32 * part.party, 32 * (part.party + 1))), "a share is not what was advertised");
  }
  const wrong = await refuses(() => {
    const length = rank(found.config) * N;
    const at = 32 * aggregators(policy);
    const shares = new Map(parts.map((part) => [part.party, toElements(part.commitment, length, "a commitment")]));
    const whole = wholeHash(found.context, found.proof.culprit, fromElements(combine(shares, policy)));
    require(equal(whole, hashes.slice(at, at + 32)), "the shares combine to something else");
  });
  require(wrong, "the shares combine to what was signed");
}

export async function badReveal(found: Case): Promise<void> {
  const [stated, hashes, message] = shown(found, 3);
  const number = party(found);
  const { entries, root: expected } = statementOf(stated);
  const { nonces, bulk } = await revealedBy(found, message, expected);
  const size = 4 * rank(found.config) * N;
  if (nonces.length !== 32 * entries.length || bulk.length !== size * entries.length) return;
  const wrong = entries.some((entry, i) => {
    if (!equal(entry.value, sharesHash(found.context, entry.name, hashes))) return false;
    const [part, nonce] = [bulk.slice(size * i, size * (i + 1)), nonces.slice(32 * i, 32 * (i + 1))];
    const made = shareHash(found.context, entry.name, number, part, nonce);
    return !equal(made, hashes.slice(32 * number, 32 * (number + 1)));
  });
  require(wrong, "what was revealed is what was advertised, or the hashes are no client's");
}

export async function badPartialSum(found: Case): Promise<void> {
  const [stated, first, second] = shown(found, 3);
  party(found);
  const { entries, root: expected } = statementOf(stated);
  const { bulk: revealed } = await revealedBy(found, first, expected);
  const { header, bulk } = await messageOf(found, second, "partial-sum", session(found));
  const said = decode(PartialSum, header.body, LIMIT, "a partial sum");
  require(equal(said.root, expected), "a sum over another set");
  const length = rank(found.config) * N;
  require(entries.length > 0, "a sum of nothing");
  require(revealed.length === 4 * length * entries.length, "the commitments have a wrong length");
  const wrong = await refuses(async () => {
    const total = new Float64Array(length);
    for (let i = 0; i < entries.length; i++) {
      addTo(total, toElements(revealed.slice(4 * length * i, 4 * length * (i + 1)), length, "a commitment"));
    }
    const sum = toElements(bulk, sharedLength(found.config), "a partial sum");
    require(equal(await commitVector(found.config, sum), fromElements(total)), "another sum");
  });
  require(wrong, "the partial sum is right");
}

export async function twoSets(found: Case): Promise<void> {
  const [first, firstSignature, other, second, secondSignature] = shown(found, 5);
  party(found);
  const { config } = found;
  const next = decode(RoundConfig, other, MAX_CONFIG, "the other configuration");
  checkLimits(next);
  const same = next.task === config.task && next.round === config.round && equal(next.operators, config.operators)
    && equal(encode(Policy, next.policy), encode(Policy, config.policy));
  require(same, "two different rounds");
  const signed: Bytes[] = [];
  for (const [context, statement, signature] of [
    [found.context, first, firstSignature],
    [digest("round-config", other), second, secondSignature],
  ]) {
    const { entries, root: leaves } = statementOf(statement);
    signed.push(frame("agreement", digest("session", context), u64(entries.length), leaves));
    await checkSignature(found.proof.public, signature, signed[signed.length - 1], "an agreement");
  }
  require(!equal(signed[0], signed[1]), "one set twice");
}

