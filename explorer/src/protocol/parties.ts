// Ids, rosters, and signatures over sets: docs/specification.md, sections 1, 3 and 11.

import { type Bytes, compare, compareText, equal, hex, require, u64, utf8 } from "../decoding/bytes.ts";
import { isIdCharacter } from "../decoding/id_characters.ts";
import { checkIdentity, checkSignature } from "../crypto/keys.ts";
import { digest, frame, root } from "../crypto/hash.ts";

export interface Member {
  name: string;
  public: Bytes;
}

export interface Signature {
  name: string;
  signature: Bytes;
}

export function checkId(name: string): void {
  const size = utf8(name).length;
  require(size >= 1 && size <= 128, "an id has a wrong length");
  // Of characters that are in the table the normal form is the same in every version of Unicode from 14.0 on.
  for (const char of name) require(isIdCharacter(char.codePointAt(0)!), "an id has a character that ids don't have");
  require(name.normalize("NFC") === name, "an id is not in normal form C");
}

/** Ids in increasing order of their UTF-8 bytes, each once. */
export function checkOrder(names: readonly string[], what: string): void {
  const keys = names.map(utf8);
  for (let i = 1; i < keys.length; i++) require(compare(keys[i - 1], keys[i]) < 0, `${what} are out of order`);
}

export function checkRoster(members: readonly Member[]): Map<string, Bytes> {
  for (const member of members) {
    checkId(member.name);
    require(member.public.length === 32, "an identity key has a wrong length");
    checkIdentity(member.public);
  }
  checkOrder(members.map((member) => member.name), "members");
  const keys = new Set(members.map((member) => hex(member.public)));
  require(keys.size === members.length, "an identity key is there twice");
  return new Map(members.map((member) => [member.name, member.public]));
}

export function sorted(members: Map<string, Bytes>): Member[] {
  return [...members].map(([name, key]) => ({ name, public: key })).sort((a, b) => compareText(a.name, b.name));
}

export function rosterRoot(members: Map<string, Bytes>): Bytes {
  return root(sorted(members).map((member) => frame("member", utf8(member.name), member.public)));
}

export function rosterDigest(members: Map<string, Bytes>): Bytes {
  return digest("roster", rosterRoot(members), u64(members.size));
}

/** The members with the least digests of beacon and id. */
export function draw(members: Map<string, Bytes>, size: number, beacon: Bytes): Map<string, Bytes> {
  if (size === 0) return members;
  const ranked = [...members].map(([name, key]) => ({ name, key, rank: digest("cohort", beacon, utf8(name)) }));
  ranked.sort((a, b) => compare(a.rank, b.rank));
  return new Map(ranked.slice(0, size).map(({ name, key }) => [name, key]));
}

export function sameMembers(a: Map<string, Bytes>, b: Map<string, Bytes>): boolean {
  return a.size === b.size && [...a].every(([name, key]) => equal(key, b.get(name) ?? new Uint8Array(0)));
}

/** In order, known, right, and as many as needed. */
export async function checkSigners(
  signatures: readonly Signature[],
  keys: Map<string, Bytes>,
  signed: Bytes,
  needed: number,
  what = "signature",
): Promise<void> {
  checkOrder(signatures.map((item) => item.name), "signers");
  require(signatures.length >= needed, `too few signatures: ${signatures.length}, ${needed} are needed`);
  for (const item of signatures) require(keys.has(item.name), `${item.name} has signed, and has no say in it`);
  await Promise.all(
    signatures.map((item) => checkSignature(keys.get(item.name)!, item.signature, signed, `${what} of ${item.name}`)),
  );
}
