// Proofs of fault of a screened round: docs/specification.md, section 7.

import { type Bytes, equal, require, unpack, utf8 } from "../../decoding/bytes.ts";
import { decode, type Kind, type Of } from "../../decoding/messagepack.ts";
import { digest, kdf } from "../../crypto/hash.ts";
import { agreement, exchangePublic } from "../../crypto/keys.ts";
import { add, addTo, N, sub, toElements } from "../../crypto/ring.ts";
import { commitElements } from "../../zk/commitment.ts";
import { sketchElements } from "../../zk/norm/bound.ts";
import { commitSketch, sketch, sketchKey } from "../../zk/norm/sketch.ts";
import { covered, half, hashedElements, maskBits, randomness, rank } from "../config/layout.ts";
import { checkShown } from "../kinds/sparse.ts";
import { checkRoster, rosterRoot } from "../parties.ts";
import { checkRanges } from "../sums.ts";
import {
  Agreed, BoundedInput, Charges, Cohort, Countersigned, FailedSum, Header, HiddenInput, KeyShares, MaskedPart,
  Screening, ShownCharges, SmallerSet,
} from "../records.ts";
import { type Case, isRefusal, LIMIT, readOrNull, refuses } from "./case.ts";
import { keysOf, Masks, readSession, type Session } from "./masks.ts";

type Checker = (masks: Masks, ...exhibits: Bytes[]) => Promise<void>;

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.every((value, i) => value === b[i]);
}

async function badInput(masks: Masks, sent: Bytes, reported: Bytes): Promise<void> {
  const said = await masks.report(reported);
  const { header, bulk } = await masks.message(sent, "masked-input");
  if (said === null) return;
  const { config } = masks.found;
  const body = readOrNull(HiddenInput, header.body);
  if (body === null) return;
  let backend: Bytes = body.backend;
  let [sketched, vector, committed]: (Float64Array | null)[] = [null, null, null];
  try {
    if (masks.bound) {
      const bounded = decode(BoundedInput, backend, LIMIT, "an input's proof");
      backend = bounded.backend;
      sketched = toElements(bounded.sketch, sketchElements(masks.bound), "a sketch");
    }
    vector = toElements(bulk, masks.length, "a masked vector");
    committed = toElements(body.commitment, rank(config) * N, "a commitment");
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return;
  }
  const part = readOrNull(MaskedPart, backend);
  if (part === null || !equal(part.seed_hash, said.seedHash)) return;
  if (part.active.length !== said.peers.length || !same(part.active, said.peers)) return;
  let total = (await masks.ofCommitted(said.listed, committed, sketched)).map((value, i) => add(value, said.own[i]));
  said.peers.forEach((peer, at) => {
    const sign = masks.me < peer ? add : sub;
    total = total.map((value, i) => sign(value, said.others[at][i]));
  });
  require(!same(total, await masks.ofVector(said.listed, vector)), "its numbers explain its input");
}

async function badEdge(masks: Masks, reported: Bytes, dealt: Bytes, peer: Bytes, secret: Bytes): Promise<void> {
  const said = await masks.report(reported);
  const other = masks.names.findIndex((name) => equal(utf8(name), peer));
  require(other >= 0, "the peer did not advertise");
  const { header } = await masks.message(dealt, "share-keys");
  const { edges } = decode(KeyShares, header.body, LIMIT, "the shares that were dealt");
  const confirmation = edges.find((edge) => edge.peer === other)?.confirmation;
  const made = kdf(secret, "key-confirmation", masks.sid, masks.name(masks.me), peer).slice(0, 16);
  require(confirmation !== undefined && equal(confirmation, made), "another secret than was confirmed");
  if (said === null) return;
  const at = said.peers.indexOf(other);
  require(at >= 0, "it said nothing of this mask");
  const found = await masks.ofMask(said.listed, masks.pairMask(secret, other));
  require(!same(said.others[at], found), "its number is right");
}

async function badSelfMask(masks: Masks, reported: Bytes, seed: Bytes): Promise<void> {
  const said = await masks.report(reported);
  require(seed.length >= 32, "the seed is too short");
  if (said === null) return;
  require(equal(masks.seedHash(seed), said.seedHash), "another seed than was announced");
  const found = await masks.ofMask(said.listed, kdf(seed, "self-mask", masks.sid, masks.name(masks.me)));
  require(!same(said.own, found), "its number is right");
}

