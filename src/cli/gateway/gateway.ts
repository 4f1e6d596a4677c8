import { hostname } from 'node:os';
import type { Cluster, ControlLink } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
import { newId } from '../../common/ids.js';
import type { Logger } from '../../common/log.js';
import { LoopStall } from '../../common/loop-stall.js';
import { traceFor } from '../../common/trace.js';
import type { Io } from '../../io/index.js';
import { NbdServer } from '../../nbd-server/index.js';
import { reachable } from '../roles/environment.js';
import { type ControlRequest, ControlServer } from './control.js';
import { holderAt } from './holder.js';
import { Registration } from './registration.js';
import { VolumeExports } from './volume-exports.js';

/** In which a healthy volume has answered everything and is closed clean. */
const FORCED_PATIENCE_MS = 2000;

export interface GatewayOptions {
  readonly cluster: Cluster;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly listen: readonly string[];
  /** Path of the control socket; without it the gateway takes no `detach`. */
  readonly controlPath?: string;
  /** Management server to register with. */
  readonly mgs?: ControlLink | null;
  readonly labels?: Record<string, string>;
  /** By which the management server knows it; else a new one. */
  readonly id?: string;
  /** Only this volume. */
  readonly only?: string;
  /** For guests that are moved: volumes that another process has are waited for, and given where their guests go. */
  readonly standby?: boolean;
}

/** An NBD server over the volumes of a cluster. */
export class Gateway {
  readonly addresses: readonly string[];
  /** Resolved when the one volume that this gateway is for can serve no more. */
  readonly failed: Promise<RawstorError>;
  private readonly server: NbdServer;
  private readonly stall: LoopStall;
  private control: ControlServer | null = null;
  private registration: Registration | null = null;

  private constructor(
    server: NbdServer,
    addresses: readonly string[],
    stall: LoopStall,
    failed: Promise<RawstorError>,
  ) {
    this.server = server;
    this.stall = stall;
    this.addresses = addresses;
    this.failed = failed;
  }

  /** @throws RawstorError BUSY, DENIED ... when an address cannot be listened on */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const { cluster, io, clock, log } = options;
    const addresses: string[] = [];
    let fail: (error: RawstorError) => void = () => {};
    const failed = new Promise<RawstorError>((resolve) => {
      if (options.only !== undefined) fail = resolve;
    });
    const exports = new VolumeExports({
      cluster,
      clock,
      holder: () => holderAt('rawstor-nbd', addresses[0]!),
      standby: options.standby ?? false,
      tellsStops: false,
      onFatal: (_name, error) => fail(error),
      // They come back, and find it opened anew.
      onResized: (name) => void server.drain(name),
      ...(options.only === undefined ? {} : { only: options.only }),
    });
    const server: NbdServer = new NbdServer({ io, exports, clock, log });
    const stall = new LoopStall(clock);
    let gateway: Gateway;
    try {
      for (const address of options.listen) addresses.push(await server.listen(address));
      gateway = new Gateway(server, addresses, stall, failed);
      if (options.controlPath !== undefined) {
        gateway.control = await ControlServer.listen(options.controlPath, (request) =>
          gateway.answer(request),
        );
      }
    } catch (error) {
      stall.stop();
      await server.close();
      throw error;
    }
    if (options.mgs) {
      const id = options.id ?? newId();
      const told = reachable(addresses);
      const labels = { host: hostname(), ...options.labels };
      const info = () => ({
        role: 'nbd' as const,
        id,
        addresses: told,
        labels,
        capacityBytes: 0,
        freeBytes: 0,
        loopStallMaxMs: stall.maxMs,
      });
      gateway.registration = new Registration(options.mgs, info, { clock, log });
    }
    return gateway;
  }

  /** Closes every volume cleanly. */
  async close(): Promise<void> {
    this.stall.stop();
    await this.control?.close();
    await this.server.close();
    await this.registration?.close();
  }

  private async answer(request: ControlRequest): Promise<object> {
    switch (request.method) {
      case 'status':
        return {
          pid: process.pid,
          addresses: this.addresses,
          holder: holderAt('rawstor-nbd', this.addresses[0]!),
          loopStallMaxMs: this.stall.maxMs,
          ...this.server.stats(),
        };
      case 'trace':
        return { stages: traceFor(request.forMs ?? 0) };
      case 'detach':
        return await this.detach(request.export ?? '', request.force === true);
      default:
        throw new RawstorError('NOT_SUPPORTED', `unknown method '${request.method}'`);
    }
  }

  private async detach(name: string, force: boolean): Promise<object> {
    const connections = this.server.stats().exports[name]?.connections ?? 0;
    if (connections > 0 && !force) {
      throw new RawstorError(
        'BUSY',
        `${connections} NBD ${connections === 1 ? 'client is' : 'clients are'} connected`,
        {
          where: name,
          hint: 'end the guest or tool first, or take it away from it with --force',
        },
      );
    }
    const wasOpen = await this.server.drain(name, force ? FORCED_PATIENCE_MS : null);
    return { export: name, wasOpen, connectionsEnded: connections };
  }
}
