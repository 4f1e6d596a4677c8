import { RawstorError } from '../../common/errors.js';
import { closeDescriptor, DescriptorSocket } from '../../io/index.js';
import { receiveControl, sendControl } from './control-message.js';
import { type DeviceState, deviceStateSchema } from './device-state.js';
import { expectWord } from './giver.js';

/** A device that another process has stopped serving, for this one to go on with. */
export interface TakenDevice {
  readonly state: DeviceState;
  /** Whoever takes one out owns it. */
  readonly fds: number[];
  /** It has gone on by itself, or died. */
  readonly gone: boolean;
  /** Everything is ready here: when resolved, it is served here and nowhere else. @throws RawstorError CONNECTION_LOST */
  confirm(): Promise<void>;
  /** It stays where it is. */
  abandon(): void;
}

/** Asks the process that serves a device for it. @throws RawstorError UNAVAILABLE when there is none, VERSION, PROTOCOL */
export async function takeDevice(controlPath: string): Promise<TakenDevice> {
  const socket = DescriptorSocket.connect(controlPath);
  try {
    sendControl(socket, { word: 'take' });
    const { body, fds } = await receiveControl(socket);
    const parsed = deviceStateSchema.safeParse(body);
    if (!parsed.success) {
      for (const fd of fds) closeDescriptor(fd);
      throw new RawstorError('VERSION', 'the process that serves it tells of it in a way unknown here', {
        where: controlPath,
        hint: 'stop that one and start this one: with `reconnect` in its QEMU the guest only pauses',
      });
    }
    let closed = false;
    const close = () => {
      if (!closed) socket.close();
      closed = true;
    };
    return {
      state: parsed.data,
      fds,
      get gone() {
        return closed || socket.hasEnded;
      },
      confirm: async () => {
        sendControl(socket, { word: 'ready' });
        expectWord(await receiveControl(socket), 'yours');
        close();
      },
      abandon: () => {
        for (const fd of fds.splice(0)) closeDescriptor(fd);
        close();
      },
    };
  } catch (error) {
    socket.close();
    throw error;
  }
}
