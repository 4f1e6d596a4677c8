import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Io } from '../io/types.js';
import type { Identity } from './hello.js';
import type { OstConnector, OstPeer } from './ost-peer.js';
import { RemotePeer } from './remote-peer.js';

/** Reaches OSTs: those of this process by plain calls, the others by the first address that answers. */
export class Connector implements OstConnector {
  private readonly io: Io;
  private readonly clock: Clock;
  private readonly identity: Identity;
  private readonly local: ReadonlyMap<string, OstConnector>;

  constructor(
    env: { io: Io; clock: Clock; identity: Identity },
    local: ReadonlyMap<string, OstConnector> = new Map(),
  ) {
    this.io = env.io;
    this.clock = env.clock;
    this.identity = env.identity;
    this.local = local;
  }

  async connect(ostId: string, addresses: readonly string[], timeoutMs: number): Promise<OstPeer> {
    const here = this.local.get(ostId);
    if (here !== undefined) return here.connect(ostId, addresses, timeoutMs);
    let failure: RawstorError | null = null;
    for (const address of addresses) {
      try {
        return await RemotePeer.connect(this.io, this.clock, this.identity, address, timeoutMs, ostId);
      } catch (error) {
        failure = asRawstorError(error, address);
      }
    }
    throw failure ?? new RawstorError('UNAVAILABLE', `no address is known for OST ${ostId}`);
  }
}
