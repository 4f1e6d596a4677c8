import { createReadStream } from 'node:fs';
import { addAbortSignal } from 'node:stream';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';
import { DifferenceDecoder, type DifferenceItem } from './decoder.js';
import type { DifferenceHead } from './format.js';
import { RangeSet } from './range-set.js';

/** The items of a stream, END left out; when the last one has come, all was there. @throws RawstorError BAD_DATA, CHECKSUM, VERSION, NOT_FOUND */
export async function* readDifference(
  path: string,
  signal: AbortSignal,
): AsyncGenerator<DifferenceItem, undefined> {
  const name = path === '-' ? 'standard input' : path;
  const decoder = new DifferenceDecoder(name);
  const source = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: MiB });
  // A pipe may have nothing for a long time.
  addAbortSignal(signal, source);
  try {
    for await (const bytes of source as AsyncIterable<Buffer>) {
      for (const item of decoder.push(bytes)) if (item.kind !== 'end') yield item;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw asRawstorError(error, name);
  } finally {
    source.destroy();
  }
  decoder.finish();
}

/** @throws RawstorError as `readDifference` does */
export async function headOfStream(
  items: AsyncGenerator<DifferenceItem, undefined>,
): Promise<DifferenceHead> {
  const { value } = await items.next();
  if (value?.kind === 'head') return value.head;
  throw new RawstorError('INTERNAL', 'a difference stream began without its head');
}

/** Reads a stream from end to end, so that a damaged one is known of before anything is changed. @throws as above */
export async function checkDifference(path: string, signal: AbortSignal): Promise<RangeSet> {
  const ranges = new RangeSet();
  for await (const item of readDifference(path, signal)) {
    signal.throwIfAborted();
    if (item.kind === 'data') ranges.add(item.offset, item.bytes.length);
    if (item.kind === 'zero') ranges.add(item.offset, item.length);
  }
  return ranges;
}
