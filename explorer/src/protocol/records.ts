// The records of docs/specification.md, with their fields in order. Whoever adds a field adds it here.

import {
  bin, bin32, bin64, bool, float, forms, int, intOrMore, type Kind, list, num, type Of, record, str,
} from "../decoding/messagepack.ts";
import { require } from "../decoding/bytes.ts";

export const Group = record({
  name: str,
  kind: str,
  bits: num,
  clip: float,
  weighted: bool,
  rotated: bool,
  support: list(num),
  clip_rule: str,
});
export type Group = Of<typeof Group>;
const groups = list(Group);
export interface Option {
  name: string;
  value: bigint | Group[];
}
/** A number, but of the one option that is a list. */
export const Option: Kind<Option> = {
  read: (r) => {
    require(r.array() === 2, "an option has two fields");
    const name = str.read(r);
    return { name, value: name === "groups" ? groups.read(r) : intOrMore.read(r) };
  },
  write: (w, { name, value }) => {
    w.array(2);
    str.write(w, name);
    if (typeof value === "bigint") int.write(w, value);
    else groups.write(w, value);
  },
};
const policyFields = {
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
};
export const Policy = forms(policyFields, {}, [], true);
export type Policy = Of<typeof Policy>;

const configFields = {
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
};
/** With groups, section 22, it has two more fields, and without them neither. */
export const RoundConfig = forms(
  configFields, { grouping: list(num), clips: list(num) }, [["grouping", "clips"]], true,
);
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

// 8
export const KeyCertificate = record({ backend: str, task: str, public: bin, holders: list(Signature) });
export const PaillierPublic = record({
  modulus: bin, threshold: num, members: list(str), base: bin, verification: list(bin),
});

// 9
export const ChannelKey = record({ name: str, identity: bin32, channel: bin32, signature: bin64 });
export const Base = record({ number: int, record: bin32, model: bin32 });
export type Base = Of<typeof Base>;
/** With bases it is a BufferedSet, section 20. */
export const AggregatorSet = forms({ members: list(ChannelKey) }, { bases: list(Base) }, [["bases"]]);
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
/** Where a norm is bounded it is a SketchedOpening, section 16. */
export const Opening = forms(
  { name: str, commitment: bin, nonce: bin },
  { sketch: bin, proof: bin32, signature: bin64 },
  [["sketch", "proof", "signature"]],
);
/** In later generations with the certificate that they go on from. */
export const Evidence = forms({
  version: num,
  config: bin,
  cohort: list(CohortMember),
  advertisements: list(SignedAdvertisement),
  openings: list(Opening),
  agreement: list(Signature),
  setup: bin,
  attestation: list(Signature),
  result_model: bin32,
}, { renounced: bin }, [["renounced"]], true);
export type Evidence = Of<typeof Evidence>;

// 12
export const GroupRecord = record({ name: str, error_bound: float, error_rms: float, next_clips: list(num) });
export type GroupRecord = Of<typeof GroupRecord>;
/** What records of a round and of an edge begin with. */
const whatIsProved = {
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
};
/** With groups, section 22, a norm bound, section 16, both, or privacy, section 23, it has more fields. */
export const RoundRecord = forms({
  ...whatIsProved,
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
}, {
  groups: list(GroupRecord),
  norm_bound: float,
  norm_factor: int,
  mechanism: str,
  epsilon: num,
  delta: num,
  spent: num,
  privacy: bin32,
}, [
  ["groups"],
  ["norm_bound", "norm_factor"],
  ["groups", "norm_bound", "norm_factor"],
  ["mechanism", "epsilon", "delta", "spent", "privacy"],
], true);
export type RoundRecord = Of<typeof RoundRecord>;
export const ForkProof = record({ format: str, first: bin, second: bin, root: bin32, proof: list(bin32) });

// 16
export const BoundedInput = record({ sketch: bin, proof: bin, signature: bin, backend: bin });

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
export const Step = record({ record: bin, evidence: bin, receipt: bin, consistency: list(bin32) });
export type Step = Of<typeof Step>;
export const EpochSteps = record({ format: str, steps: list(Step) });
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
export const EdgeRecord = record({ ...whatIsProved, evidence: bin32 });
export type EdgeRecord = Of<typeof EdgeRecord>;
export const SealedEdge = record({ name: str, seal: bin32 });
export const Roll = record({ forest: bin32, edges: list(SealedEdge) });
export const Unsealed = record({ record: bin, nonce: bin32, signatures: list(Signature) });
export const ListedEdge = record({ name: str, unsealed: bin });
export const TreeHeader = record({ tag: str, forest: bin, roll: Roll, edges: list(ListedEdge) });
/** The shared part of all configurations of a tree, by its order in section 19. */
export const Common = record(pick(
  { ...configFields, ...policyFields },
  "protocol", "round", "attempt", "epoch", "generation", "draw", "start_model", "base_model", "previous_record",
  "renounced", "weight_limit", "shapes", "log_key", "witnesses", "clip", "bits", "commit_packed", "max_error",
  "max_weight", "weight_scale", "weight_span", "first_weight", "max_clients", "max_parameters",
));

function pick<F, K extends keyof F>(fields: F, ...names: K[]): Pick<F, K> {
  return Object.fromEntries(names.map((name) => [name, fields[name]])) as Pick<F, K>;
}

// 21
export const SparseRoll = record({ present: bin, root: bin32 });
export const ShownAdvertisement = record({ position: num, body: bin, signature: bin64 });
export const Shown = record({ advertisements: list(ShownAdvertisement), path: bin });
export const SparseExhibit = record({ cohort: list(CohortMember), roll: SparseRoll, shown: Shown });
export type SparseExhibit = Of<typeof SparseExhibit>;
export const ShownCharges = record({ items: list(Charge), shown: Shown });
export const SmallerSet = record({ root: bin32, path: bin, backend: bin });
export const Countersigned = record({ signers: bin, signatures: bin, backend: bin });