async function badLostEdge(masks: Masks, reported: Bytes, secret: Bytes): Promise<void> {
  const said = await masks.report(reported);
  require(secret.length === 32, "the secret has a wrong length");
  require((secret[0] & 7) === 0 && (secret[31] & 0xc0) === 0x40, "the secret is not in its one spelling");
  const { agreed, own } = agreement(secret, masks.key);
  const peer = masks.owner(own);
  if (said === null) return;
  const at = said.peers.indexOf(peer);
  require(at >= 0, "it said nothing of this mask");
  const found = await masks.ofMask(said.listed, masks.pairMask(agreed, peer));
  require(!same(said.others[at], found), "its number is right");
}

async function badSeedShares(masks: Masks, dealt: Bytes, shown: Bytes, reported: Bytes): Promise<void> {
  const seed = await masks.rebuilt(dealt, shown, "self-seed");
  const said = await masks.report(reported);
  const right = seed !== null && said !== null && equal(masks.seedHash(seed), said.seedHash);
  require(!right, "the shares rebuild the seed");
}

async function badKeyShares(masks: Masks, dealt: Bytes, shown: Bytes): Promise<void> {
  const secret = await masks.rebuilt(dealt, shown, "mask-key");
  const right = secret !== null && equal(exchangePublic(secret), masks.key);
  require(!right, "the shares rebuild the key");
}

/** What an aggregator has shown in a phase, without a set's signatures. */
async function shownIn(masks: Masks, data: Bytes, phase: string): Promise<Bytes> {
  require(!masks.names.includes(masks.found.proof.culprit), "a client shows nothing");
  const { body } = (await masks.message(data, phase)).header;
  if (phase === "screen") return body;
  const agreed: typeof Agreed | typeof Countersigned = masks.session.shown ? Countersigned : Agreed;
  return decode<{ backend: Bytes }>(agreed as Kind<{ backend: Bytes }>, body, LIMIT, "what was shown").backend;
}

/** Charges, and the session in which they have to be proved: in a sparse one only what is shown with them speaks. */
async function chargesIn(masks: Masks, data: Bytes): Promise<{ items: Of<typeof Charges>["items"]; session: Session }> {
  const { session, found } = masks;
  if (session.shown === null) return { ...decode(Charges, data, LIMIT, "the charges"), session };
  const { backend } = decode(SmallerSet, data, LIMIT, "the set without those charged");
  const { items, shown } = decode(ShownCharges, backend, LIMIT, "the charges");
  const bodies = await checkShown(session.shown, shown, found.context);
  return { items, session: { ...session, keys: keysOf(bodies) } };
}

async function twoScreenings(masks: Masks, first: Bytes, second: Bytes): Promise<void> {
  const phase = masks.phaseOf(first);
  const bodies = [await shownIn(masks, first, phase), await shownIn(masks, second, phase)];
  for (const body of bodies) {
    if (phase === "screen") decode(Screening, body, LIMIT, "a list");
    else decode(FailedSum, body, LIMIT, "a sum");
  }
  require(!equal(bodies[0], bodies[1]), "one list twice");
}

/** Refused unless a sum that is said to have failed has. */
export async function checkFailed(masks: Masks, listed: ReadonlyMap<number, Bytes>, claim: Bytes): Promise<void> {
  const { inputs, total } = decode(FailedSum, claim, LIMIT, "a failed sum");
  const { config } = masks.found;
  const { policy } = config;
  const [k, n, bound] = [rank(config), inputs.length, masks.bound!];
  const inOrder = inputs.every((item, i) => i === 0 || inputs[i - 1].client < item.client);
  require(n > 0 && n <= policy.max_clients && inOrder, "clients are not in order, or too many");
  const [hashes, sketches] = [new Float64Array(k * N), new Float64Array(sketchElements(bound))];
  for (const item of inputs) {
    const sketched = digest("screened-sketch", item.sketch, item.proof);
    const value = digest("screened-input", item.commitment, item.vector, sketched);
    const accepted = listed.get(item.client);
    require(accepted !== undefined && equal(accepted, value), "another input than was accepted");
    addTo(hashes, toElements(item.commitment, hashes.length, "a commitment"));
    addTo(sketches, toElements(item.sketch, sketches.length, "a sketch"));
  }
  const all = toElements(total, masks.length, "a sum");
  const [count, width] = [hashedElements(config), randomness(config)];
  const [x, t, noise] = [all.subarray(0, count), all.subarray(count, count + width), all.subarray(count + width)];
  const most = (values: Float64Array): number => values.reduce((a, b) => Math.max(a, b), 0);
  checkRanges(x, n, config);
  require(most(t) <= n * (2 ** maskBits(policy) - 1), "T is out of range");
  require(most(noise) <= 3 * n, "T' is out of range");
  const made = await commitElements(x, t, k);
  require(made.every((value, i) => value === hashes[i]), "the sum is another");
  const centred = x.slice(0, covered(config)).map((value) => value - n * half(policy));
  const v = await sketch(sketchKey(masks.sid), centred);
  const again = await commitSketch(bound, v, new Float64Array(bound.L + bound.e), noise);
  const [split, end] = [bound.rho * N, (bound.rho + 1) * N];
  require(again.subarray(0, split).every((value, i) => value === sketches[i]), "T' is another");
  const right = again.subarray(split, end).every((value, i) => value === sketches[split + i]);
  require(!right, "the sum's sketch is right");
}

