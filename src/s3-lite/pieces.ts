/** Pieces below this are put together; a Buffer of its own costs about a hundred bytes of the heap. */
const SMALL_BYTES = 4096;
const TOGETHER_BYTES = 64 * 1024;

/** Gives bytes on in pieces of some size, however small a client makes its chunks. */
export async function* inPieces(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, undefined> {
  let held = Buffer.alloc(0);
  let used = 0;
  for await (const piece of source) {
    if (used > 0 && used + piece.length > held.length) {
      yield held.subarray(0, used);
      used = 0;
    }
    if (piece.length >= SMALL_BYTES) {
      if (used > 0) yield held.subarray(0, used);
      used = 0;
      yield piece;
      continue;
    }
    // Whoever took the last one still has it.
    if (used === 0) held = Buffer.allocUnsafeSlow(TOGETHER_BYTES);
    piece.copy(held, used);
    used += piece.length;
  }
  if (used > 0) yield held.subarray(0, used);
}
