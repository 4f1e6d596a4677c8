import type { BlockDevice } from '../block/index.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import {
  type DescriptorListener,
  DescriptorSocket,
  type Io,
  listenDescriptors,
  listenOn,
} from '../io/index.js';
import { VHOST_LIMITS } from './constants.js';
import { exportSession, type Handable, importSession, type TakenDevice, taken } from './hand-on/index.js';
import { PassedFiles } from './passed-files.js';
import { Session } from './session.js';
import { WriteCopies } from './write-copies.js';

/** Front-ends that are not closed yet. */
const TURNED_AWAY_MAX = 8;

export interface VhostServerOptions {
  readonly io: Io;
  readonly log: Logger;
  readonly device: BlockDevice;
  /** Of the device: tells a process that takes the place of this one whether it is for the same. */
  readonly identity?: string | null;
  /** What the guest sees as the disk's serial number; cut to 20 bytes. */
  readonly serial: string;
  /** Default 16, the most. */
  readonly queues?: number;
  /** Guests may come here from another server of the volume. */
  readonly standby?: boolean;
  /** The front-end that was passed is gone, and no other can come. */
  readonly onOver?: () => void;
}

/**
 * A vhost-user block device on a socket. One front-end at a time; one that comes while the requests of the one before
 * are still under way waits for their end, as it may ask for the same ones again.
 */
export class VhostServer implements Handable {
  private readonly options: VhostServerOptions;
  private readonly copies: WriteCopies;
  private listener: DescriptorListener | null = null;
  private session: Session | null = null;
  /** Of the guest, whose front-end may come back. */
  private writeback = true;
  private next: DescriptorSocket | null = null;
  private readonly turnedAway = new PassedFiles();
  private closing = false;
  private frozen = false;
  private thaws = 0;
  private readonly over: (() => void)[] = [];

  constructor(options: VhostServerOptions) {
    this.options = options;
    this.copies = new WriteCopies(options.io.pool);
  }

  /** `path` may be `fd:N`, a socket that listens. @throws RawstorError BUSY, NOT_FOUND, ... */
  async listen(path: string): Promise<void> {
    this.listener = await listenDescriptors(path, (socket) => this.accept(socket));
  }

  /** Serves one front-end that is connected already. */
  accept(socket: DescriptorSocket): void {
    if (this.closing) return this.turnAway(socket);
    const { log } = this.options;
    if (this.session !== null) {
      // One that has just gone may not have been read to its end.
      if (!this.session.ending && !this.session.socket.hasEnded) {
        log.warn('a second front-end was turned away: one is connected');
        return this.turnAway(socket);
      }
      // The latest is the one that is still there.
      if (this.next !== null) this.turnAway(this.next);
      this.next = socket;
      return;
    }
    this.session = this.newSession(socket);
    log.info('a front-end has connected');
    this.session.start();
  }

  /** There is a front-end, or something of one is still in flight. */
  get connected(): boolean {
    return this.session !== null;
  }

  /** Tells the guest of a new size. */
  configChanged(): void {
    this.session?.configChanged();
  }

  /** Answers what was taken, then ends the connection. The device is not closed. */
  async close(): Promise<void> {
    this.closing = true;
    this.listener?.close();
    this.dropNext();
    await this.session?.end();
  }

  /**
   * Nothing is in flight and the volume is closed here when resolved; who connects waits.
   * @throws RawstorError UNAVAILABLE when `thaw` comes first
   */
  async freeze() {
    const { thaws } = this;
    const check = () => {
      if (this.thaws !== thaws) throw new RawstorError('UNAVAILABLE', 'it goes on here');
    };
    this.frozen = true;
    this.listener?.pause(true);
    // What is left of a front-end that is gone may still be in flight.
    for (let frozen = false; !frozen; ) {
      const { session } = this;
      if (session?.ending === true) await this.whenOver();
      else await session?.freeze();
      check();
      frozen = this.session === session && session?.ending !== true;
    }
    const { device, identity = null } = this.options;
    const after = (await device.giveWay?.()) ?? null;
    check();
    const { listener, session } = this;
    const fds: number[] = [];
    if (listener !== null) fds.push(listener.fd);
    if (session !== null) fds.push(session.socket.fd);
    const state = {
      version: 1 as const,
      ...(listener === null ? {} : { listens: { path: listener.path } }),
      ...(after === null ? {} : { after }),
      ...(identity === null ? {} : { identity }),
      session: session === null ? null : exportSession(session, fds),
    };
    return { state, fds };
  }

  /** Goes on after a `freeze`, also one that is not done yet, or an `adopt`. */
  thaw(): void {
    this.thaws++;
    this.frozen = false;
    this.listener?.pause(false);
    this.session?.thaw();
  }

  letGo(): void {
    this.closing = true;
    this.listener?.release();
    this.listener = null;
    this.dropNext();
    void this.session?.end();
  }

  /** Takes over what another process has served, frozen. @throws RawstorError INVALID, OS_ERROR */
  adopt({ state, fds }: TakenDevice): void {
    if (state.listens !== undefined) {
      this.listener = listenOn(taken(fds), state.listens.path, (socket) => this.accept(socket));
      this.listener.pause(true);
      this.frozen = true;
    }
    if (state.session === null) return;
    this.session = this.newSession(new DescriptorSocket(taken(fds)));
    importSession(this.session, state.session, fds);
  }

  private dropNext(): void {
    if (this.next !== null) this.turnAway(this.next);
    this.next = null;
  }

  /** What it has sent along may take long to close; while that is so of many, nobody else is let in to be turned away. */
  private turnAway(socket: DescriptorSocket): void {
    const pause = () => this.listener?.pause(this.frozen || this.turnedAway.count >= TURNED_AWAY_MAX);
    void this.turnedAway.close([socket.release()]).then(pause);
    pause();
  }

  private newSession(socket: DescriptorSocket): Session {
    const { io, log, device, serial, queues = VHOST_LIMITS.queues, standby } = this.options;
    const { copies, writeback } = this;
    const onOver = () => this.sessionOver();
    const writebackKnown = standby !== true;
    const options = { io, log, device, serial, queues, copies, writeback, writebackKnown, onOver };
    return new Session(socket, options);
  }

  private whenOver(): Promise<void> {
    return new Promise((resolve) => this.over.push(resolve));
  }

  private sessionOver(): void {
    this.writeback = this.session!.writeback;
    this.session = null;
    for (const resolve of this.over.splice(0)) resolve();
    const next = this.next;
    this.next = null;
    if (next !== null) this.accept(next);
    else if (this.listener === null && !this.closing) this.options.onOver?.();
  }
}
