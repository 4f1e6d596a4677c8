import { RawstorError } from '../common/errors.js';
import { type ObjectRecord, STATUS_FENCED, STATUS_STALE_SESSION } from '../protocol/index.js';
import type { OstCore } from './core.js';
import type { OstObject } from './object.js';
import { fenceChange, objectChange } from './record-changes.js';
import type { Session, SessionHolder } from './session.js';

/** How sessions begin: of an object's writer, of who copies for it, of who reads a snapshot. */
export class Attaching {
  private readonly core: OstCore;

  constructor(core: OstCore) {
    this.core = core;
  }

  /** @throws RawstorError FENCED, STALE_SESSION, NOT_FOUND for an object removed */
  async attach(record: ObjectRecord, epoch: number, number: number, holder: SessionHolder): Promise<Session> {
    if (this.core.closing)
      throw new RawstorError('UNAVAILABLE', 'the OST is ending', { where: this.core.ostId });
    const object = this.core.object(record.id, record);
    const attached = object.turn.then(() => this.inTurn(object, record, epoch, number, holder));
    object.turn = attached.catch(() => {});
    return attached;
  }

  /**
   * For another OST that copies from here on the word of the writer attached here (I3), and for who reads what that one writes: of no
   * other. Epoch 0: of what nobody has opened yet.
   * @throws RawstorError FENCED, STALE_SESSION, NOT_FOUND
   */
  async attachReader(objectId: string, epoch: number, holder: SessionHolder): Promise<Session> {
    await this.core.boot.settled();
    const object = this.core.object(objectId, null);
    const { fence } = object;
    const attached = fence?.sessionEpoch ?? 0;
    if (epoch < attached) throw this.fenced(object);
    if (epoch > attached) {
      throw new RawstorError('STALE_SESSION', 'the writer of that session has not attached here', {
        where: `${object.record.name} on OST ${this.core.ostId}`,
      });
    }
    const session = this.core.newSession(object, epoch, 0, true, holder);
    object.readers.add(session);
    return session;
  }

  /** Reads one snapshot: it never changes, so no fence is needed. @throws RawstorError NOT_FOUND */
  async attachSnapshot(objectId: string, version: number, holder: SessionHolder): Promise<Session> {
    await this.core.boot.settled();
    const object = this.core.object(objectId, null);
    const snapshot = object.record.snapshots.find((one) => one.version === version && one.name !== null);
    if (snapshot === undefined) {
      throw new RawstorError('NOT_FOUND', `this OST knows no snapshot of version ${version}`, {
        where: `${object.record.name} on OST ${this.core.ostId}`,
        hint: 'it was removed, or this OST was away when it was taken',
      });
    }
    const session = this.core.newSession(object, 0, 0, true, holder, version);
    object.readers.add(session);
    return session;
  }

  private async inTurn(
    object: OstObject,
    record: ObjectRecord,
    epoch: number,
    number: number,
    holder: SessionHolder,
  ): Promise<Session> {
    const { fence } = object;
    if (fence !== null) {
      if (epoch < fence.sessionEpoch) throw this.fenced(object);
      if (epoch === fence.sessionEpoch && number <= fence.sessionNumber) {
        throw new RawstorError('STALE_SESSION', 'a later attach of the same writer was here', {
          where: this.core.ostId,
        });
      }
    }
    const next = { sessionEpoch: epoch, sessionNumber: number };
    const kept = object.newerRecord(record);
    await this.core.commit([fenceChange(record.id, next), objectChange(kept)]);
    object.fence = next;
    object.becomes(kept);
    this.core.sealed(object, kept.lastSeal);
    const status = fence !== null && epoch > fence.sessionEpoch ? STATUS_FENCED : STATUS_STALE_SESSION;
    const drained = this.core.endSessions(object, status, epoch);
    this.core.dirty.releaseAll();
    await drained;
    // A loss that became known meanwhile is told by the boot id of the answer.
    await this.core.boot.settled();
    if (this.core.closing || this.core.removal.isRemoved(record.id)) {
      throw new RawstorError('UNAVAILABLE', 'the object or the OST is going', { where: this.core.ostId });
    }
    object.writer = this.core.newSession(object, epoch, number, false, holder);
    this.core.integrity?.attached(object);
    this.core.layers.merger.look(object);
    return object.writer;
  }

  private fenced(object: OstObject): RawstorError {
    return new RawstorError('FENCED', 'a newer writer has opened the object', {
      where: `${object.record.name} on OST ${this.core.ostId}`,
      hint: 'only one writer at a time: close the other, or open with --force',
    });
  }
}
