import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { type BootId, type OstConnector, type OstPeer, type Params, sameBootId } from '../protocol/index.js';
import type { Session } from './session.js';

const CONNECT_TIMEOUT_MS = 3000;
/** A source that answers nothing for so long is given up, and with it all that is copied from it. */
export const SOURCE_TIMEOUT_MS = 10_000;

/** Objects of one source with a session kept; half of what a connection may have. */
const READERS_MAX = LIMITS.objectsPerConnection / 2;

/** A reading session at a source. Copies of the same object use it together. */
interface Reader {
  readonly objectId: string;
  readonly epoch: number;
  readonly bootId: BootId;
  readonly handle: Promise<number>;
  /** Copies that use it now. */
  users: number;
}

/** Another OST, and the reading sessions there: one an object, of the latest epoch. */
export interface Source {
  readonly peer: OstPeer;
  readonly readers: Map<string, Reader>;
}

/** Connections to the OSTs that are copied from. */
export class CopySources {
  private readonly connector: OstConnector;
  private readonly sources = new Map<string, Promise<Source>>();

  constructor(connector: OstConnector) {
    this.connector = connector;
  }

  close(): void {
    for (const source of this.sources.values()) source.then(({ peer }) => peer.destroy()).catch(() => {});
  }

  source(asked: Params<'ost.copy'>): Promise<Source> {
    const { sourceOstId } = asked;
    let source = this.sources.get(sourceOstId);
    if (source === undefined) {
      source = this.connect(asked);
      this.sources.set(sourceOstId, source);
      source.catch(() => this.sources.delete(sourceOstId));
    }
    return source;
  }

  private async connect({ sourceOstId, sourceAddresses }: Params<'ost.copy'>): Promise<Source> {
    const peer = await this.connector.connect(sourceOstId, sourceAddresses, CONNECT_TIMEOUT_MS);
    peer.onClosed = () => this.sources.delete(sourceOstId);
    return { peer, readers: new Map() };
  }

  /** One to copy through: given back with `release`. */
  reader(
    source: Source,
    session: Session,
    { sourceBootId: bootId, sourceOstId }: Params<'ost.copy'>,
  ): Reader {
    const { peer, readers } = source;
    const { id } = session.object.record;
    const known = readers.get(id);
    if (known !== undefined && known.epoch >= session.epoch && sameBootId(known.bootId, bootId)) {
      // Again the latest in the map's order.
      readers.delete(id);
      readers.set(id, known);
      known.users++;
      return known;
    }
    if (known !== undefined) this.forget(source, known);
    const asked = { objectId: id, sessionEpoch: session.epoch };
    const handle = peer.call('ost.attachReader', asked, SOURCE_TIMEOUT_MS).then((answer) => {
      if (sameBootId(answer.bootId, bootId)) return answer.handle;
      detach(peer, answer.handle);
      // It lost what was not flushed since the writer attached it, and the writer does not know yet.
      throw new RawstorError('STALE_SESSION', 'the source has another boot id', { where: sourceOstId });
    });
    const reader = { objectId: id, epoch: session.epoch, bootId, handle, users: 1 };
    readers.set(id, reader);
    handle.catch(() => this.forget(source, reader));
    for (const oldest of readers.values()) {
      if (readers.size <= READERS_MAX) break;
      this.forget(source, oldest);
    }
    return reader;
  }

  /** The next copy asks for a session of its own. This one ends once nobody uses it. */
  forget(source: Source, reader: Reader): void {
    const { readers } = source;
    if (readers.get(reader.objectId) !== reader) return;
    readers.delete(reader.objectId);
    if (reader.users === 0) end(source, reader);
  }

  release(source: Source, reader: Reader): void {
    reader.users--;
    if (reader.users === 0 && source.readers.get(reader.objectId) !== reader) end(source, reader);
  }
}

function end({ peer }: Source, { handle }: Reader): void {
  handle.then((ended) => detach(peer, ended)).catch(() => {});
}

/** Left open, it would count among those that a connection may have. It may have ended by itself. */
function detach(peer: OstPeer, handle: number): void {
  peer.call('ost.detach', { handle }, SOURCE_TIMEOUT_MS).catch(() => {});
}

/** What the other OST failed to do. */
export class SourceFailure extends Error {
  readonly failure: RawstorError;

  constructor(failure: RawstorError) {
    super(failure.message);
    this.failure = failure;
  }
}

export function ofSource<T>(asked: Promise<T>): Promise<T> {
  return asked.catch((error) => {
    throw new SourceFailure(asRawstorError(error));
  });
}
