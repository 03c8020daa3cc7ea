// Proofs of fault that are of any backend: docs/specification.md, sections 9, 16, 18 and 19.

import { type Bytes, equal, NONE, require, u64, unpack, utf8 } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { digest, frame, sha256Bulk } from "../../crypto/hash.ts";
import { checkIdentity, checkSignature } from "../../crypto/keys.ts";
import { N, toElements } from "../../crypto/ring.ts";
import { boundOf, sketchElements } from "../../zk/norm/bound.ts";
import { checkNormProof } from "../../zk/norm/proof.ts";
import { checkBackend } from "../config/limits.ts";
import { isBounded, isShared, rank } from "../config/layout.ts";
import { isSparse, readExhibit } from "../kinds/sparse.ts";
import { checkId, checkOrder } from "../parties.ts";
import {
  AdvertisementList, BoundedInput, EdgeRecord, FaultProof, HiddenInput, Opening, Roll, SignedAdvertisement, SignedEpoch,
  Unsealed,
} from "../records.ts";
import { openShares } from "../shares.ts";
import { sessionOf } from "../signed.ts";
import { advertisementOf, type Case, LIMIT, messageOf, refuses, shown } from "./case.ts";

export async function twoAdvertisements(found: Case): Promise<void> {
  const bodies: Bytes[] = [];
  for (const data of shown(found, 2)) {
    const { header, bulk } = await messageOf(found, data, "advertise", found.context);
    require(header.recipient === "" && bulk.length === 0, "an advertisement has no recipient and no bulk");
    bodies.push(header.body);
  }
  require(!equal(bodies[0], bodies[1]), "one advertisement twice");
}

export async function badNormProof(found: Case): Promise<void> {
  const [data, listed] = shown(found, 2);
  const { config, context, proof } = found;
  checkBackend(config.policy, config);
  require(isBounded(config.policy), "no norm is bounded");
  const session = isSparse(config)
    ? (await readExhibit(listed, config, context)).sid
    : sessionOf(context, decode(AdvertisementList, listed, LIMIT, "the advertisements").advertisements);
  require(unpack(data)[1].length === 0, "a message with its bulk");
  const { header } = await messageOf(found, data, "masked-input", session, true);
  const body = decode(HiddenInput, header.body, LIMIT, "an input");
  const part = decode(BoundedInput, body.backend, LIMIT, "an input's proof");
  toElements(body.commitment, rank(config) * N, "a commitment");
  const bound = boundOf(config.policy, config.weight_limit);
  const wrong = await refuses(async () => {
    const signed = frame("sketch", session, utf8(proof.culprit), part.sketch, await sha256Bulk(part.proof));
    await checkSignature(proof.public, part.signature, signed, "a sketch");
    require(part.sketch.length === 4 * sketchElements(bound), "a sketch of another length");
    const { commitment } = body;
    await checkNormProof({ context, session, name: proof.culprit, commitment, sketch: part.sketch, bound }, part.proof);
  });
  require(wrong, "the norm's proof is one");
}

/** The record that an edge's operator shows, and its nonce. */
async function unsealedBy(found: Case, data: Bytes) {
  const { header } = await messageOf(found, data, "unseal", found.context, true);
  require(header.recipient === "", "a message to somebody");
  const { record, nonce } = decode(Unsealed, header.body, LIMIT, "a record that was shown");
  return { encoded: record, record: decode(EdgeRecord, record, 1 << 16, "an edge's record"), nonce };
}

export async function edgeSeal(found: Case): Promise<void> {
  const [listed, message] = shown(found, 2);
  const { config, proof } = found;
  const roll = decode(Roll, listed, 1 << 20, "the roll");
  checkOrder(roll.edges.map((item) => item.name), "the roll");
  require(equal(digest("edge-roll", listed), config.instructions), "another roll than the configuration's");
  const { encoded, record, nonce } = await unsealedBy(found, message);
  const seal = roll.edges.find((item) => item.name === proof.culprit)?.seal;
  require(seal !== undefined, "the culprit is not on the roll");
  // Task, round and attempt are those that the record says, as whoever sealed it has to have taken them.
  const made = digest(
    "edge", utf8(config.task), u64(record.round), u64(record.attempt), utf8(proof.culprit),
    digest("edge-record", encoded), record.commitment_sum, nonce,
  );
  require(!equal(made, seal), "the record is the sealed one");
}

export async function edgeCommitment(found: Case): Promise<void> {
  const [advertised, opened, message] = shown(found, 3);
  const { config, context, proof } = found;
  checkBackend(config.policy, config);
  require(decode(SignedAdvertisement, advertised, LIMIT, "an advertisement").name === proof.culprit, "somebody else's");
  const body = await advertisementOf(found, advertised);
  const { name, commitment, nonce } = decode(Opening, opened, LIMIT, "an opening");
  require(name === proof.culprit, "somebody else's opening");
  const { record } = await unsealedBy(found, message);
  let [hash, whole] = [NONE, commitment];
  if (isShared(config.policy)) {
    const found_ = openShares(context, config, name, body.backend, nonce, commitment);
    [hash, whole] = [found_.hash, found_.commitment];
  } else {
    require(nonce.length === 32, "a nonce has a wrong length");
    toElements(commitment, rank(config) * N, "a commitment");
    const where = [utf8(config.task), u64(config.round), u64(config.attempt)];
    hash = digest("commitment-hash", ...where, utf8(name), commitment, nonce);
  }
  require(equal(hash, body.commitment_hash), "the opening is not of what was advertised");
  require(!equal(whole, record.commitment_sum), "the commitment is the sum of the edge's members'");
}

/** `two-epochs`, which has no configuration. */
export async function checkTwoEpochs(data: Bytes): Promise<SignedEpochs> {
  const proof = decode(FaultProof, data, LIMIT, "the proof of fault");
  require(proof.format === "secure-agg/fault/1" && proof.kind === "two-epochs", "another format of proof");
  require(proof.config.length === 0 && proof.setup.length === 0, "a configuration that nobody needs");
  checkIdentity(proof.public);
  checkId(proof.culprit);
  require(proof.exhibits.length === 2, "another number of exhibits");
  const [first, second] = proof.exhibits.map((item) => decode(SignedEpoch, item, LIMIT, "an exhibit"));
  require(first.task === second.task && equal(first.previous_epoch, second.previous_epoch), "of two different epochs");
  require(!equal(first.body, second.body), "one epoch twice");
  for (const item of [first, second]) {
    const signed = frame("epoch-authorise", utf8(item.task), item.previous_epoch, item.body);
    await checkSignature(proof.public, item.signature, signed, "an authorisation");
  }
  return { kind: proof.kind, culprit: proof.culprit, public: proof.public, task: first.task };
}

export interface SignedEpochs {
  kind: string;
  culprit: string;
  public: Bytes;
  task: string;
}

