// A gray PNG of 8 bits, written row by row: a canvas would hold four times as much, and has a largest size.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let k = 0; k < 8; k++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (let k = 0; k < bytes.length; k++) value = TABLE[(value ^ bytes[k]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let k = 0; k < 4; k++) bytes[4 + k] = name.charCodeAt(k);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** A PNG of `width` x `height`; `row(y, values)` writes the gray values of a row. */
export async function grayPng(width, height, row) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 0, 0, 0, 0], 8);
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk("IHDR", header)];
  const zip = new CompressionStream("deflate");
  const read = (async () => {
    const reader = zip.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parts.push(chunk("IDAT", value));
    }
  })();
  const writer = zip.writable.getWriter();
  const at_once = Math.max(1, Math.floor(2 ** 20 / (width + 1)));
  for (let top = 0; top < height; top += at_once) {
    const rows = Math.min(at_once, height - top);
    const block = new Uint8Array(rows * (width + 1));
    for (let k = 0; k < rows; k++) row(top + k, block.subarray(k * (width + 1) + 1, (k + 1) * (width + 1)));
    await writer.write(block);
  }
  await writer.close();
  await read;
  parts.push(chunk("IEND", new Uint8Array(0)));
  return new Blob(parts, { type: "image/png" });
}
