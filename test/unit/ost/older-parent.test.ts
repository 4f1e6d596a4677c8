import { expect, test } from 'vitest';
import { lacksParent } from '../../../src/ost/layers/index.js';
import { objectChange, setChange } from '../../../src/ost/record-changes.js';
import type { Member, ObjectRecord, Parent } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { RECORD, SimOst } from './sim-ost.js';
import { objectRecord } from './support.js';

/** Whether what a clone lies over is here as it was when the clone was made: asked when this OST hears of the clone for the first time. */

const { sizeBytes } = RECORD;
const MONDAY = { version: 2, over: 1, name: 'monday', sizeBytes, createdWallMs: 0, protected: false };
const TAKEN: ObjectRecord = { ...RECORD, epoch: 7, headVersion: 3, headOver: 2, snapshots: [MONDAY] };
const KEPT = 6;

interface Here {
  readonly record: ObjectRecord | null;
  readonly setEpoch: number;
  readonly state?: Member['state'];
}

function started(): SimOst {
  const ost = new SimOst();
  ost.start({ checksums: false });
  return ost;
}

function cloneOn({ core: { ostId } }: SimOst, change: Partial<Parent> = {}): ObjectRecord {
  const keptEpochs = { [ostId]: KEPT };
  const over = { objectId: RECORD.id, version: 2, name: 'v@monday', ostIds: [ostId], keptEpochs, sizeBytes };
  return objectRecord(2, {
    chunkSizeBytes: RECORD.chunkSizeBytes,
    sizeBytes,
    parent: { ...over, ...change },
  });
}

function has(ost: SimOst, { record, setEpoch, state = 'in-sync' }: Here): void {
  const { core } = ost;
  const members: Member[] = [{ ostId: core.ostId, state, bootId: null, staleSince: 0 }];
  const set = { set: { epoch: setEpoch, members }, lastSeal: 0, lossWallMs: null };
  const changes = [setChange(RECORD.id, set), ...(record === null ? [] : [objectChange(record)])];
  ost.finish(core.commit(changes));
}

function lacks(ost: SimOst, clone: ObjectRecord, epoch = 5): boolean {
  const session = ost.attach(epoch, clone);
  return lacksParent(session.object.record, clone, ost.core.ostId);
}

test.each<[string, Here, boolean]>([
  ['all of it', { record: TAKEN, setEpoch: KEPT }, false],
  ['a later set', { record: TAKEN, setEpoch: 9 }, false],
  // Who froze it has not told yet.
  ['the version, as its head', { record: { ...RECORD, epoch: 5, headVersion: 2 }, setEpoch: KEPT }, false],
  ['nothing', { record: null, setEpoch: 0 }, true],
  ['a record of before the version', { record: RECORD, setEpoch: KEPT }, true],
  ['an older set', { record: TAKEN, setEpoch: KEPT - 1 }, true],
  ['a set by which it is being brought the rest', { record: TAKEN, setEpoch: 9, state: 'stale' }, true],
])('with %s of the parent', (_what, here, lacking) =>
  outsideReactions(() => {
    const ost = started();
    has(ost, here);
    expect(lacks(ost, cloneOn(ost))).toBe(lacking);
  }),
);

test('it is not shared later either, whatever becomes of the parent here', () =>
  outsideReactions(() => {
    const ost = started();
    has(ost, { record: RECORD, setEpoch: KEPT });
    const clone = cloneOn(ost);
    expect(lacks(ost, clone)).toBe(true);
    has(ost, { record: TAKEN, setEpoch: 9 });
    expect(lacks(ost, { ...clone, epoch: 8 }, 8)).toBe(true);
    ost.process.kill();
    ost.start({ checksums: false });
    expect(lacks(ost, { ...clone, epoch: 9 }, 9)).toBe(true);
    // The MDS has heard of it.
    expect(lacks(ost, { ...cloneOn(ost, { ostIds: [] }), epoch: 10 }, 10)).toBe(false);
  }));

test('one that heard of the clone in time goes on sharing it', () =>
  outsideReactions(() => {
    const ost = started();
    has(ost, { record: TAKEN, setEpoch: KEPT });
    const clone = cloneOn(ost);
    expect(lacks(ost, clone)).toBe(false);
    has(ost, { record: TAKEN, setEpoch: 9, state: 'stale' });
    expect(lacks(ost, { ...clone, epoch: 8 }, 8)).toBe(false);
  }));
