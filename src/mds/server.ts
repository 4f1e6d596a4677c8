import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Address, Io, Listener } from '../io/index.js';
import {
  type Connection,
  type ConnectionHandler,
  EVENT_DELETED,
  EVENT_NOTICE,
  type Identity,
  type MethodName,
  type Notice,
  type Params,
  Reception,
  type Result,
} from '../protocol/index.js';
import type { Mds } from './mds.js';

type Handlers = {
  [M in MethodName]?: (params: Params<M>, caller: Connection) => Promise<Result<M>>;
};

/** The sockets of an MDS: gives calls to `Mds` and tells it of lost connections. */
export class MdsServer implements ConnectionHandler {
  private readonly io: Io;
  private readonly log: Logger;
  private readonly mds: Mds;
  private readonly identity: Identity;
  private readonly handlers: Handlers;
  private readonly listeners: Listener[] = [];
  private readonly reception: Reception;
  /** The standing connection of each OST. */
  private readonly osts = new Map<string, Connection>();
  private readonly running = new Set<Promise<unknown>>();

  constructor(env: { io: Io; clock: Clock; log: Logger }, mds: Mds, name: string) {
    this.io = env.io;
    this.log = env.log;
    this.mds = mds;
    this.identity = { role: 'mds', clusterId: mds.clusterId, name };
    this.reception = new Reception(env, this.identity);
    this.handlers = handlersOf(mds, (ostId, connection) => this.osts.set(ostId, connection));
  }

  async listen(addresses: readonly Address[]): Promise<Address[]> {
    for (const address of addresses) {
      this.listeners.push(await this.io.listen(address, (stream) => this.reception.accept(stream, this)));
    }
    return this.listeners.map((listener) => listener.address);
  }

  /** Tells the OSTs that are connected at once; the others learn it when they register. */
  tellDeleted(objectId: string, ostIds: readonly string[]): void {
    for (const ostId of ostIds) this.osts.get(ostId)?.event(EVENT_DELETED, { objects: [objectId] });
  }

  /** A connection that has ended is told nothing. */
  tellHolder(connection: Connection, notice: Notice): void {
    connection.event(EVENT_NOTICE, notice);
  }

  /** Answers nothing more; waits for what is being recorded. */
  async close(): Promise<void> {
    for (const listener of this.listeners) await listener.close();
    this.reception.close();
    await Promise.allSettled(this.running);
  }

  async call(connection: Connection, method: MethodName, params: unknown): Promise<unknown> {
    const handler = this.handlers[method] as ((p: unknown, c: Connection) => Promise<unknown>) | undefined;
    if (handler === undefined) {
      throw new RawstorError('NOT_SUPPORTED', `an MDS does not answer ${method}`, {
        where: this.identity.name,
      });
    }
    const result = handler(params, connection);
    this.running.add(result);
    try {
      return await result;
    } catch (error) {
      if (!(error instanceof RawstorError) || error.code === 'INTERNAL' || error.code === 'BAD_DATA') {
        this.log.error({ err: error, method, peer: connection.peer }, 'a call failed');
      }
      throw error;
    } finally {
      this.running.delete(result);
    }
  }

  data(connection: Connection): void {
    connection.destroy(
      new RawstorError('PROTOCOL', 'an MDS takes no data frames', { where: connection.peer }),
    );
  }

  event(): void {
    // Events that a newer peer may send mean nothing here.
  }

  closed(connection: Connection, error: Error | null): void {
    for (const [ostId, of] of this.osts) if (of === connection) this.osts.delete(ostId);
    this.mds.lost(connection);
    const who = connection.remote?.name;
    if (error !== null)
      this.log.debug({ peer: connection.peer, who, reason: error.message }, 'connection lost');
  }
}

function handlersOf(mds: Mds, ostConnected: (ostId: string, connection: Connection) => void): Handlers {
  return {
    'mds.registerOst': async (params, caller) => {
      const result = await mds.registerOst(params, caller);
      ostConnected(params.ostId, caller);
      return result;
    },
    'mds.confirmDeleted': (params) => mds.confirmDeleted(params),
    'mds.listOsts': () => mds.listOsts(),
    'mds.getFreeOst': (params) => mds.getFreeOst(params),
    'mds.createObject': (params) => mds.createObject(params),
    'mds.getObj': (params) => mds.getObj(params),
    'mds.getObjPart': (params) => mds.getObjPart(params),
    'mds.list': (params) => mds.list(params),
    'mds.rename': (params) => mds.rename(params),
    'mds.remove': (params) => mds.remove(params),
    'mds.open': (params, caller) => mds.open(params, caller),
    'mds.renew': (params, caller) => mds.renew(params, caller),
    'mds.changeMembers': (params) => mds.changeMembers(params),
    'mds.seal': (params) => mds.seal(params),
    'mds.close': (params) => mds.close(params),
    'mds.acknowledgeLoss': (params) => mds.acknowledgeLoss(params),
    'mds.dump': (params) => mds.dump(params),
    'mds.stat': () => mds.stat(),
    'mds.catalogGet': (params) => mds.catalog.get(params),
    'mds.catalogRange': (params) => mds.catalog.range(params),
    'mds.catalogTransact': (params) => mds.catalog.transact(params),
    'mds.catalogState': (params) => mds.catalog.recovery.tell(params),
    'mds.catalogRecoverBegin': () => mds.catalog.recovery.begin(),
    'mds.catalogRecoverRows': (params) => mds.catalog.recovery.put(params),
    'mds.catalogRecoverAbandon': (params) => mds.catalog.recovery.abandon(params),
    'mds.catalogRecoverEnd': (params) => mds.catalog.recovery.end(params),
    'mds.catalogConfirm': () => mds.catalog.recovery.confirm(),
    'mds.setOst': (params) => mds.moves.setOst(params),
    'mds.removeOst': (params) => mds.moves.removeOst(params),
    'mds.objectsOn': (params) => mds.moves.objectsOn(params),
    'mds.move': (params) => mds.moves.move(params),
    'mds.cancelMove': (params) => mds.moves.cancelMove(params),
    'mds.moveStored': (params) => mds.moves.moveStored(params),
    'mds.giveUpCopy': (params) => mds.moves.giveUpCopy(params),
    'mds.confirmLeft': (params) => mds.moves.confirmLeft(params),
    'mds.changeVersions': (params) => mds.versions.change(params),
    'mds.askChange': (params, caller) => mds.versions.ask(params, caller),
    'mds.refuseChange': (params) => mds.versions.refuse(params),
    'mds.clone': (params) => mds.versions.clone(params),
    'mds.reportObjects': (params) => mds.collect.report(params),
    'mds.children': (params) => mds.versions.children(params),
  };
}
