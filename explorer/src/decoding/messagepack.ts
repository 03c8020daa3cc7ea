// MessagePack as docs/specification.md, section 1, has it: the shortest form of everything, and nothing behind it.
//
// A `Kind` reads and writes one type of field; `record` puts fields together in their order. What is unknown to the
// schema, in another form, or too long is refused before anything is allocated for it.

import { type Bytes, fromUtf8, Refused, require, Unknown, utf8 } from "./bytes.ts";

export class Reader {
  #at = 0;
  #view: DataView;

  constructor(readonly data: Bytes) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.length);
  }

  get done(): boolean {
    return this.#at === this.data.length;
  }

  get left(): number {
    return this.data.length - this.#at;
  }

  #take(count: number): number {
    require(count <= this.left, "it is cut off");
    this.#at += count;
    return this.#at - count;
  }

  /** Whether an array comes next. */
  get atArray(): boolean {
    const tag = this.data[this.#at];
    return (tag >= 0x90 && tag <= 0x9f) || tag === 0xdc || tag === 0xdd;
  }

  tag(): number {
    return this.data[this.#take(1)];
  }

  #number(bytes: 1 | 2 | 4 | 8): bigint {
    const at = this.#take(bytes);
    if (bytes === 8) return this.#view.getBigUint64(at);
    return BigInt(bytes === 1 ? this.data[at] : bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at));
  }

  integer(): bigint {
    const tag = this.tag();
    if (tag < 0x80) return BigInt(tag);
    require(tag >= 0xcc && tag <= 0xcf, "no unsigned integer");
    const bytes = (1 << (tag - 0xcc)) as 1 | 2 | 4 | 8;
    const value = this.#number(bytes);
    const least = bytes === 1 ? 0x80n : 1n << BigInt(4 * bytes);
    require(value >= least, "an integer is not in its shortest form");
    return value;
  }

  float(): number {
    require(this.tag() === 0xcb, "no float64");
    return this.#view.getFloat64(this.#take(8));
  }

  boolean(): boolean {
    const tag = this.tag();
    require(tag === 0xc2 || tag === 0xc3, "neither true nor false");
    return tag === 0xc3;
  }

  /** How long the bytes that follow are; `short` are those that a tag alone can say. */
  #length(tag: number, first: number, short: number): number {
    const bytes = (1 << (tag - first)) as 1 | 2 | 4;
    const length = Number(this.#number(bytes));
    require(length >= (bytes === 1 ? short : bytes === 2 ? 256 : 65536), "a length is not in its shortest form");
    return length;
  }

  bin(): Bytes {
    const tag = this.tag();
    require(tag >= 0xc4 && tag <= 0xc6, "no byte string");
    const length = this.#length(tag, 0xc4, 0);
    const at = this.#take(length);
    return this.data.slice(at, at + length);
  }

  text(): string {
    const tag = this.tag();
    const short = tag >= 0xa0 && tag <= 0xbf;
    require(short || (tag >= 0xd9 && tag <= 0xdb), "no text");
    const length = short ? tag - 0xa0 : this.#length(tag, 0xd9, 32);
    const at = this.#take(length);
    return fromUtf8(this.data.subarray(at, at + length));
  }

  array(): number {
    const tag = this.tag();
    if (tag >= 0x90 && tag <= 0x9f) return tag - 0x90;
    require(tag === 0xdc || tag === 0xdd, "no array");
    const length = Number(this.#number(tag === 0xdc ? 2 : 4));
    require(length >= (tag === 0xdc ? 16 : 65536), "a length is not in its shortest form");
    require(length <= this.left, "it is cut off"); // an entry has one byte at least
    return length;
  }
}

export class Writer {
  #data: Bytes = new Uint8Array(256);
  #size = 0;

  #room(count: number): DataView {
    if (this.#size + count > this.#data.length) {
      const grown = new Uint8Array(Math.max(2 * this.#data.length, this.#size + count));
      grown.set(this.#data);
      this.#data = grown;
    }
    this.#size += count;
    return new DataView(this.#data.buffer, this.#size - count, count);
  }

  #tagged(tag: number, bytes: 1 | 2 | 4 | 8, value: bigint): void {
    const view = this.#room(1 + bytes);
    view.setUint8(0, tag);
    if (bytes === 1) view.setUint8(1, Number(value));
    else if (bytes === 2) view.setUint16(1, Number(value));
    else if (bytes === 4) view.setUint32(1, Number(value));
    else view.setBigUint64(1, value);
  }

  integer(value: bigint): void {
    if (value < 0x80n) this.#room(1).setUint8(0, Number(value));
    else if (value < 0x100n) this.#tagged(0xcc, 1, value);
    else if (value < 0x10000n) this.#tagged(0xcd, 2, value);
    else if (value < 1n << 32n) this.#tagged(0xce, 4, value);
    else this.#tagged(0xcf, 8, value);
  }

  float(value: number): void {
    const view = this.#room(9);
    view.setUint8(0, 0xcb);
    view.setFloat64(1, value);
  }

  boolean(value: boolean): void {
    this.#room(1).setUint8(0, value ? 0xc3 : 0xc2);
  }

  #sized(first: number, length: number): void {
    if (length < 0x100) this.#tagged(first, 1, BigInt(length));
    else if (length < 0x10000) this.#tagged(first + 1, 2, BigInt(length));
    else this.#tagged(first + 2, 4, BigInt(length));
  }

  #raw(data: Uint8Array): void {
    this.#room(data.length);
    this.#data.set(data, this.#size - data.length);
  }

