// The records of docs/specification.md, with their fields in order. Whoever adds a field adds it here.

import { bin, bin32, bin64, bool, float, int, intOrMore, list, num, type Of, record, str } from "../decoding/messagepack.ts";

export const Option = record({ name: str, value: intOrMore });
export const Policy = record({
  backend: str,
  options: list(Option),
  clip: float,
  bits: num,
  commit_packed: bool,
  max_error: float,
  max_weight: num,
  weight_scale: num,
  weight_span: num,
  first_weight: num,
  cohort_size: num,
  max_clients: num,
  min_clients: num,
  min_advertised: num,
  max_corrupt: num,
  max_parameters: num,
}, true);
export type Policy = Of<typeof Policy>;

export const RoundConfig = record({
  protocol: str,
  task: str,
  round: int,
  attempt: int,
  epoch: int,
  generation: int,
  draw: num,
  start_model: bin32,
  base_model: bin32,
  instructions: bin32,
  previous_record: bin32,
  renounced: bin32,
  policy: Policy,
  weight_limit: num,
  shapes: list(list(num)),
  cohort_size: num,
  cohort_root: bin32,
  beacon: bin,
  operators: bin32,
  log_key: bin,
  witnesses: bin32,
  setup: bin,
}, true);
export type RoundConfig = Of<typeof RoundConfig>;

// 6
export const Advertisement = record({ commitment_hash: bin32, backend: bin });
export const SignedAdvertisement = record({ name: str, body: bin, signature: bin64 });
export const AdvertisementList = record({ advertisements: list(SignedAdvertisement), backend: bin });
export const Signature = record({ name: str, signature: bin64 });
export const Header = record({
  version: num,
  session: bin32,
  phase: str,
  sender: str,
  recipient: str,
  body: bin,
  bulk_digest: bin,
  signature: bin64,
});
export const StatementEntry = record({ name: str, value: bin32 });
export const Statement = record({ entries: list(StatementEntry) });
export const HiddenInput = record({ commitment: bin, nonce: bin32, backend: bin });
export const MaskedPart = record({ seed_hash: bin32, active: list(num) });
export const Agreed = record({ signatures: list(Signature), backend: bin });
export const Edge = record({ peer: num, confirmation: bin, sealed: bin, mask_hash: bin, seed_hash: bin });
export const KeyShares = record({ edges: list(Edge), own_hash: bin });

// 7, screening
export const ScreenedInput = record({ client: num, value: bin32 });
export const Screening = record({ inputs: list(ScreenedInput) });
export const Report = record({ root: bin32, seed_hash: bin32, peers: list(num), values: bin });
export const ShownInput = record({ client: num, commitment: bin, vector: bin, sketch: bin, proof: bin });
export const FailedSum = record({ inputs: list(ShownInput), total: bin });
export const Charge = record({ kind: str, culprit: num, exhibits: list(bin) });
export const Charges = record({ items: list(Charge) });
export const CohortMember = record({ name: str, public: bin32 });
export const Cohort = record({ members: list(CohortMember) });
export const DealtShares = record({ holders: list(num), shares: bin });

// 9
export const ChannelKey = record({ name: str, identity: bin32, channel: bin32, signature: bin64 });
export const AggregatorSet = record({ members: list(ChannelKey) });
export const Base = record({ number: int, record: bin32, model: bin32 });
export type Base = Of<typeof Base>;
export const BufferedSet = record({ members: list(ChannelKey), bases: list(Base) });
export const ShareLetter = record({ ephemeral: bin32, key_hash: bin32, hashes: bin, sealed: bin });
export const Revealed = record({ root: bin32, nonces: bin });
export const PartialSum = record({ root: bin32 });
export const OpenedShares = record({ parties: list(num), nonces: bin });
export const FaultProof = record({
  format: str,
  kind: str,
  culprit: str,
  public: bin32,
  config: bin,
  setup: bin,
  exhibits: list(bin),
});

// 11
export const Opening = record({ name: str, commitment: bin, nonce: bin });
const evidenceFields = {
  version: num,
  config: bin,
  cohort: list(CohortMember),
  advertisements: list(SignedAdvertisement),
  openings: list(Opening),
  agreement: list(Signature),
  setup: bin,
  attestation: list(Signature),
  result_model: bin32,
};
export const Evidence = record(evidenceFields, true);
export type Evidence = Of<typeof Evidence>;
export const LaterEvidence = record({ ...evidenceFields, renounced: bin }, true);

