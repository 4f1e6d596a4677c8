import { beforeEach, describe, expect, test } from 'vitest';
import { GiB } from '../../../src/common/units.js';
import { decodeStored, encodeStored, OBJECT_PREFIX } from '../../../src/mds/stored-object.js';
import type { CreateSpec, Member, Params } from '../../../src/protocol/index.js';
import { createSpec, failure, Rig, testId } from './support.js';

let rig: Rig;
let id: string;
let pool: string[];
let session: number;
let requests = 0;

async function setUp(osts: number, changes: Partial<CreateSpec> = {}): Promise<void> {
  rig = await Rig.start(osts);
  await rig.mds.createObject(createSpec({ replicas: 3, ...changes }));
  const opened = await rig.openFor('writer');
  id = opened.object.id;
  pool = opened.object.map.pool.map((t) => t.ostId);
  session = opened.sessionEpoch;
}
beforeEach(() => setUp(3));

const boot = (generation: number) => ({ kernel: 'k', generation });
const inSync = (ostId: string, generation = 1): Member => ({
  ostId,
  state: 'in-sync',
  bootId: boot(generation),
  staleSince: 0,
});
const stale = (ostId: string, staleSince = 0): Member => ({
  ostId,
  state: 'stale',
  bootId: null,
  staleSince,
});
const object = () => rig.mds.getObj({ ref: id });
const memberOf = async (ostId: string) => (await object()).members.find((m) => m.ostId === ostId)!;

async function swapOf(members: Member[], changes: Partial<Params<'mds.changeMembers'>> = {}) {
  const { epoch } = await object();
  const requestId = `r${++requests}`;
  return { id, sessionEpoch: session, expectedEpoch: epoch, requestId, members, loss: false, ...changes };
}
async function change(
  members: Member[],
  changes: Partial<Params<'mds.changeMembers'>> = {},
): Promise<number> {
  return (await rig.mds.changeMembers(await swapOf(members, changes))).epoch;
}
async function sealAt(seal: number): Promise<number> {
  const { epoch } = await object();
  const requestId = `s${++requests}`;
  return (await rig.mds.seal({ id, sessionEpoch: session, expectedEpoch: epoch, requestId, seal })).epoch;
}

