import type { Cluster } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import type { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { type Io, openMessageDevice } from '../io/index.js';
import { within } from './bounded.js';
import { MountHandlers } from './handlers.js';
import { canonicalDirectory, MountLock } from './mount-lock.js';
import { mountFuse, unmountFuse } from './mounting.js';
import { Nodes } from './nodes.js';
import { OpenFiles } from './open-files.js';
import { type OwnerOptions, Owners } from './owners.js';
import { Session } from './session.js';
import { Store, type StoreOptions } from './store.js';
import { Tree } from './tree.js';
import { Usage } from './usage.js';

/** How long the end of the mount waits for what was asked. */
const DRAIN_MS = 5000;

export interface FuseMountOptions {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly cluster: Cluster;
  readonly directory: string;
  /** Who mounts; the directory is added. */
  readonly holder: string;
  readonly timeoutMs: number;
  readonly layout: StoreOptions['layout'];
  readonly encryptionOf: StoreOptions['encryptionOf'];
  readonly owners: OwnerOptions;
  readonly allowOthers: boolean;
  /** A volume that somebody else writes to is opened for reading instead of not at all. */
  readonly readBusy: boolean;
  /** fallocate(2) takes the space that it is asked for. */
  readonly preallocate: boolean;
}

/** The volumes of a cluster as files of a directory, until that is unmounted or this is closed. */
export class FuseMount {
  readonly directory: string;
  /** Resolved when it was unmounted by somebody else. */
  readonly unmounted: Promise<void>;
  /** Resolved when it cannot go on. */
  readonly failed: Promise<RawstorError>;
  private readonly session: Session;
  private readonly files: OpenFiles;
  private readonly usage: Usage;
  private readonly lock: MountLock;
  private readonly clock: Clock;
  private readonly log: Logger;
  private mounted = true;

  private constructor(
    directory: string,
    parts: { session: Session; files: OpenFiles; usage: Usage; lock: MountLock; clock: Clock; log: Logger },
    ended: Promise<RawstorError | null>,
  ) {
    this.directory = directory;
    this.session = parts.session;
    this.files = parts.files;
    this.usage = parts.usage;
    this.lock = parts.lock;
    this.clock = parts.clock;
    this.log = parts.log;
    void ended.then(() => {
      this.mounted = false;
    });
    this.unmounted = new Promise((resolve) => void ended.then((error) => error ?? resolve()));
    this.failed = new Promise((resolve) => void ended.then((error) => error && resolve(error)));
  }

  /** @throws RawstorError BUSY, DENIED, NOT_FOUND */
  static async start(options: FuseMountOptions): Promise<FuseMount> {
    const { io, clock, log, allowOthers } = options;
    const directory = canonicalDirectory(options.directory);
    const lock = await MountLock.take(clock, directory, `${options.holder} ${directory}`);
    const store = new Store({ ...options, holder: lock.holder });
    const nodes = new Nodes();
    const files = new OpenFiles({ ...options, store, nodes });
    const usage = new Usage({ io, clock, store });
    const owners = new Owners(options.owners);
    const tree = new Tree({ clock, log, store, files, usage, owners, nodes });
    const handlers = new MountHandlers(tree, options);
    let end!: (error: RawstorError | null) => void;
    const ended = new Promise<RawstorError | null>((done) => {
      end = done;
    });
    let mounted: { fd: number; blocks: boolean };
    try {
      mounted = await mountFuse({ directory, allowOthers });
    } catch (error) {
      await files.close();
      usage.close();
      lock.release();
      throw error;
    }
    const device = openMessageDevice(io, mounted.fd, mounted.blocks);
    const session = new Session({ io, clock, log, device, handlers, onEnd: end });
    session.start();
    return new FuseMount(directory, { session, files, usage, lock, clock, log }, ended);
  }

  /** Takes nothing new, answers what was asked, and closes every volume cleanly. */
  async close(): Promise<void> {
    if (this.mounted && !(await unmountFuse(this.directory))) {
      this.log.warn(
        { directory: this.directory },
        'files are in use: who has them open gets errors from now on',
      );
    }
    // Programs may have files open still, and go on.
    this.session.stop();
    if (!(await within(this.clock, DRAIN_MS, this.session.drained()))) {
      this.log.warn({ requests: this.session.inFlight }, 'requests are stuck: they are not waited for');
    }
    await this.files.close();
    await this.session.close();
    this.usage.close();
    this.lock.release();
  }

  stats() {
    const { session, files } = this;
    const { readBytes, writtenBytes, errors, interrupted } = session.stats;
    return {
      readBytes,
      writtenBytes,
      errors,
      interrupted,
      inFlight: session.inFlight,
      openFiles: files.fileCount,
    };
  }
}