// 12
const recordFields = {
  version: num,
  claim: str,
  task: str,
  round: int,
  attempt: int,
  context: bin32,
  session: bin32,
  cohort_size: num,
  participants: num,
  participants_root: bin32,
  commitment_sum: bin,
  weight_limit: num,
  weight_sum: int,
  weights_lowered: num,
  weights_raised: num,
  error_bound: float,
  next_weight_limit: num,
  start_model: bin32,
  result_model: bin32,
  previous_record: bin32,
  evidence: bin32,
};
export const RoundRecord = record(recordFields);
export type RoundRecord = Of<typeof RoundRecord>;
export const BoundedRecord = record({ ...recordFields, norm_bound: float, norm_factor: int });
export type BoundedRecord = Of<typeof BoundedRecord>;
const privateFields = { mechanism: str, epsilon: num, delta: num, spent: num, privacy: bin32 };
export const PrivateRecord = record({ ...recordFields, ...privateFields });
export type PrivateRecord = Of<typeof PrivateRecord>;
export const GroupRecord = record({ name: str, error_bound: float, error_rms: float, next_clips: list(num) });
export type GroupRecord = Of<typeof GroupRecord>;
const groupedFields = { ...recordFields, groups: list(GroupRecord) };
export const GroupedRecord = record(groupedFields);
export type GroupedRecord = Of<typeof GroupedRecord>;
export const GroupedBoundedRecord = record({ ...groupedFields, norm_bound: float, norm_factor: int });
export const ForkProof = record({ format: str, first: bin, second: bin, root: bin32, proof: list(bin32) });

// 16
export const BoundedInput = record({ sketch: bin, proof: bin, signature: bin, backend: bin });
export const SketchedOpening = record({
  name: str,
  commitment: bin,
  nonce: bin,
  sketch: bin,
  proof: bin32,
  signature: bin64,
});
export type SketchedOpening = Of<typeof SketchedOpening>;
export const BoundedEvidence = record({ ...evidenceFields, openings: list(SketchedOpening) }, true);
const laterBounded = { ...evidenceFields, openings: list(SketchedOpening), renounced: bin };
export const LaterBoundedEvidence = record(laterBounded, true);

// 17
export const Renunciation = record({
  task: str,
  epoch: int,
  round: int,
  draw: int,
  cohort_root: bin32,
  start_model: bin32,
  base_model: bin32,
  generation: int,
  successor: bin,
});
export type Renunciation = Of<typeof Renunciation>;
export const RenunciationCertificate = record({ version: num, statement: Renunciation, signatures: list(Signature) });

// 18
export const EpochBody = record({
  version: num,
  task: str,
  epoch: int,
  previous_epoch: bin32,
  roster: list(CohortMember),
  policy: Policy,
  operators: list(CohortMember),
  witnesses: list(CohortMember),
  quorum: num,
  administrators: list(CohortMember),
  threshold: num,
  beacon: bin,
  mode: str,
  base_model: bin32,
  name: str,
});
export type EpochBody = Of<typeof EpochBody>;
export const EpochEvidence = record({
  format: str,
  body: bin,
  authorisations: list(Signature),
  acceptances: list(Signature),
  closure: bin,
});
export const EpochRecord = record({
  format: str,
  task: str,
  epoch: int,
  previous_record: bin32,
  previous_epoch: bin32,
  body: bin32,
  rounds: int,
  generation: int,
  renounced: bin32,
  start_model: bin32,
  base_model: bin32,
  next_weight_limit: num,
  evidence: bin32,
});
export type EpochRecord = Of<typeof EpochRecord>;
export const SignedEpoch = record({ task: str, previous_epoch: bin32, body: bin32, signature: bin64 });
export const BeaconSource = record({ scheme: str, key: bin, first: int, step: int, genesis: int, period: int });
export type BeaconSource = Of<typeof BeaconSource>;

// 19
export const EdgeSession = record({ name: str, context: bin32, session: bin32 });
export const Forest = record({
  version: num,
  task: str,
  round: int,
  attempt: int,
  instructions: bin32,
  common: bin32,
  beacon: bin,
  edges: list(EdgeSession),
});
export type Forest = Of<typeof Forest>;
const edgeFields = {
  version: num,
  claim: str,
  task: str,
  round: int,
  attempt: int,
  context: bin32,
  session: bin32,
  cohort_size: num,
  participants: num,
  participants_root: bin32,
  commitment_sum: bin,
  evidence: bin32,
};
export const EdgeRecord = record(edgeFields);
export type EdgeRecord = Of<typeof EdgeRecord>;
export const SealedEdge = record({ name: str, seal: bin32 });
export const Roll = record({ forest: bin32, edges: list(SealedEdge) });
export const Unsealed = record({ record: bin, nonce: bin32, signatures: list(Signature) });
export const ListedEdge = record({ name: str, unsealed: bin });
export const TreeHeader = record({ tag: str, forest: bin, roll: Roll, edges: list(ListedEdge) });
/** The shared part of all configurations of a tree, by its order in section 19. */
export const Common = record({
  protocol: str,
  round: int,
  attempt: int,
  epoch: int,
  generation: int,
  draw: num,
  start_model: bin32,
  base_model: bin32,
  previous_record: bin32,
  renounced: bin32,
  weight_limit: num,
  shapes: list(list(num)),
  log_key: bin,
  witnesses: bin32,
  clip: float,
  bits: num,
  commit_packed: bool,
  max_error: float,
  max_weight: num,
  weight_scale: num,
  weight_span: num,
  first_weight: num,
  max_clients: num,
  max_parameters: num,
});