describe('changeMembers', () => {
  test('records boot ids and drops under a new epoch', async () => {
    expect(await change([inSync(pool[0]!, 4), inSync(pool[1]!, 5), inSync(pool[2]!, 6)])).toBe(3);
    expect((await object()).members.map((m) => m.bootId?.generation)).toEqual([4, 5, 6]);
    expect(await change([inSync(pool[0]!, 4), inSync(pool[1]!, 5), stale(pool[2]!)])).toBe(4);
    expect(await object()).toMatchObject({ epoch: 4, lastSeal: 0, clean: false });
  });

  test('a dropped member is stale since the last seal + 1, whatever the client says', async () => {
    await change(pool.map((ostId) => inSync(ostId)));
    await sealAt(3);
    await change([inSync(pool[0]!), inSync(pool[1]!), stale(pool[2]!, 999)]);
    expect(await memberOf(pool[2]!)).toMatchObject({ state: 'stale', staleSince: 4, bootId: boot(1) });
  });

  test('and stays stale since then, over later seals and changes', async () => {
    await change([inSync(pool[0]!), inSync(pool[1]!), stale(pool[2]!)]);
    await sealAt(3);
    await change([inSync(pool[0]!), stale(pool[1]!), stale(pool[2]!, 4)]);
    expect((await memberOf(pool[2]!)).staleSince).toBe(1);
    expect((await memberOf(pool[1]!)).staleSince).toBe(4);
  });

  test('a member left out is dropped, one left out while stale keeps what it missed', async () => {
    await change([inSync(pool[0]!), inSync(pool[1]!)]);
    await sealAt(2);
    await change([inSync(pool[0]!)]);
    expect((await memberOf(pool[1]!)).staleSince).toBe(3);
    expect((await memberOf(pool[2]!)).staleSince).toBe(1);
    expect((await object()).members.map((m) => m.ostId)).toEqual(pool);
  });

  test('a member joins with the boot id of its resync, and is as good as the others', async () => {
    await change([inSync(pool[0]!), inSync(pool[1]!), stale(pool[2]!)]);
    await change([inSync(pool[0]!), inSync(pool[1]!), inSync(pool[2]!, 9)]);
    expect(await memberOf(pool[2]!)).toEqual(inSync(pool[2]!, 9));
  });

  test('CONFLICT for another epoch, and nothing changes', async () => {
    const swap = await swapOf([inSync(pool[0]!)]);
    await sealAt(1);
    const error = await failure('CONFLICT', rig.mds.changeMembers(swap));
    expect(error.message).toMatch(/epoch is 3.*made for 2/);
    expect((await object()).members.every((m) => m.state === 'in-sync')).toBe(true);
    await failure('CONFLICT', rig.mds.changeMembers(await swapOf([inSync(pool[0]!)], { expectedEpoch: 4 })));
  });

  test('FENCED for a session that is not the current one, also with the right epoch', async () => {
    await rig.openFor('other', { force: true });
    const { epoch } = await object();
    const swap = await swapOf(
      pool.slice(0, 1).map((o) => inSync(o)),
      { expectedEpoch: epoch },
    );
    await failure('FENCED', rig.mds.changeMembers(swap));
    await failure('FENCED', rig.mds.changeMembers({ ...swap, sessionEpoch: epoch + 1 }));
    await failure('FENCED', rig.mds.changeMembers({ ...swap, sessionEpoch: 0 }));
    expect((await object()).epoch).toBe(epoch);
  });

  test('of two at the same epoch one is recorded', async () => {
    const one = await swapOf([inSync(pool[0]!), inSync(pool[1]!)]);
    const two = await swapOf([inSync(pool[0]!), inSync(pool[2]!)]);
    const both = await Promise.allSettled([one, two].map((swap) => rig.mds.changeMembers(swap)));
    expect(both.map((r) => r.status)).toEqual(['fulfilled', 'rejected']);
    expect((await object()).epoch).toBe(3);
  });

  test.each<[string, () => Member[], RegExp]>([
    ['no in-sync member', () => pool.map((ostId) => stale(ostId)), /last in-sync OST/],
    ['an empty set', () => [], /last in-sync OST/],
    ['an OST outside the pool', () => [inSync(pool[0]!), inSync(testId(0x99))], /not among the OSTs/],
    ['a stale OST outside the pool', () => [inSync(pool[0]!), stale(testId(0x99))], /not among the OSTs/],
    ['an OST twice', () => [inSync(pool[0]!), stale(pool[0]!)], /twice/],
  ])('refuses %s', async (_, members, expected) => {
    const error = await failure('INVALID', change(members()));
    expect(error.message).toMatch(expected);
    expect((await object()).epoch).toBe(2);
  });

  test('refuses to forget a boot id, and to let a member join without one', async () => {
    await change([inSync(pool[0]!), inSync(pool[1]!), stale(pool[2]!)]);
    const nameless = (ostId: string): Member => ({ ...inSync(ostId), bootId: null });
    await failure('INVALID', change([nameless(pool[0]!), inSync(pool[1]!)]));
    await failure('INVALID', change([inSync(pool[0]!), inSync(pool[1]!), nameless(pool[2]!)]));
  });

  test('refuses a set in which nobody remains who was in sync', async () => {
    await change([inSync(pool[0]!), stale(pool[1]!), stale(pool[2]!)]);
    await failure('INVALID', change([stale(pool[0]!), inSync(pool[1]!), inSync(pool[2]!)]));
  });
});