async function falseClaim(masks: Masks, first: Bytes, second: Bytes): Promise<void> {
  require(masks.testsSketches, "no sketches are tested");
  const { inputs } = decode(Screening, await shownIn(masks, first, "screen"), LIMIT, "a list");
  const claim = await shownIn(masks, second, "screen-sketches");
  const listed = new Map(inputs.map((item) => [item.client, item.value]));
  require(await refuses(() => checkFailed(masks, listed, claim)), "the sum has failed");
}

async function falseCharge(masks: Masks, cohort: Bytes, request: Bytes): Promise<void> {
  const { found } = masks;
  const members = checkRoster(decode(Cohort, cohort, LIMIT, "the cohort").members);
  require(equal(rosterRoot(members), found.config.cohort_root), "another cohort");
  require(members.size === found.config.cohort_size, "another cohort");
  require(masks.names.every((name) => members.has(name)), "somebody who advertised is not in the cohort");
  const { phase } = decode(Header, unpack(request)[0], LIMIT, "a message");
  const named = /^excise-(sketches-)?([1-9][0-9]*)$/.exec(phase);
  const known = named !== null && Number(named[2]) <= found.config.policy.max_corrupt
    && (named[1] === undefined || masks.testsSketches);
  require(known, "nobody is charged in this phase");
  const charges = await shownIn(masks, request, phase);
  const wrong = await refuses(async () => {
    const { items, session } = await chargesIn(masks, charges);
    for (const item of items) {
      const name = masks.names[item.culprit];
      require(name !== undefined && Object.hasOwn(OF_CLIENTS, item.kind), "a charge against nobody, or of no kind");
      const [count, checker] = OF_CLIENTS[item.kind];
      require(item.exhibits.length === count, "another number of exhibits");
      const proof = { ...found.proof, kind: item.kind, culprit: name, public: members.get(name)! };
      await checker(new Masks({ ...found, proof }, session), ...item.exhibits);
    }
  });
  require(wrong, "every charge is proved");
}

const OF_CLIENTS: Readonly<Record<string, readonly [number, Checker]>> = {
  "bad-input": [2, badInput],
  "bad-edge": [4, badEdge],
  "bad-self-mask": [2, badSelfMask],
  "bad-lost-edge": [2, badLostEdge],
  "bad-seed-shares": [3, badSeedShares],
  "bad-key-shares": [2, badKeyShares],
};
const OF_AGGREGATORS: Readonly<Record<string, readonly [number, Checker]>> = {
  "two-screenings": [2, twoScreenings],
  "false-claim": [2, falseClaim],
  "false-charge": [2, falseCharge],
};
export const SCREENING_KINDS = [...Object.keys(OF_CLIENTS), ...Object.keys(OF_AGGREGATORS)];

/** Of a case in backend `masking`, but for the kinds that all backends have. */
export async function checkScreening(found: Case): Promise<void> {
  const { kind, exhibits } = found.proof;
  require(SCREENING_KINDS.includes(kind), "this backend has no such fault");
  const [count, checker] = OF_CLIENTS[kind] ?? OF_AGGREGATORS[kind];
  require(exhibits.length === count + 1, "another number of exhibits");
  const masks = new Masks(found, await readSession(found, exhibits[0]));
  if (Object.hasOwn(OF_CLIENTS, kind)) require(masks.me >= 0, "no client");
  await checker(masks, ...exhibits.slice(1));
}

