// How arguments and answers of the page's core are spelled as JSON, in Node and in a browser: bytes are
// {"$bytes": base64}, integers that are BigInts {"$int": decimal}, floats {"$floats": base64 of float64}.

globalThis.spelling = (() => {
  const node = typeof Buffer !== "undefined";
  const read = (text) => node ? new Uint8Array(Buffer.from(text, "base64"))
    : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const write = (data) => {
    if (node) return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
    let text = "";
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
  };

  function revive(_, value) {
    if (value !== null && typeof value === "object") {
      if ("$bytes" in value) return read(value.$bytes);
      if ("$int" in value) return BigInt(value.$int);
    }
    return value;
  }

  function plain(value) {
    if (typeof value === "bigint") return { $int: String(value) };
    if (value instanceof Uint8Array) return { $bytes: write(value) };
    if (value instanceof Float64Array) return { $floats: write(value) };
    if (Array.isArray(value)) return value.map(plain);
    if (value instanceof Map) return { $map: [...value].map(plain) };
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
    }
    return value;
  }
  return { revive, plain };
})();
