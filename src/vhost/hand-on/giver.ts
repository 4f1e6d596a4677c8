import { chmodSync } from 'node:fs';
import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { type DescriptorListener, type DescriptorSocket, listenDescriptors } from '../../io/index.js';
import { receiveControl, sendControl } from './control-message.js';
import type { DeviceState } from './device-state.js';

/** A device that can go to another process. */
export interface Handable {
  /**
   * Nothing is in flight, and the volume is closed, when resolved: another process may open it.
   * @throws RawstorError UNAVAILABLE when `thaw` comes first
   */
  freeze(): Promise<{ readonly state: DeviceState; readonly fds: readonly number[] }>;
  /** Nobody took it. */
  thaw(): void;
  /** Another process has it: all is let go of, and nobody at the other ends notices. */
  letGo(): void;
}

export interface GiverOptions {
  readonly path: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Or set later: until then whoever asks is turned away. */
  readonly device?: Handable;
  onGone(): void;
}

/** In which the other process opens the volume; more than an open waits for replicas. */
const READY_MS = 30_000;

/**
 * Where a process asks that is to take this one's place (a planned upgrade). It says `take`, gets the state with the
 * descriptors, opens the volume, says `ready`, and begins when it hears `yours`. Until then this one goes on if the other
 * fails, or takes too long.
 */
export class Giver {
  device: Handable | null;
  private readonly options: GiverOptions;
  private readonly listener: DescriptorListener;
  private busy = false;

  private constructor(
    options: GiverOptions,
    listen: (accept: (socket: DescriptorSocket) => void) => DescriptorListener,
  ) {
    this.options = options;
    this.device = options.device ?? null;
    this.listener = listen((socket) => this.accept(socket));
  }

  /** @throws RawstorError BUSY, DENIED ... */
  static async listen(options: GiverOptions): Promise<Giver> {
    let accept: (socket: DescriptorSocket) => void = (socket) => socket.close();
    const listener = await listenDescriptors(options.path, (socket) => accept(socket));
    // Who may ask gets the guest's memory.
    chmodSync(options.path, 0o600);
    return new Giver(options, (taker) => {
      accept = taker;
      return listener;
    });
  }

  close(): void {
    this.listener.close();
  }

  private accept(socket: DescriptorSocket): void {
    const { device } = this;
    if (this.busy || device === null) return socket.close();
    this.busy = true;
    void this.give(socket, device).finally(() => {
      this.busy = false;
      socket.close();
    });
  }

  private async give(socket: DescriptorSocket, device: Handable): Promise<void> {
    const { log, clock, onGone } = this.options;
    let frozen = false;
    let tooLate!: Timer;
    const late = new Promise<never>((_resolve, reject) => {
      tooLate = clock.after(READY_MS, () =>
        reject(new RawstorError('TIMEOUT', `not ready in ${READY_MS} ms`)),
      );
    });
    late.catch(() => {});
    try {
      expectWord(await Promise.race([receiveControl(socket), late]), 'take');
      log.info('another process is to take the place of this one');
      frozen = true;
      const answer = receiveControl(socket);
      const gone = answer.then(() => {
        throw new RawstorError('PROTOCOL', 'an answer to what was not sent');
      });
      const freezing = device.freeze();
      for (const each of [answer, gone, freezing]) each.catch(() => {});
      // A replica that is away may hold up what is in flight, and the guest with it: not without limit.
      const { state, fds } = await Promise.race([freezing, late, gone]);
      sendControl(socket, state, fds);
      expectWord(await Promise.race([answer, late]), 'ready');
    } catch (error) {
      // Whoever only looks whether somebody listens is nobody to tell of.
      if (!frozen) return;
      log.warn({ reason: asRawstorError(error).message }, 'it is not taken over: going on here');
      device.thaw();
      return;
    } finally {
      tooLate.cancel();
    }
    // From here on it is not served here, whatever becomes of the other.
    this.close();
    device.letGo();
    try {
      sendControl(socket, { word: 'yours' });
    } catch (error) {
      log.error({ err: error }, 'the process that took over has gone: its socket is closed');
    }
    onGone();
  }
}

export function expectWord({ body }: { readonly body: unknown }, word: string): void {
  if ((body as { word?: unknown } | null)?.word === word) return;
  throw new RawstorError('PROTOCOL', `'${word}' was expected of the other process`);
}
