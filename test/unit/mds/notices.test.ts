import { beforeEach, describe, expect, test } from 'vitest';
import { createSpec, failure, ostInfo, Rig } from './support.js';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start(2);
  await rig.mds.createObject(createSpec());
});

describe('the holder of a lease is told', () => {
  test('when another one takes the object, over the connection that renewed last, and nobody else is', async () => {
    const [first, later, third] = [{}, {}, {}];
    const { object, sessionEpoch } = await rig.openFor('a', { caller: first });
    await rig.mds.renew({ id: object.id, sessionEpoch }, later);
    await rig.openFor('b', { force: true, caller: third });
    expect(rig.notices).toHaveLength(1);
    expect(rig.notices[0]!.caller).toBe(later);
    expect(rig.notices[0]!.notice).toMatchObject({ id: object.id, sessionEpoch, what: 'fenced' });
    expect(rig.notices[0]!.notice.reason).toContain("'b'");
  });

  test('not when the open was refused', async () => {
    await rig.openFor('a');
    await failure('BUSY', rig.openFor('b'));
    expect(rig.notices).toEqual([]);
  });

  test('when the object is removed', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    await rig.mds.remove({ ref: 'vol', force: true });
    expect(rig.notices.map(({ notice }) => notice)).toMatchObject([
      { id: object.id, sessionEpoch, what: 'fenced' },
    ]);
  });

  test('to look when an OST is there again, once', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    const connection = {};
    await rig.mds.registerOst(ostInfo(1), connection);
    await rig.mds.registerOst(ostInfo(1), connection);
    expect(rig.notices.map(({ notice }) => notice)).toMatchObject([
      { id: object.id, sessionEpoch, what: 'look' },
    ]);
  });

  test('nothing after it has closed', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await rig.openFor('b');
    expect(rig.notices).toEqual([]);
  });
});

describe('an open that knows not of the latest one', () => {
  test('is refused, also the same holder: its process may be dead', async () => {
    const { sessionEpoch: after } = await rig.mds.getObj({ ref: 'vol' });
    expect(after).toBe(0);
    const { object, sessionEpoch } = await rig.openFor('a', { after });
    await failure('CONFLICT', rig.openFor('a', { after }));
    await failure('CONFLICT', rig.openFor('b', { after, force: true }));
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    expect(rig.notices).toEqual([]);
  });

  test('also after a close, and after a restart of the MDS', async () => {
    const { object, sessionEpoch } = await rig.openFor('a', { after: 0 });
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await rig.restart();
    await failure('CONFLICT', rig.openFor('a', { after: 0 }));
    expect(await rig.mds.getObj({ ref: 'vol' })).toMatchObject({ clean: true, sessionEpoch });
  });

  test('is none when it names it, or says nothing', async () => {
    const { sessionEpoch: after } = await rig.openFor('a', { after: 0 });
    expect((await rig.openFor('a', { after })).sessionEpoch).toBeGreaterThan(after);
    await rig.openFor('a');
    const known = await rig.mds.getObj({ ref: 'vol' });
    await rig.openFor('b', { after: known.sessionEpoch, force: true });
  });
});
