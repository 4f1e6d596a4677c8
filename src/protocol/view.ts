let lastBytes: Buffer | null = null;
let lastView: DataView = new DataView(new ArrayBuffer(0));

/**
 * A view of the same bytes, which the compiler reads and writes without a call. Headers lie in very few
 * memories, so the last one is kept.
 */
export function viewOf(bytes: Buffer): DataView {
  if (bytes !== lastBytes) {
    lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    lastBytes = bytes;
  }
  return lastView;
}