describe('a spread object', () => {
  beforeEach(() => setUp(6, { replicas: 2, stripeWidth: 6, sizeBytes: 512 * GiB }));

  test('may lose one failure domain, but no set in which a chunk has no in-sync replica left', async () => {
    const others = pool.slice(1).map((ostId) => inSync(ostId));
    await change([stale(pool[0]!), ...others]);
    const error = await failure('INVALID', change([stale(pool[0]!), stale(pool[1]!), ...others.slice(1)]));
    expect(error.message).toMatch(/chunk \d+ would have no in-sync replica/);
  });

  test('unless the loss is decided', async () => {
    const half = [...pool.slice(0, 3).map((o) => stale(o)), ...pool.slice(3).map((o) => inSync(o))];
    await failure('INVALID', change(half));
    await change(half, { loss: true });
    expect((await object()).lossWallMs).toBe(rig.clock.wallMs());
  });

  test('two may go when no chunk lies on just those two', async () => {
    await setUp(6, { replicas: 2, stripeWidth: 6, sizeBytes: GiB });
    const { chunks } = await rig.mds.getObjPart({ ref: id, fromChunk: 0, count: 1 });
    const [first, second] = chunks[0] as [string, string];
    const without = (...gone: string[]) => pool.filter((o) => !gone.includes(o)).map((o) => inSync(o));
    const third = pool.find((o) => o !== first && o !== second)!;
    await failure('INVALID', change(without(first, second)));
    await change(without(first, third));
  });
});

describe('a loss', () => {
  test('is marked by the change that decides it, and reported until it is acknowledged', async () => {
    await change(
      pool.map((ostId) => inSync(ostId, 2)),
      { loss: true },
    );
    const atMs = rig.clock.wallMs();
    rig.clock.advance(5_000);
    await change(
      pool.map((ostId) => inSync(ostId, 3)),
      { loss: true },
    );
    await rig.restart();
    expect((await rig.openFor('next', { force: true })).object.lossWallMs).toBe(atMs);
    await rig.mds.acknowledgeLoss({ ref: 'vol' });
    await rig.mds.acknowledgeLoss({ ref: id });
    expect((await object()).lossWallMs).toBeNull();
  });

  test('is not marked by other changes', async () => {
    await change(pool.map((ostId) => inSync(ostId, 2)));
    expect((await object()).lossWallMs).toBeNull();
  });

  test('that makes a stale member a source takes the seal back to what that member has', async () => {
    await change([inSync(pool[0]!), inSync(pool[1]!), stale(pool[2]!)]);
    await sealAt(3);
    await change([inSync(pool[0]!), stale(pool[1]!), stale(pool[2]!)]);
    await sealAt(5);
    expect((await object()).members.map((m) => m.staleSince)).toEqual([0, 4, 1]);
    // Member 1 has everything up to 3; what member 0 alone has since is given up.
    await change([stale(pool[0]!), inSync(pool[1]!), stale(pool[2]!)], { loss: true });
    const after = await object();
    expect(after.lastSeal).toBe(3);
    expect(after.members.map((m) => m.staleSince)).toEqual([4, 0, 1]);
    await change([inSync(pool[0]!), stale(pool[1]!), inSync(pool[2]!)], { loss: true });
    expect((await object()).lastSeal).toBe(0);
  });
});

describe('seal', () => {
  test('records up to where all are identical, under a new epoch', async () => {
    expect(await sealAt(2)).toBe(3);
    expect(await object()).toMatchObject({ lastSeal: 2, epoch: 3 });
    expect(await sealAt(2)).toBe(4);
  });

  test('lies between the last one and the epoch', async () => {
    await sealAt(2);
    await failure('INVALID', sealAt(1));
    await failure('INVALID', sealAt(4));
    expect((await object()).epoch).toBe(3);
  });

  test('CONFLICT and FENCED like any compare-and-swap', async () => {
    const seal = { id, sessionEpoch: session, expectedEpoch: 1, requestId: 'x', seal: 1 };
    await failure('CONFLICT', rig.mds.seal(seal));
    await failure('FENCED', rig.mds.seal({ ...seal, sessionEpoch: 1 }));
  });
});

