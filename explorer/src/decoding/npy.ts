// NumPy's .npy and .npz (zip) files, as a model that is dropped on the page.

import { type Bytes, fromUtf8, require, Unknown } from "./bytes.ts";

export interface NpyArray {
  /** numpy's: f2, f4, f8, i8, … */
  type: string;
  shape: number[];
  values: Float64Array<ArrayBuffer>;
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

function half(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export function readNpy(data: Bytes): NpyArray {
  require(MAGIC.every((byte, i) => data[i] === byte), "no .npy file");
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const major = data[6];
  require(major >= 1 && major <= 3, "another version of .npy");
  const start = major === 1 ? 10 : 12;
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  require(start + length <= data.length, "the .npy file is cut off");
  const header = fromUtf8(data.subarray(start, start + length));
  const found = /^\{'descr': '([<>|=]?)([a-z])(\d+)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), ?\} *\n?$/
    .exec(header);
  if (found === null) throw new Unknown("a .npy file of a type that this page does not read");
  const [, order, letter, width, fortran, sides] = found;
  require(fortran === "False" || sides.split(",").filter((side) => side.trim()).length < 2, "an array in Fortran order");
  const little = order !== ">";
  const shape = sides.split(",").filter((side) => side.trim() !== "").map(Number);
  const count = shape.reduce((a, b) => a * b, 1);
  const type = letter + width;
  const at = start + length;
  require(data.length === at + count * Number(width), "the .npy file has another length than its shape");
  const read: Record<string, (place: number) => number> = {
    f2: (place) => half(view.getUint16(place, little)),
    f4: (place) => view.getFloat32(place, little),
    f8: (place) => view.getFloat64(place, little),
  };
  if (!Object.hasOwn(read, type)) return { type, shape, values: new Float64Array(0) };
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = read[type](at + i * Number(width));
  return { type, shape, values };
}

/** The arrays of a .npz file in the order of its directory. */
export async function readNpz(data: Bytes): Promise<NpyArray[]> {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let end = data.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  require(end >= 0, "no .npz file");
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const out: NpyArray[] = [];
  for (let i = 0; i < count; i++) {
    require(at + 46 <= data.length && view.getUint32(at, true) === 0x02014b50, "the .npz file is damaged");
    const [method, size, local] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
    const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    require(size !== 0xffffffff && local + 30 <= data.length, "a .npz file of more than 4 GB");
    const first = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    require(first + size <= data.length, "the .npz file is cut off");
    const packed = data.slice(first, first + size);
    if (method !== 0 && method !== 8) throw new Unknown("a .npz file with an unknown compression");
    out.push(readNpy(method === 0 ? packed : await inflate(packed)));
    at += 46 + name + extra + comment;
  }
  return out;
}

async function inflate(data: Bytes): Promise<Bytes> {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
