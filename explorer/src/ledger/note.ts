// Signed notes, checkpoints and cosignatures (C2SP): docs/specification.md, section 12.

import { type Bytes, concat, decimal, equal, fromUtf8, require, unbase64, utf8 } from "../decoding/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { checkSignature } from "../crypto/keys.ts";

const MAX_NOTE = 2 ** 18;
const LOG = 1; // types of keys
const WITNESS = 4;

interface Line {
  name: string;
  data: Bytes;
}

export interface Checkpoint {
  origin: string;
  size: bigint;
  root: Bytes;
  text: string;
  lines: Line[];
}

/** A checkpoint whose log has signed it, and who cosigned it at which POSIX second. */
export interface SignedCheckpoint extends Checkpoint {
  cosigned: Map<string, bigint>;
}

function keyId(name: string, kind: number, key: Bytes): Bytes {
  return sha256(concat(utf8(name), new Uint8Array([0x0a, kind]), key)).slice(0, 4);
}

export function readNote(data: Bytes): { text: string; lines: Line[] } {
  require(data.length <= MAX_NOTE, "the note is too long");
  const note = fromUtf8(data);
  require(!/[\u0000-\u0009\u000b-\u001f]/.test(note), "a control character in a note");
  const end = note.lastIndexOf("\n\n");
  require(end >= 0 && note.endsWith("\n"), "a note without signatures");
  const text = note.slice(0, end + 1);
  const rest = note.slice(end + 2, -1).split("\n");
  require(rest.length >= 1 && rest.length <= 100, "no signature lines, or too many");
  const lines = rest.map((line) => {
    const parts = line.split(" ");
    require(parts.length === 3 && parts[0] === "—" && parts[1] !== "", "a malformed signature line");
    require(!/[+\s\u0085]/u.test(parts[1]), "a key name with a space or a plus sign");
    const found = unbase64(parts[2]);
    require(found.length > 4, "a signature line without a signature");
    return { name: parts[1], data: found };
  });
  return { text, lines };
}

export function readCheckpoint(data: Bytes): Checkpoint {
  const { text, lines } = readNote(data);
  const [origin, size, root, ...extensions] = text.slice(0, -1).split("\n");
  require(size !== undefined && root !== undefined, "a malformed checkpoint");
  const length = utf8(origin).length;
  require(length >= 1 && length <= 1024 && extensions.every((line) => line !== ""), "a malformed checkpoint");
  const head = unbase64(root);
  require(head.length === 32, "a root of another length");
  return { origin, size: decimal(size), root: head, text, lines };
}

function big(data: Bytes): bigint {
  return new DataView(data.buffer, data.byteOffset).getBigUint64(0);
}

/** Every line of a known key has to verify; the log's key, whose name is the origin, has to be among them. */
export async function checkCheckpoint(
  data: Bytes,
  log: Bytes,
  origin: string | null = null,
  witnesses: ReadonlyMap<string, Bytes> = new Map(),
): Promise<SignedCheckpoint> {
  const found = readCheckpoint(data);
  require(origin === null || found.origin === origin, "the checkpoint is of another log");
  const cosigned = new Map<string, bigint>();
  let signed = false;
  for (const { name, data: line } of found.lines) {
    if (name === found.origin && equal(line.slice(0, 4), keyId(name, LOG, log))) {
      await checkSignature(log, line.slice(4), utf8(found.text), "the checkpoint");
      signed = true;
    }
    const witness = witnesses.get(name);
    if (witness !== undefined && equal(line.slice(0, 4), keyId(name, WITNESS, witness))) {
      require(line.length === 76, "a cosignature of another length");
      const seconds = big(line.slice(4, 12));
      require(seconds >= 1n && seconds < 1n << 63n, "a cosignature without a time");
      const message = utf8(`cosignature/v1\ntime ${seconds}\n${found.text}`);
      await checkSignature(witness, line.slice(12), message, `the cosignature of ${name}`);
      const before = cosigned.get(name) ?? 0n;
      cosigned.set(name, seconds > before ? seconds : before);
    }
  }
  require(signed, "the log has not signed the checkpoint");
  return { ...found, cosigned };
}

/** How far a witness's clock may be ahead of the verifier's. */
const AHEAD = 300n;

/** The witness policy of a trust file; `now` in POSIX seconds. */
export function checkQuorum(checkpoint: SignedCheckpoint, quorum: number | null, now: bigint): void {
  const counted = [...checkpoint.cosigned.values()].filter((seconds) => seconds <= now + AHEAD);
  require(counted.length >= (quorum ?? 0), `${counted.length} witnesses have cosigned, ${quorum} are needed`);
}
