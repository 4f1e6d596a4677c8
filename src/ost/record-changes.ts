import { parseId } from '../common/ids.js';
import { encodeBody, type ObjectRecord } from '../protocol/index.js';
import {
  chunkKey,
  encodeFence,
  encodeRegions,
  type Fence,
  objectKey,
  RecordType,
  regionsKey,
  singleKey,
} from './record-codec.js';
import { type BootRecord, type SetRecord, TombstoneState } from './records.js';
import type { Change } from './store.js';

/** Changes of an OST's records, to be committed together. */

export function bootChange(boot: BootRecord): Change {
  return { key: singleKey(RecordType.BOOT), value: encodeBody(boot) };
}

export function objectChange(record: ObjectRecord): Change {
  return { key: objectKey(RecordType.OBJECT, parseId(record.id)), value: encodeBody(record) };
}

export function fenceChange(id: string, fence: Fence): Change {
  return { key: objectKey(RecordType.FENCE, parseId(id)), value: encodeFence(fence) };
}

export function setChange(id: string, record: SetRecord): Change {
  return { key: objectKey(RecordType.SET, parseId(id)), value: encodeBody(record) };
}

/** `body` null forgets the removal. */
export function tombstoneChange(
  id: string,
  body: { wallMs: number; done: boolean; leaving?: boolean } | null,
): Change {
  const key = objectKey(RecordType.TOMBSTONE, parseId(id));
  if (body === null) return { key, value: null };
  const value = Buffer.alloc(9);
  value.writeDoubleLE(body.wallMs, 0);
  const { BEGUN, DONE, LEAVING } = TombstoneState;
  value[8] = body.done ? DONE : body.leaving === true ? LEAVING : BEGUN;
  return { key, value };
}

export function chunkChange(id: Uint8Array, chunk: number, version: number, createdWallMs: number): Change {
  return {
    key: chunkKey(id, chunk, version),
    value: encodeBody({ parentVersion: null, createdWallMs }),
  };
}

export function regionsChange(
  id: Uint8Array,
  chunk: number,
  version: number,
  page: number,
  epochs: Float64Array,
): Change {
  return { key: regionsKey(id, chunk, version, page), value: encodeRegions(epochs) };
}