  bin(value: Uint8Array): void {
    this.#sized(0xc4, value.length);
    this.#raw(value);
  }

  text(value: string): void {
    const data = utf8(value);
    if (data.length < 32) this.#room(1).setUint8(0, 0xa0 | data.length);
    else this.#sized(0xd9, data.length);
    this.#raw(data);
  }

  array(length: number): void {
    if (length < 16) this.#room(1).setUint8(0, 0x90 | length);
    else if (length < 0x10000) this.#tagged(0xdc, 2, BigInt(length));
    else this.#tagged(0xdd, 4, BigInt(length));
  }

  bytes(): Bytes {
    return this.#data.slice(0, this.#size);
  }
}

/** How a field is read and written. */
export interface Kind<T> {
  read(reader: Reader): T;
  write(writer: Writer, value: T): void;
}

export type Of<K> = K extends Kind<infer T> ? T : never;

/** Unsigned, up to 2^64 - 1. */
export const int: Kind<bigint> = { read: (r) => r.integer(), write: (w, v) => w.integer(v) };

/** The same, where later versions of the package may have a list: unknown, and not wrong. */
export const intOrMore: Kind<bigint> = {
  read: (r) => {
    if (r.atArray) throw new Unknown("a list, where this page knows numbers only");
    return r.integer();
  },
  write: (w, v) => w.integer(v),
};

/** Unsigned, where what is checked next has a limit below 2^53: what is not below is refused here already. */
export const num: Kind<number> = {
  read: (r) => {
    const value = r.integer();
    require(value <= BigInt(Number.MAX_SAFE_INTEGER), "a number is too large");
    return Number(value);
  },
  write: (w, v) => w.integer(BigInt(v)),
};
export const float: Kind<number> = { read: (r) => r.float(), write: (w, v) => w.float(v) };
export const bool: Kind<boolean> = { read: (r) => r.boolean(), write: (w, v) => w.boolean(v) };
export const str: Kind<string> = { read: (r) => r.text(), write: (w, v) => w.text(v) };
export const bin: Kind<Bytes> = { read: (r) => r.bin(), write: (w, v) => w.bin(v) };

export function fixed(size: number): Kind<Bytes> {
  return {
    read: (r) => {
      const data = r.bin();
      require(data.length === size, `${data.length} bytes where there have to be ${size}`);
      return data;
    },
    write: (w, v) => w.bin(v),
  };
}

export const bin32 = fixed(32);
export const bin64 = fixed(64);

export function list<T>(kind: Kind<T>): Kind<T[]> {
  return {
    read: (r) => {
      const length = r.array();
      const out: T[] = [];
      for (let i = 0; i < length; i++) out.push(kind.read(r));
      return out;
    },
    write: (w, v) => {
      w.array(v.length);
      for (const item of v) kind.write(w, item);
    },
  };
}

/** The same kind of error, with where it was. */
function within(place: string, error: unknown): unknown {
  if (error instanceof Unknown) return new Unknown(`${place}: ${error.message}`);
  return error instanceof Refused ? new Refused(`${place}: ${error.message}`) : error;
}

type Fields = Readonly<Record<string, Kind<unknown>>>;
type Values<F> = { [K in keyof F]: Of<F[K]> };

/** Fields one after the other. */
export function record<F extends Fields>(fields: F): Kind<Values<F>> {
  return forms(fields, {}, []);
}

/**
 * Records that have more fields behind where something is so: `tails` says which of `more`, in their order, each with
 * another number of them. Who reads one compares that with what it has to be.
 *
 * `grows`: later versions of the package may append fields to such records. One that has more is nothing that this page
 * can judge: unknown, and not wrong.
 */
export function forms<F extends Fields, M extends Fields>(
  fields: F, more: M, tails: readonly (readonly (keyof M & string)[])[], grows = false,
): Kind<Values<F> & Partial<Values<M>>> {
  const all: Fields = { ...fields, ...more };
  const own = Object.keys(fields);
  const known = [own, ...tails.map((tail) => [...own, ...tail])];
  return {
    read: (r) => {
      const length = r.array();
      const names = known.find((form) => form.length === length);
      if (names === undefined) {
        if (grows && length > own.length) throw new Unknown(`${length} fields, more than this page knows`);
        throw new Refused(`${length} fields where there have to be ${known.map((form) => form.length).join(" or ")}`);
      }
      const out: Record<string, unknown> = {};
      for (const name of names) {
        try {
          out[name] = all[name].read(r);
        } catch (error) {
          throw within(name, error);
        }
      }
      return out as Values<F> & Partial<Values<M>>;
    },
    write: (w, v) => {
      const given = v as Record<string, unknown>;
      const names = known.filter((form) => form.every((name) => given[name] !== undefined))
        .reduce((a, b) => (b.length > a.length ? b : a));
      w.array(names.length);
      for (const name of names) all[name].write(w, given[name]);
    },
  };
}

export function encode<T>(kind: Kind<T>, value: T): Bytes {
  const writer = new Writer();
  kind.write(writer, value);
  return writer.bytes();
}

export function decode<T>(kind: Kind<T>, data: Bytes, limit: number, what: string): T {
  require(data.length <= limit, `${what} is too long: ${data.length} bytes, at most ${limit}`);
  const reader = new Reader(data);
  try {
    const value = kind.read(reader);
    require(reader.done, "something follows it");
    return value;
  } catch (error) {
    throw within(what, error);
  }
}
