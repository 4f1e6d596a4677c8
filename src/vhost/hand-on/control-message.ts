import { RawstorError } from '../../common/errors.js';
import { closeDescriptor, type DescriptorSocket } from '../../io/index.js';

/** Messages of the control channel: { u32 length; JSON }, descriptors with the first byte. */

const HEADER_BYTES = 4;
/** A state of 16 queues and 32 regions takes some 10 KiB. */
const MESSAGE_MAX_BYTES = 64 * 1024;
const FDS_MAX = 128;

export interface ControlMessage {
  readonly body: unknown;
  /** Whoever takes one out owns it. */
  readonly fds: number[];
}

export function sendControl(socket: DescriptorSocket, body: object, fds: readonly number[] = []): void {
  const text = Buffer.from(JSON.stringify(body));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(text.length, 0);
  socket.send(Buffer.concat([header, text]), [...fds]);
}

/** The next message. @throws RawstorError CONNECTION_LOST at the end, PROTOCOL */
export async function receiveControl(socket: DescriptorSocket): Promise<ControlMessage> {
  const fds: number[] = [];
  try {
    const length = (await exactly(socket, HEADER_BYTES, fds)).readUInt32LE(0);
    if (length > MESSAGE_MAX_BYTES) throw new RawstorError('PROTOCOL', `a message of ${length} bytes`);
    return { body: JSON.parse((await exactly(socket, length, fds)).toString()), fds };
  } catch (error) {
    for (const fd of fds) closeDescriptor(fd);
    if (error instanceof SyntaxError) throw new RawstorError('PROTOCOL', 'a message that is no JSON');
    throw error;
  }
}

function exactly(socket: DescriptorSocket, lengthBytes: number, fds: number[]): Promise<Buffer> {
  const bytes = Buffer.alloc(lengthBytes);
  let got = 0;
  return new Promise((resolve, reject) => {
    socket.onReadable(() => {
      try {
        const result = socket.receive(bytes, got, lengthBytes - got, fds);
        if (result === 0) throw new RawstorError('CONNECTION_LOST', 'the other process has gone');
        if (fds.length > FDS_MAX) throw new RawstorError('PROTOCOL', `more than ${FDS_MAX} descriptors`);
        got += result ?? 0;
        if (got < lengthBytes) return;
        socket.pause(true);
        resolve(bytes);
      } catch (error) {
        socket.pause(true);
        reject(error);
      }
    });
  });
}
