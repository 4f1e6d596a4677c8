import { expect, test } from 'vitest';
import type { Logger } from '../../../src/common/log.js';
import { seededRandom } from '../../../src/common/random.js';
import { Mds, MemoryStore } from '../../../src/mds/index.js';
import { prefixRange } from '../../../src/mds/store.js';
import { TOMBSTONE_PREFIX } from '../../../src/mds/stored-object.js';
import { putTombstone } from '../../../src/mds/tombstones.js';
import type { VersionChange } from '../../../src/protocol/index.js';
import { createSpec, failure, ManualClock, ostInfo, testId } from './support.js';

/** Each read of a record takes a millisecond, in which nobody else runs until somebody sleeps. */
class BusyClock extends ManualClock {
  longestTurnMs = 0;
  private turnMs = 0;

  read(): void {
    this.advance(1);
    this.turnMs++;
    this.longestTurnMs = Math.max(this.longestTurnMs, this.turnMs);
  }
  begin(): void {
    this.turnMs = 0;
    this.longestTurnMs = 0;
  }
  override sleep(delayMs: number): Promise<void> {
    if (delayMs > 0) return super.sleep(delayMs);
    this.turnMs = 0;
    return Promise.resolve();
  }
}

const VOLUMES = 150;
/** A turn, and what is done between two looks at the clock. */
const TURN_MS = 20;

async function rigOf(hosts: number) {
  const clock = new BusyClock();
  const store = new MemoryStore();
  const refusals: string[] = [];
  const moved: string[] = [];
  const log = {
    debug: ({ volume }: { volume: string }) => refusals.push(volume),
    warn: ({ volume }: { volume: string }) => moved.push(volume),
  } as unknown as Logger;
  const options = { clock, store, log, clusterId: testId(0xc1), random: seededRandom(7) };
  const mds = await Mds.start({ ...options, replaceAfterMs: 60_000 });
  for (let n = 1; n <= hosts; n++) await mds.registerOst(ostInfo(n), {});
  for (let i = 0; i < VOLUMES; i++)
    await mds.createObject(createSpec({ name: `v${1000 + i}`, replicas: Math.min(3, hosts) }));
  const get = store.get.bind(store);
  store.get = async (key) => {
    clock.read();
    return get(key);
  };
  /** A minute and more, in which all but the first are heard. */
  const pass = async (ms: number, from = 2, to = hosts) => {
    for (let passed = 0; passed < ms; passed += 5000) {
      clock.advance(5000);
      for (let n = from; n <= to; n++) await mds.registerOst(ostInfo(n), {});
    }
  };
  const settled = async () => {
    for (let i = 0; i < 20_000; i++) await Promise.resolve();
  };
  return { clock, store, mds, refusals, moved, pass, settled };
}

test('to look for what is on an OST is no long turn, whether or not there is something', async () => {
  const { clock, mds } = await rigOf(3);
  clock.begin();
  expect((await mds.moves.objectsOn({ ostId: testId(9), after: '', limit: 200 })).objects).toEqual([]);
  expect(clock.longestTurnMs).toBeLessThan(TURN_MS);
  clock.begin();
  expect((await mds.moves.objectsOn({ ostId: testId(1), after: '', limit: 200 })).objects).toHaveLength(
    VOLUMES,
  );
  expect(clock.longestTurnMs).toBeLessThan(TURN_MS);
});

test('an OST that is away and cannot be replaced holds nobody up, and is not tried in vain every minute', async () => {
  const { clock, mds, refusals, moved, pass, settled } = await rigOf(3);
  await pass(45_000);
  clock.begin();
  await pass(30_000);
  await settled();
  expect(refusals).toHaveLength(VOLUMES);
  expect(clock.longestTurnMs).toBeLessThan(TURN_MS);
  await pass(120_000);
  await settled();
  expect(refusals).toHaveLength(VOLUMES);
  // There is room now.
  await mds.registerOst(ostInfo(4), {});
  await pass(20_000, 2, 4);
  await settled();
  expect(moved).toHaveLength(VOLUMES);
  await mds.moves.close();
});

test('what is renamed while an OST is removed keeps it as well', async () => {
  const { clock, store, mds } = await rigOf(2);
  const ostId = testId(9);
  await mds.registerOst(ostInfo(9), {});
  const last = `v${1000 + VOLUMES - 1}`;
  const { id, map } = await mds.getObj({ ref: last });
  await mds.moves.move({ id, from: map.pool[0]!.ostId, to: ostId, dryRun: false });
  // Behind what was looked at, to the front.
  let reads = 0;
  const sleep = clock.sleep.bind(clock);
  clock.sleep = async (ms: number) => {
    if (reads++ === 0) await mds.rename({ ref: last, name: 'a' });
    return sleep(ms);
  };
  const range = store.range.bind(store);
  store.range = async (asked) => {
    clock.advance(20);
    return range(asked);
  };
  await failure('BUSY', mds.moves.removeOst({ ostId }));
  expect(reads).toBeGreaterThan(0);
});

test('removals of long ago are forgotten many at a time, and nobody waits for it', async () => {
  const { store, mds, settled } = await rigOf(2);
  const key = (i: number) => TOMBSTONE_PREFIX + testId(5000 + i);
  for (let i = 0; i < 300; i++) {
    const { value } = putTombstone(testId(5000 + i), i === 7 ? [testId(1)] : [], 1);
    await store.transact({ checks: [], puts: [{ key: key(i), value }] });
  }
  const transact = store.transact.bind(store);
  let commits = 0;
  let answered = false;
  store.transact = async (transaction) => {
    commits++;
    // A disk that is slow.
    while (!answered) await new Promise((resolve) => setImmediate(resolve));
    return transact(transaction);
  };
  await mds.confirmDeleted({ ostId: testId(1), objects: [] });
  answered = true;
  await new Promise((resolve) => setTimeout(resolve, 50));
  await settled();
  const left = await store.range(prefixRange(TOMBSTONE_PREFIX));
  expect(left.map((entry) => entry.key)).toEqual([key(7)]);
  expect(commits).toBe(3);
});

test('a snapshot of what has many clones reads none of them, a removal those of its version', async () => {
  const { clock, mds } = await rigOf(2);
  const change = async (wanted: VersionChange) => {
    const { object, sessionEpoch } = await mds.open(
      { ref: 'v1000', mode: 'write', holder: 'w', force: false },
      {},
    );
    const request = { id: object.id, sessionEpoch, expectedEpoch: object.epoch, requestId: wanted.kind };
    clock.begin();
    const changed = await mds.versions.change({ ...request, change: wanted });
    await mds.close({ id: object.id, sessionEpoch, clean: true });
    return changed.object;
  };
  const first = await change({ kind: 'snapshot', name: 'a' });
  const version = first.snapshots[0]!.version;
  for (let i = 0; i < 100; i++) await mds.versions.clone({ ref: 'v1000', version, name: `c${i}` });
  const second = await change({ kind: 'snapshot', name: 'b' });
  expect(clock.longestTurnMs).toBeLessThan(5);
  await change({ kind: 'remove', version: second.snapshots[1]!.version });
  expect(clock.longestTurnMs).toBeLessThan(5);
  await failure('BUSY', change({ kind: 'remove', version }));
});
