import { Packr } from 'msgpackr';
import { codeOfWire, ERROR_CODES, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { faultOfMsgpack, type MsgpackBounds } from './msgpack-check.js';

/**
 * Bodies of control frames: msgpack without extensions, so that any language reads and writes them. Integers
 * above 32 bits leave as float64, as they are exact up to 2^53, and are taken as float64 or (u)int64.
 */
const packr = new Packr({
  useRecords: false,
  moreTypes: false,
  mapsAsObjects: true,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
  // What a message was received into is used for the next one.
  copyBuffers: true,
});

/** More than any message of the protocol has; what keeps within them is decoded in some tens of milliseconds. */
const MESSAGE_BOUNDS: MsgpackBounds = {
  values: LIMITS.controlValues,
  containers: LIMITS.controlContainers,
  keys: LIMITS.controlKeys,
};

export function encodeBody(value: unknown): Buffer {
  return packr.pack(value) as Buffer;
}

/** Of what a program has stored itself. @throws RawstorError PROTOCOL for bytes that are no msgpack, or that claim more than they hold */
export function decodeBody(bytes: Uint8Array): unknown {
  return decode(bytes, null);
}

/** Of what a peer has sent. @throws RawstorError PROTOCOL, also where it would take long to look at all that is in it */
export function decodeMessage(bytes: Uint8Array): unknown {
  return decode(bytes, MESSAGE_BOUNDS);
}

function decode(bytes: Uint8Array, bounds: MsgpackBounds | null): unknown {
  const fault = faultOfMsgpack(bytes, bounds);
  if (fault !== null) throw new RawstorError('PROTOCOL', `a control message ${fault}`);
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw new RawstorError('PROTOCOL', 'a control message is not valid msgpack', { cause: error });
  }
}

/** Error body of an answer whose status is not 0: {message, where, hint}. */
export function encodeError(error: RawstorError): Buffer {
  return encodeBody({ message: error.message, where: error.where ?? null, hint: error.hint ?? null });
}

export function decodeError(status: number, bytes: Uint8Array | null): RawstorError {
  const code = codeOfWire(status);
  let body: Record<string, unknown> = {};
  if (bytes !== null && bytes.length > 0) {
    try {
      body = (decodeMessage(bytes) ?? {}) as Record<string, unknown>;
    } catch {
      // The status alone still says what happened.
    }
  }
  const text = (key: string) => (typeof body[key] === 'string' ? body[key] : undefined);
  return new RawstorError(code, text('message') ?? `the peer answered ${code}`, {
    where: text('where'),
    hint: text('hint'),
  });
}

/** A bare data status as an error. */
export function errorOfStatus(status: number, where: string): RawstorError {
  const code = codeOfWire(status);
  const known: Partial<Record<typeof code, string>> = {
    NO_SPACE: 'the OST has no space left',
    FENCED: 'a newer writer has opened the object',
    STALE_SESSION: 'the session has ended on this OST',
    IO: 'input/output error on the OST',
    CHECKSUM: 'what is stored there is not what was written',
  };
  return new RawstorError(code, known[code] ?? `the OST answered ${code}`, { where });
}

export const STATUS_FENCED = ERROR_CODES.FENCED.wire;
export const STATUS_STALE_SESSION = ERROR_CODES.STALE_SESSION.wire;
export const STATUS_CHECKSUM = ERROR_CODES.CHECKSUM.wire;
export const STATUS_CONNECTION_LOST = ERROR_CODES.CONNECTION_LOST.wire;

/** Body of a call or an event: `[name, parameters]`. @throws RawstorError PROTOCOL */
export function decodeCall(body: Buffer | null): [string, unknown] {
  const value = body === null ? null : decodeMessage(body);
  if (!Array.isArray(value) || value.length !== 2 || typeof value[0] !== 'string') {
    throw new RawstorError('PROTOCOL', 'a control message is not [name, parameters]');
  }
  return [value[0], value[1]];
}
