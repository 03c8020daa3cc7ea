// Byte strings, and the spellings that texts have of them: one each, everything else is refused.

/** Bytes in a buffer of their own kind, as WebCrypto asks for. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** What does not pass a check, in words; nothing else is thrown on purpose. */
export class Refused extends Error {}

/** What this page has no check for: never good, and not wrong either. */
export class Unknown extends Refused {}

export function require(condition: boolean, reason: string): asserts condition {
  if (!condition) throw new Refused(reason);
}

export const ZEROS: Bytes = new Uint8Array(32);
export const NONE: Bytes = new Uint8Array(0);

const encoder = new TextEncoder();
// fatal: bad UTF-8 is refused. ignoreBOM: a mark at the beginning is text like any other.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(text: string): Bytes {
  return new Uint8Array(encoder.encode(text));
}

export function fromUtf8(data: Uint8Array): string {
  try {
    return decoder.decode(data);
  } catch {
    throw new Refused("text that is no UTF-8");
  }
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Below 0, 0 or above 0, as byte strings order. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** Texts by their UTF-8 bytes, which UTF-16 units, JavaScript's own order, are not. */
export function compareText(a: string, b: string): number {
  return compare(utf8(a), utf8(b));
}

export function hex(data: Uint8Array): string {
  let out = "";
  for (const byte of data) out += byte.toString(16).padStart(2, "0");
  return out;
}

export function unhex(text: string): Bytes {
  require(/^([0-9a-f]{2})*$/.test(text), "no hexadecimal");
  const out = new Uint8Array(text.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return out;
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function base64(data: Uint8Array): string {
  let out = "";
  for (let i = 0; i < data.length; i += 3) {
    const left = data.length - i;
    const word = (data[i] << 16) | ((data[i + 1] ?? 0) << 8) | (data[i + 2] ?? 0);
    out += ALPHABET[word >> 18] + ALPHABET[(word >> 12) & 63];
    out += (left > 1 ? ALPHABET[(word >> 6) & 63] : "=") + (left > 2 ? ALPHABET[word & 63] : "=");
  }
  return out;
}

/** RFC 4648, section 4, in its one spelling: `atob` takes spaces and tails that are not canonical. */
export function unbase64(text: string): Bytes {
  require(/^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0, "no base64");
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  let word = 0;
  for (let i = 0, at = 0; i < text.length; i++) {
    word = (word << 6) | Math.max(0, ALPHABET.indexOf(text[i]));
    if (i % 4 === 3) {
      for (let k = 2; k >= 0; k--) if (at < out.length) out[at++] = (word >> (8 * k)) & 255;
      word = 0;
    }
  }
  require(base64(out) === text, "base64 in another spelling");
  return out;
}

export function u64(value: bigint | number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value), true);
  return out;
}

export function u64be(value: bigint | number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value), false);
  return out;
}

/** An unsigned integer of any length, little endian. */
export function littleEndian(data: Uint8Array): bigint {
  return data.length ? BigInt("0x" + hex(new Uint8Array(data).reverse())) : 0n;
}

export function bitLength(value: bigint | number): number {
  const big = BigInt(value);
  return big === 0n ? 0 : big.toString(2).length;
}

/** Decimals without leading zeros, below 2^63. */
export function decimal(text: string): bigint {
  require(/^(0|[1-9][0-9]{0,18})$/.test(text) && BigInt(text) < 1n << 63n, "not a decimal number");
  return BigInt(text);
}

/** Header and bulk. */
export function unpack(data: Bytes): [Bytes, Bytes] {
  require(data.length >= 4, "no header");
  const end = 4 + new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  require(end <= data.length, "the header is cut off");
  return [data.slice(4, end), data.slice(end)];
}

export function pack(header: Bytes, bulk: Bytes): Bytes {
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, header.length, true);
  return concat(size, header, bulk);
}
