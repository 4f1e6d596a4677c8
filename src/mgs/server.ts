import type { Clock, Timer } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Address, Io, Listener } from '../io/index.js';
import {
  type Connection,
  type ConnectionHandler,
  type Identity,
  type MethodName,
  type Params,
  Reception,
  type Result,
} from '../protocol/index.js';
import type { MgsDirectory } from './directory.js';
import type { Registry } from './registry.js';

/** Changes of the list of servers are gathered this long before they are written. */
const WRITE_DELAY_MS = 1000;
/** And when nothing changes, the last-seen times are written this often. */
const WRITE_PERIOD_MS = 60_000;

/** The sockets of an MGS. */
export class MgsServer implements ConnectionHandler {
  private readonly io: Io;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly registry: Registry;
  private readonly directory: MgsDirectory;
  private readonly identity: Identity;
  private readonly listeners: Listener[] = [];
  private readonly reception: Reception;
  private readonly periodic: Timer;
  private writeTimer: Timer | null = null;
  private writing: Promise<void> = Promise.resolve();

  constructor(
    env: { io: Io; clock: Clock; log: Logger },
    registry: Registry,
    directory: MgsDirectory,
    name: string,
  ) {
    this.io = env.io;
    this.clock = env.clock;
    this.log = env.log;
    this.registry = registry;
    this.directory = directory;
    this.identity = {
      role: 'mgs',
      name,
      get clusterId() {
        return directory.clusterId;
      },
    };
    this.reception = new Reception(env, this.identity);
    this.periodic = env.clock.every(WRITE_PERIOD_MS, () => this.write());
  }

  async listen(addresses: readonly Address[]): Promise<Address[]> {
    for (const address of addresses) {
      this.listeners.push(await this.io.listen(address, (stream) => this.reception.accept(stream, this)));
    }
    return this.listeners.map((listener) => listener.address);
  }

  async close(): Promise<void> {
    this.periodic.cancel();
    this.writeTimer?.cancel();
    for (const listener of this.listeners) await listener.close();
    this.reception.close();
    this.write();
    await this.writing;
  }

  async call(connection: Connection, method: MethodName, params: unknown): Promise<unknown> {
    switch (method) {
      case 'mgs.register':
        return this.register(connection, params as Params<'mgs.register'>);
      case 'mgs.leave':
        return this.leave(params as Params<'mgs.leave'>);
      case 'mgs.cluster':
        return this.cluster();
      default:
        throw new RawstorError('NOT_SUPPORTED', `an MGS does not answer ${method}`, {
          where: this.identity.name,
        });
    }
  }

  data(connection: Connection): void {
    connection.destroy(
      new RawstorError('PROTOCOL', 'an MGS takes no data frames', { where: connection.peer }),
    );
  }

  event(): void {
    // Events that a newer peer may send mean nothing here.
  }

  closed(): void {}

  private async register(
    connection: Connection,
    info: Params<'mgs.register'>,
  ): Promise<Result<'mgs.register'>> {
    const theirs = connection.remote?.clusterId ?? '';
    if (this.directory.clusterId === '' && theirs !== '' && info.role === 'mds') {
      this.log.info(
        { clusterId: theirs, of: connection.remote?.name },
        'this is the cluster of the first MDS',
      );
      await this.directory.adopt(theirs);
    }
    // The cluster may have become known after the hello, which let any cluster's servers in.
    if (theirs !== '' && this.directory.clusterId !== '' && theirs !== this.directory.clusterId) {
      throw new RawstorError('DENIED', `this MGS belongs to another cluster (${this.directory.clusterId})`, {
        where: this.identity.name,
      });
    }
    if (this.registry.register(info)) {
      this.log.info({ server: info.role, id: info.id, addresses: info.addresses }, 'a server registered');
      this.writeTimer ??= this.clock.after(WRITE_DELAY_MS, () => this.write());
    }
    return { clusterId: this.directory.clusterId };
  }

  private leave(server: Params<'mgs.leave'>): Result<'mgs.leave'> {
    if (this.registry.leave(server)) {
      this.log.info({ server: server.role, id: server.id }, 'a server has left');
      this.writeTimer ??= this.clock.after(WRITE_DELAY_MS, () => this.write());
    }
    return {};
  }

  private cluster(): Result<'mgs.cluster'> {
    return { clusterId: this.directory.clusterId, servers: this.registry.servers() };
  }

  private write(): void {
    this.writeTimer = null;
    this.writing = this.writing
      .then(() => this.directory.writeServers(this.registry.remembered()))
      .catch((error) => this.log.warn({ err: error }, 'the list of servers was not written'));
  }
}
