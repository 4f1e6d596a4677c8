import { beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../../../src/common/random.js';
import { Mds, MemoryStore, type MetadataStore } from '../../../src/mds/index.js';
import { createSpec, failure, ManualClock, ostInfo, Rig, testId } from './support.js';

/** Two servers over one store: what one decided on a record that the other has changed since is decided anew. */

let rig: Rig;
let store: MetadataStore;
let second: Mds;
/** What the first server does between the second one's next look at a record and its writing of it. */
let meanwhile: (() => Promise<unknown>) | null = null;

beforeEach(async () => {
  store = new MemoryStore();
  rig = await Rig.start(2, store);
  await rig.mds.createObject(createSpec());
  const transact: MetadataStore['transact'] = async (transaction) => {
    const first = meanwhile;
    meanwhile = null;
    await first?.();
    return store.transact(transaction);
  };
  const raced = new Proxy(store, {
    get: (target, name) => {
      if (name === 'transact') return transact;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  second = await Mds.start({
    store: raced,
    clusterId: testId(0xc1),
    clock: new ManualClock(),
    random: seededRandom(8),
  });
});

const open = (mds: Mds, holder: string) =>
  mds.open({ ref: 'vol', mode: 'write', holder, force: true }, { holder });

test('two opens at once get different epochs, and the earlier one is fenced', async () => {
  let first = 0;
  meanwhile = async () => {
    first = (await open(rig.mds, 'one')).sessionEpoch;
  };
  const { sessionEpoch, object } = await open(second, 'two');
  expect(sessionEpoch).toBeGreaterThan(first);
  await failure('FENCED', rig.mds.renew({ id: object.id, sessionEpoch: first }, {}));
  await rig.mds.renew({ id: object.id, sessionEpoch }, {});
});

test('a change of a session that the other server has ended is not recorded', async () => {
  const { sessionEpoch, object } = await open(second, 'two');
  meanwhile = () => open(rig.mds, 'one');
  const seal = {
    id: object.id,
    sessionEpoch,
    expectedEpoch: object.epoch,
    requestId: 'r',
    seal: object.epoch,
  };
  await failure('FENCED', second.seal(seal));
  expect((await rig.mds.getObj({ ref: 'vol' })).lastSeal).toBe(0);
});

test('a removal sees what the other server has recorded meanwhile', async () => {
  const { id } = await rig.mds.getObj({ ref: 'vol' });
  meanwhile = () => rig.mds.remove({ ref: 'vol', force: true });
  await failure('NOT_FOUND', second.remove({ ref: 'vol', force: true }));
  const spread = await rig.mds.getObj({ ref: id }).catch((error) => error.code);
  expect(spread).toBe('NOT_FOUND');
});

test('confirmations of two OSTs at once are both kept', async () => {
  const { id } = await rig.mds.getObj({ ref: 'vol' });
  await rig.mds.remove({ ref: 'vol', force: true });
  meanwhile = () => rig.mds.confirmDeleted({ ostId: testId(1), objects: [id] });
  await second.confirmDeleted({ ostId: testId(2), objects: [id] });
  for (const number of [1, 2]) {
    const { deletedObjects } = await rig.mds.registerOst(ostInfo(number), rig);
    expect(deletedObjects, `OST ${number}`).toEqual([]);
  }
});
