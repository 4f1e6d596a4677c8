import { RawstorError } from '../common/errors.js';
import { encodeBody, encodeError } from './control.js';
import { encodeFrameHeader, FRAME_HEADER_BYTES, FrameFlag, FrameHeader, Opcode } from './frame.js';
import type { Hello } from './messages.js';
import { PROTOCOL_VERSION_CURRENT, PROTOCOL_VERSION_MIN } from './version.js';

/** Who this program is, for the hello. */
export interface Identity {
  readonly role: Hello['role'];
  /** Read at each hello: a new OST learns its cluster late. */
  readonly clusterId: string;
  readonly name: string;
  /** Of an OST: its id. Another one may have come to its address. */
  readonly serverId?: string | undefined;
}

/** Body of a hello: versions offered by the asker, or twice the chosen one in the answer. */
export function helloBody(identity: Identity, minVersion: number, maxVersion: number): Buffer {
  const { role, clusterId, name, serverId } = identity;
  const id = serverId === undefined ? {} : { serverId };
  return encodeBody({ minVersion, maxVersion, role, clusterId, name, ...id } satisfies Hello);
}

/** The answer to a hello that is refused, as a whole frame, also before it has come. */
export function refusalFrame(error: RawstorError): Buffer {
  const body = encodeError(error);
  const header = new FrameHeader();
  header.version = PROTOCOL_VERSION_CURRENT;
  header.opcode = Opcode.HELLO;
  header.flags = FrameFlag.ANSWER;
  header.status = error.wire;
  header.payloadBytes = body.length;
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + body.length);
  encodeFrameHeader(frame, 0, header);
  body.copy(frame, FRAME_HEADER_BYTES);
  return frame;
}

/** Why the hello of a peer is refused, or null. */
export function judgeHello(identity: Identity, hello: Hello): RawstorError | null {
  if (hello.minVersion > PROTOCOL_VERSION_CURRENT || hello.maxVersion < PROTOCOL_VERSION_MIN) {
    return new RawstorError(
      'VERSION',
      `this ${identity.role} speaks protocol versions ${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_CURRENT}, the peer ${hello.minVersion} to ${hello.maxVersion}`,
      { where: identity.name, hint: 'upgrade the older of the two programs' },
    );
  }
  const mine = identity.clusterId;
  if (mine !== '' && hello.clusterId !== '' && mine !== hello.clusterId) {
    return new RawstorError('DENIED', `this ${identity.role} belongs to another cluster (${mine})`, {
      where: identity.name,
      hint: 'check the address, or the directory the server was started on',
    });
  }
  return null;
}