describe('a request that is sent again', () => {
  test('gets the same answer and changes nothing more, also after a restart and a take-over', async () => {
    const drop = await swapOf([inSync(pool[0]!), inSync(pool[1]!)]);
    expect((await rig.mds.changeMembers(drop)).epoch).toBe(3);
    expect((await rig.mds.changeMembers(drop)).epoch).toBe(3);
    const seal = { id, sessionEpoch: session, expectedEpoch: 3, requestId: 'seal', seal: 3 };
    expect((await rig.mds.seal(seal)).epoch).toBe(4);
    await rig.restart();
    expect((await rig.mds.changeMembers(drop)).epoch).toBe(3);
    await rig.openFor('other', { force: true });
    expect((await rig.mds.seal(seal)).epoch).toBe(4);
    expect((await object()).epoch).toBe(5);
  });

  test('twice at once is recorded once', async () => {
    const drop = await swapOf([inSync(pool[0]!)]);
    const answers = await Promise.all([1, 2, 3].map(() => rig.mds.changeMembers(drop)));
    expect(answers.map((a) => a.epoch)).toEqual([3, 3, 3]);
    expect((await object()).epoch).toBe(3);
  });

  test('is not mixed up with one of the same id by another session or of another kind', async () => {
    const drop = await swapOf([inSync(pool[0]!), inSync(pool[1]!)], { requestId: 'same' });
    await rig.mds.changeMembers(drop);
    const seal = { id, sessionEpoch: session, expectedEpoch: 3, requestId: 'same', seal: 3 };
    expect((await rig.mds.seal(seal)).epoch).toBe(4);
    session = (await rig.openFor('other', { force: true })).sessionEpoch;
    expect((await rig.mds.changeMembers({ ...drop, sessionEpoch: session, expectedEpoch: 5 })).epoch).toBe(6);
  });

  test('after a refusal is judged anew', async () => {
    const drop = await swapOf([inSync(pool[0]!)], { expectedEpoch: 9 });
    await failure('CONFLICT', rig.mds.changeMembers(drop));
    expect((await rig.mds.changeMembers({ ...drop, expectedEpoch: 2 })).epoch).toBe(3);
  });

  test('is remembered over some later ones, not for ever', async () => {
    const first = await swapOf([inSync(pool[0]!)]);
    await rig.mds.changeMembers(first);
    for (let i = 0; i < 7; i++) await sealAt(1);
    expect((await rig.mds.changeMembers(first)).epoch).toBe(3);
    await sealAt(1);
    await failure('CONFLICT', rig.mds.changeMembers(first));
  });
});

test('epochs rise with everything that is recorded', async () => {
  const seen = [(await object()).epoch];
  const note = async () => void seen.push((await object()).epoch);
  await change([inSync(pool[0]!), inSync(pool[1]!)]).then(note);
  await sealAt(2).then(note);
  session = (await rig.openFor('writer')).sessionEpoch;
  await note();
  await rig.restart();
  await sealAt(3).then(note);
  expect(seen).toEqual([2, 3, 4, 5, 6]);
});

test('an OST that is new to the pool of an object has nothing of it', async () => {
  const key = OBJECT_PREFIX + id;
  const entry = await rig.store.get(key);
  const stored = decodeStored(key, entry!.value);
  const members = stored.object.members.slice(1);
  const value = encodeStored({ ...stored, object: { ...stored.object, members, lastSeal: 1 } });
  await rig.store.transact({ checks: [], puts: [{ key, value }] });
  await change(members.map(({ ostId }) => inSync(ostId)));
  expect(await memberOf(stored.object.members[0]!.ostId)).toMatchObject({ state: 'stale', staleSince: 0 });
});

