import { beforeEach, expect, test } from 'vitest';
import { createSpec, failure, Rig } from './support.js';

/** Whoever waits for a lease asks its holder by way of the MDS. */

let rig: Rig;
let session: { id: string; sessionEpoch: number };
beforeEach(async () => {
  rig = await Rig.start(2);
  await rig.mds.createObject(createSpec());
  const { object, sessionEpoch } = await rig.openFor('a');
  session = { id: object.id, sessionEpoch };
});

const ask = (holder: string) =>
  rig.mds.open({ ref: 'vol', mode: 'write', holder, force: false, handOver: true }, {});
const isAsked = async () => (await rig.mds.renew(session, {})).handOver;

test('the holder is told at once and by its renewals, and keeps the lease', async () => {
  expect(await isAsked()).toBe(false);
  await failure('BUSY', ask('b'));
  expect(rig.notices.map(({ notice }) => notice)).toMatchObject([{ ...session, what: 'look' }]);
  expect(await isAsked()).toBe(true);
  expect((await rig.mds.getObj({ ref: 'vol' })).lease).toMatchObject({ holder: 'a' });
});

test('who asks in vain without waiting is not told of', async () => {
  await failure('BUSY', rig.openFor('b'));
  expect(await isAsked()).toBe(false);
  expect(rig.notices).toEqual([]);
});

test('asking again and again tells twice a second at most', async () => {
  for (let i = 0; i < 20; i++) {
    await failure('BUSY', ask('b'));
    rig.clock.advance(100);
  }
  expect(rig.notices).toHaveLength(4);
});

test('of one that does not ask any more the holder is free after five seconds', async () => {
  await failure('BUSY', ask('b'));
  rig.clock.advance(4999);
  expect(await isAsked()).toBe(true);
  rig.clock.advance(1);
  expect(await isAsked()).toBe(false);
});

test('a close gives it to who waits, clean, and nobody waits any more', async () => {
  await failure('BUSY', ask('b'));
  await rig.mds.close({ ...session, clean: true });
  const opened = await ask('b');
  expect(opened.wasClean).toBe(true);
  expect((await rig.mds.renew({ ...session, sessionEpoch: opened.sessionEpoch }, {})).handOver).toBe(false);
});
