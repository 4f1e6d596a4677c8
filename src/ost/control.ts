import { RawstorError } from '../common/errors.js';
import { traceFor } from '../common/trace.js';
import type { MethodName, ObjectRecord, OstInfo, Params } from '../protocol/index.js';
import { integrityCall, integrityFigures } from './checksums/integrity-calls.js';
import { setDamaged } from './checksums/set-damaged.js';
import type { Collector } from './collector.js';
import type { CopyEngine } from './copy.js';
import type { OstCore } from './core.js';
import { extents } from './extents.js';
import { KeptObjects } from './kept-objects.js';
import { lacksParent } from './layers/index.js';
import { markRecent } from './mark-recent.js';
import type { OstObject } from './object.js';
import { objectChange, setChange } from './record-changes.js';
import type { SetRecord } from './records.js';
import { listRegions } from './region-list.js';
import type { Session, SessionHolder } from './session.js';
import { versionCall } from './version-calls.js';

/** What an OST says of itself. */
export interface OstSelf {
  info(): OstInfo;
  loopStallMaxMs(): number;
  /** Null: it has no MDS to ask. */
  readonly collector: Collector | null;
}

/** Answers the control methods of an OST, for connections and for peers in this process alike. */
export class OstControl {
  private readonly core: OstCore;
  private readonly copies: CopyEngine;
  private readonly self: OstSelf;
  private readonly kept: KeptObjects;

  constructor(core: OstCore, copies: CopyEngine, self: OstSelf) {
    this.core = core;
    this.copies = copies;
    this.self = self;
    this.kept = new KeptObjects(core);
  }

  /** Parameters are checked already. @throws RawstorError */
  async call(method: MethodName, params: unknown, holder: SessionHolder): Promise<unknown> {
    switch (method) {
      case 'ost.attach': {
        const { object, sessionEpoch, sessionNumber } = params as Params<'ost.attach'>;
        const session = await this.core.attaching.attach(object, sessionEpoch, sessionNumber, holder);
        // Read after the fence: nobody of before stores another one.
        const set = this.core.records.set(object.id)?.set ?? null;
        const { handle } = session;
        return { handle, bootId: this.core.bootId, set, ...this.lacking(session.object, object) };
      }
      case 'ost.attachReader': {
        const { objectId, sessionEpoch } = params as Params<'ost.attachReader'>;
        const session = await this.core.attaching.attachReader(objectId, sessionEpoch, holder);
        const writer = session.object.writer !== null;
        return { handle: session.handle, bootId: this.core.bootId, writer };
      }
      case 'ost.detach': {
        const session = this.core.session((params as Params<'ost.detach'>).handle, holder);
        this.core.endSession(session);
        await session.drained();
        return {};
      }
      case 'ost.regions':
        return listRegions(this.core, params as Params<'ost.regions'>, holder);
      case 'ost.copy': {
        const asked = params as Params<'ost.copy'>;
        return this.copies.copy(this.core.session(asked.handle, holder), asked);
      }
      case 'ost.mark': {
        const { handle, tag } = params as Params<'ost.mark'>;
        return { regions: await markRecent(this.core, this.core.session(handle, holder), tag) };
      }
      case 'ost.storeSet': {
        const { handle, object, ...record } = params as Params<'ost.storeSet'>;
        const session = this.core.session(handle, holder);
        await Promise.all([this.storeSet(session, record), object && this.storeRecord(session, object)]);
        this.core.session(handle, holder);
        return {};
      }
      case 'ost.keepObject': {
        const { object } = params as Params<'ost.keepObject'>;
        return this.lacking(await this.kept.keep(object), object);
      }
      case 'ost.objects':
        return this.kept.page((params as Params<'ost.objects'>).after);
      case 'ost.collect': {
        const { collector } = this.self;
        if (collector === null) throw new RawstorError('UNAVAILABLE', 'this OST has no MDS to ask');
        return collector.run((params as Params<'ost.collect'>).dryRun);
      }
      case 'ost.extents': {
        const asked = params as Params<'ost.extents'>;
        return extents(this.core, this.core.session(asked.handle, holder), asked);
      }
      case 'ost.attachSnapshot':
      case 'ost.unmerged':
      case 'ost.flatten':
      case 'ost.changed':
      case 'ost.regionVersions':
        return versionCall(this.core, method, params, holder);
      case 'ost.deleteObject':
        await this.core.removal.remove((params as Params<'ost.deleteObject'>).objectId);
        return {};
      case 'ost.usage':
        return this.core.storage.usage((params as Params<'ost.usage'>).objectId);
      case 'ost.setDamaged': {
        const asked = params as Params<'ost.setDamaged'>;
        return setDamaged(this.core, this.core.session(asked.handle, holder), asked);
      }
      case 'ost.damage':
      case 'ost.scrub':
      case 'ost.scrubStatus':
      case 'ost.scrubCancel':
        return integrityCall(this.core, method, params, holder);
      case 'ost.trace':
        return { stages: traceFor((params as Params<'ost.trace'>).forMs) };
      case 'ost.stat':
        return {
          ...this.self.info(),
          objects: this.core.objects.size,
          sessions: this.core.sessionCount,
          loopStallMaxMs: this.self.loopStallMaxMs(),
          integrity: integrityFigures(this.core),
          traffic: { ...this.core.traffic },
        };
      default:
        throw new RawstorError('NOT_SUPPORTED', `an OST does not answer ${method}`);
    }
  }

  private lacking({ record }: OstObject, brought: ObjectRecord): { lacksParent?: true } {
    return lacksParent(record, brought, this.core.ostId) ? { lacksParent: true } : {};
  }

  private async storeSet({ object }: Session, record: SetRecord): Promise<void> {
    const { core } = this;
    const { set } = record;
    const known = core.records.set(object.record.id);
    if (known !== null && known.set.epoch > set.epoch) return;
    await core.commit([setChange(object.record.id, record)]);
    core.sealed(object, record.lastSeal);
  }

  /** In turn with attaches, which bring records too: the newest stays. */
  private async storeRecord(session: Session, brought: ObjectRecord): Promise<void> {
    const { object } = session;
    if (brought.id !== object.record.id) {
      throw new RawstorError('INVALID', 'the record is of another object', { where: object.record.id });
    }
    const stored = object.turn.then(async () => {
      const record = object.newerRecord(brought);
      if (session.ended !== 0 || record === object.record) return;
      await this.core.commit([objectChange(record)]);
      object.becomes(record);
      this.core.layers.merger.look(object);
    });
    object.turn = stored.catch(() => {});
    await stored;
  }
}