describe('a seal that is the first word of a writer after a rebuild', () => {
  const rebuild = async (): Promise<void> => {
    const key = OBJECT_PREFIX + id;
    const stored = decodeStored(key, (await rig.store.get(key))!.value);
    // Epochs of a rebuild are above all that was given before; the set is one that OSTs had stored.
    const value = encodeStored({ ...stored, object: { ...stored.object, epoch: 1000 }, rebuiltFrom: 2 });
    await rig.store.transact({ checks: [], puts: [{ key, value }] });
  };
  const seal = (members?: Member[]) => ({
    id,
    sessionEpoch: session,
    expectedEpoch: 3,
    requestId: `s${++requests}`,
    seal: 3,
    members,
  });

  test('brings the set of which it is true: the lost MDS may have recorded a drop that nobody had stored', async () => {
    await rebuild();
    expect((await rig.mds.seal(seal([inSync(pool[0]!), stale(pool[1]!), inSync(pool[2]!)]))).epoch).toBe(
      1001,
    );
    const { members, lastSeal } = await object();
    expect(lastSeal).toBe(3);
    const stateOf = (at: number) => members.find((member) => member.ostId === pool[at])!.state;
    expect([0, 1, 2].map(stateOf)).toEqual(['in-sync', 'stale', 'in-sync']);
    // Since before the seal, whatever that says of the others.
    expect((await memberOf(pool[1]!)).staleSince).toBe(1);
  });

  test('is refused when it does not say of whom, and changes nothing', async () => {
    await rebuild();
    await failure('CONFLICT', rig.mds.seal(seal()));
    await failure('INVALID', rig.mds.seal(seal([inSync(testId(99))])));
    expect((await object()).epoch).toBe(1000);
  });

  test('brings the map that the writer had taken, and nobody of it is told to delete', async () => {
    await setUp(4);
    const before = await object();
    const to = [1, 2, 3, 4].map(testId).find((ostId) => !pool.includes(ostId))!;
    const { wanted } = await rig.mds.moves.move({ id, from: pool[2]!, to, dryRun: false });
    await rig.mds.moves.cancelMove({ id });
    await rebuild();
    expect((await object()).left).toContain(to);
    await rig.mds.moves.moveStored({ id, sessionEpoch: session, ostIds: [to] });
    expect((await object()).left).toContain(to);
    const members = [inSync(pool[0]!), inSync(pool[1]!), inSync(to)];
    await rig.mds.seal({ ...seal(members), map: wanted.map });
    const after = await object();
    expect(after.map.pool.map(({ ostId }) => ostId)).not.toContain(pool[2]);
    expect(after.map).toEqual(wanted.map);
    expect(after.left).toEqual([pool[2]]);
    expect(after.members.map(({ ostId }) => ostId)).toEqual([pool[0], pool[1], to]);
    expect(before.map).not.toEqual(after.map);
  });

  test('takes no members at any other time', async () => {
    await rig.mds.seal({ ...seal([inSync(pool[0]!)]), expectedEpoch: 2, seal: 2 });
    expect((await object()).members.every((member) => member.state === 'in-sync')).toBe(true);
  });
});

describe('what a member is known to have kept', () => {
  const kept = (ostId: string, keptEpoch: number, state: Member['state'] = 'in-sync'): Member => ({
    ...(state === 'in-sync' ? inSync(ostId) : stale(ostId)),
    keptEpoch,
  });

  test('one that has lost it is stale since ever, also where that is one change ahead of the record', async () => {
    await change(pool.map((ostId) => kept(ostId, 5)));
    await sealAt((await object()).epoch);
    await change([kept(pool[0]!, 7), kept(pool[1]!, 5), kept(pool[2]!, 0, 'stale')]);
    expect(await memberOf(pool[2]!)).toMatchObject({ state: 'stale', staleSince: 0, keptEpoch: 0 });
    await change([kept(pool[0]!, 7), kept(pool[1]!, 4, 'stale'), kept(pool[2]!, 0, 'stale')]);
    expect(await memberOf(pool[1]!)).toMatchObject({ state: 'stale', staleSince: 0 });
  });

  test('nothing takes it back from one that is still in the set', async () => {
    await change(pool.map((ostId) => kept(ostId, 5)));
    await change([kept(pool[0]!, 7), kept(pool[1]!, 7), kept(pool[2]!, 2)]);
    expect((await object()).members.map(({ keptEpoch }) => keptEpoch)).toEqual([7, 7, 5]);
  });

  test('one that stays with a loss takes the last seal back', async () => {
    await change(pool.map((ostId) => kept(ostId, 5)));
    await sealAt((await object()).epoch);
    await change([kept(pool[0]!, 0), stale(pool[1]!), stale(pool[2]!)], { loss: true });
    expect(await object()).toMatchObject({ lastSeal: 0 });
  });
});
