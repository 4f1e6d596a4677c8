import { describe, expect, test } from 'vitest';
import type { BlockDevice, LayerRun, Mark } from '../../../src/block/index.js';
import { NBD_LIMITS } from '../../../src/nbd-server/constants.js';
import { chosenContexts, contextsOf, runsEach, tooManyContexts } from '../../../src/nbd-server/contexts.js';
import { blockStatusChunk } from '../../../src/nbd-server/transmission.js';

const MARKS: Mark[] = [
  { name: 'monday', version: 1 },
  { name: 'tuesday', version: 4 },
];
const ALL = [
  'base:allocation',
  'qemu:allocation-depth',
  'qemu:dirty-bitmap:monday',
  'qemu:dirty-bitmap:tuesday',
];
const names = (queries: string[], listing: boolean, marks: Mark[] | null = MARKS) =>
  chosenContexts(contextsOf({ marks }), queries, listing).map((one) => one.name);

describe('metadata contexts', () => {
  test.each([
    [[], ALL],
    [['qemu:'], ALL.slice(1)],
    [['qemu:dirty-bitmap:'], ALL.slice(2)],
    [['base:'], ALL.slice(0, 1)],
    [
      ['qemu:dirty-bitmap:', 'qemu:dirty-bitmap:monday', 'base:allocation'],
      [ALL[0], ...ALL.slice(2)],
    ],
    [['qemu:dirty-bitmap:none', 'x:y'], []],
  ])('%j lists %j', (queries, expected) => {
    expect(names(queries, true)).toEqual(expected);
  });

  test.each([
    [[], []],
    [['qemu:'], []],
    [['qemu:dirty-bitmap:'], []],
    [['qemu:dirty-bitmap:tuesday', 'qemu:dirty-bitmap:tuesday'], [ALL[3]]],
    [['qemu:allocation-depth', 'base:allocation'], ALL.slice(0, 2)],
  ])('%j selects %j', (queries, expected) => {
    expect(names(queries, false)).toEqual(expected);
  });

  test('of a device without layers are one', () => {
    expect(names([], true, null)).toEqual(['base:allocation']);
    expect(names([], true, [])).toEqual(ALL.slice(0, 2));
  });

  test('each has an id of its own, and a connection so many', () => {
    expect(contextsOf({ marks: MARKS }).map((one) => one.id)).toEqual([1, 2, 3, 4]);
    expect(tooManyContexts(NBD_LIMITS.contextsPerConnection)).toBeNull();
    expect(tooManyContexts(NBD_LIMITS.contextsPerConnection + 1)).toContain('at most');
    expect([runsEach(1, 4096), runsEach(3, 4096), runsEach(16, 1)]).toEqual([4096, 1365, 1]);
  });

  test('tell of depth as it is, and of what changed as a bit', async () => {
    const asked: (Mark | null)[] = [];
    const runs: LayerRun[] = [0, 1, 2, 2].map((depth, i) => ({ lengthBytes: 4096 * (i + 1), depth }));
    const device = {
      layers: async (since: Mark | null) => {
        asked.push(since);
        return runs;
      },
      extents: async () => [{ lengthBytes: 512, hole: true, zero: false }],
    } as unknown as BlockDevice;
    const [allocation, depth, , tuesday] = contextsOf({ marks: MARKS });
    expect(await allocation!.runs(device, 0, 1)).toEqual([{ lengthBytes: 512, flags: 1 }]);
    expect((await depth!.runs(device, 0, 1)).map((one) => one.flags)).toEqual([0, 1, 2, 2]);
    expect((await tuesday!.runs(device, 0, 1)).map((one) => one.flags)).toEqual([0, 1, 1, 1]);
    expect(asked).toEqual([null, MARKS[1]]);
  });

  test('where nothing is told, all has changed', () => {
    const [, , monday] = contextsOf({ marks: MARKS });
    const bytes = blockStatusChunk({ cookieHigh: 0, cookieLow: 1 }, monday!, [], 8192, {
      runsMax: 4,
      flags: 0,
    });
    expect(bytes.subarray(20).toString('hex')).toBe('000000030000200000000001');
    expect(bytes.readUInt16BE(4)).toBe(0);
  });
});
