import { beforeEach, describe, expect, test } from 'vitest';
import { createSpec, ostInfo, Rig, testId } from './support.js';

/** What an MDS says of objects that an OST keeps something of: docs/garbage.md. */

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start();
  for (const number of [1, 2, 3]) await rig.mds.registerOst(ostInfo(number), rig);
});

const report = (ostId: string, id: string, epoch = 1, dryRun = false) =>
  rig.mds.collect.report({ ostId, objects: [{ id, epoch }], dryRun });
const nothing = { removed: [], left: [], unknown: [] };

describe('a report of what an OST keeps', () => {
  test('of an object where it is placed asks for nothing', async () => {
    const { id, map } = await rig.mds.createObject(createSpec({ replicas: 2 }));
    expect(await report(map.pool[0]!.ostId, id)).toEqual(nothing);
  });

  test('of one that nobody has heard of is unknown, and it is told to delete nothing', async () => {
    const id = testId(77);
    const { ostId } = ostInfo(1);
    expect(await report(ostId, id)).toEqual({ ...nothing, unknown: [id] });
    const { deletedObjects, leftObjects } = await rig.mds.registerOst(ostInfo(1), rig);
    expect([deletedObjects, leftObjects]).toEqual([[], []]);
  });

  test('of one that has no place there has the copy deleted, unless that OST knows more', async () => {
    const { id, map, epoch } = await rig.mds.createObject(createSpec({ replicas: 2 }));
    const other = [1, 2, 3].find((n) => !map.pool.some((one) => one.ostId === ostInfo(n).ostId))!;
    const { ostId } = ostInfo(other);
    expect(await report(ostId, id, epoch + 1)).toEqual(nothing);
    expect(await report(ostId, id, epoch, true)).toEqual({ ...nothing, left: [id] });
    expect((await rig.mds.registerOst(ostInfo(other), rig)).leftObjects).toEqual([]);
    expect(await report(ostId, id, epoch)).toEqual({ ...nothing, left: [id] });
    expect((await rig.mds.registerOst(ostInfo(other), rig)).leftObjects).toEqual([{ id, epoch }]);
  });

  test('of one that was removed has it deleted, also where nobody knew of a copy and all others have confirmed', async () => {
    const { id, map } = await rig.mds.createObject(createSpec({ replicas: 2 }));
    await rig.mds.remove({ ref: id, force: false });
    for (const { ostId } of map.pool) await rig.mds.confirmDeleted({ ostId, objects: [id] });
    const other = [1, 2, 3].find((n) => !map.pool.some((one) => one.ostId === ostInfo(n).ostId))!;
    expect(await report(ostInfo(other).ostId, id)).toEqual({ ...nothing, removed: [id] });
    expect((await rig.mds.registerOst(ostInfo(other), rig)).deletedObjects).toEqual([id]);
  });
});
