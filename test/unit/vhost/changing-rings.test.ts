import { spawn } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';
import { BlkStatus, BlkType, Request } from '../../../src/vhost/constants.js';
import { encodeVringState } from '../../../src/vhost/messages.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestAt, requestParts } from '../../fixtures/vhost/rig.js';

/** A guest whose other processor writes over a ring and its requests while they are read. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const ROUNDS = LONG ? 20_000 : 300;
const SIZE = 64;
const CHAINS = 16;
const DATA = 2 << 20;
/** Above 4 GiB, where nothing that is written over a ring names a place. */
const SANE_AT = 7 << 20;
const SANE_SLOT = (6 << 20) / 32 + 8192;
const MARK_AT = 3 << 20;
let rig: Rig;
let scribbler: ReturnType<typeof spawn> | undefined;
afterEach(async () => {
  scribbler?.kill('SIGKILL');
  await rig.close();
});

/** Writes to the memory behind descriptor 3 as long as its parent lives, in ranges that follow as pairs; marks its progress. */
const SCRIBBLES = `
const { writeSync } = require('node:fs');
const [markAt, ...ranges] = process.argv.slice(1).map(Number);
const parent = process.ppid;
const values = [0, 1, 2, 3, 4, 16, 17, 512, 4096, 0x20000, 0x7fffffff, 0xffffffff];
const bytes = Buffer.alloc(4);
let state = 1;
const below = (limit) => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % limit;
};
for (let n = 1; n % 4096 !== 0 || process.ppid === parent; n++) {
  const range = 2 * below(ranges.length / 2);
  bytes.writeUInt32LE(below(4) === 0 ? below(1 << 20) : values[below(values.length)]);
  writeSync(3, bytes, 0, 1 + below(4), ranges[range] + below(ranges[range + 1] - 4));
  bytes.writeUInt32LE(n);
  writeSync(3, bytes, 0, 4, markAt);
}`;

test.each([
  ['split', false],
  ['packed', true],
])(
  `ends no more than that queue: %s${LONG ? ' (long)' : ''}`,
  async (_name, packed) => {
    rig = new Rig();
    const sane = await rig.queue({ packed, index: 1, from: SANE_AT });
    const { front } = sane;
    const areas = new Driver(front, 0, SIZE, packed);
    const ranges: number[] = [requestAt(0), CHAINS * 32];
    for (const [area, length] of Object.entries(areas.sizes)) {
      if (length > 4) ranges.push(areas.at[area as keyof Driver['at']], length);
    }
    areas.kick.close();
    areas.call.close();
    scribbler = spawn(process.execPath, ['-e', SCRIBBLES, String(MARK_AT), ...ranges.map(String)], {
      stdio: ['ignore', 'ignore', 'inherit', front.fd],
      env: {},
    });
    const written = () => front.bytes.readUInt32LE(MARK_AT);
    while (written() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    let [answered, broken] = [0, 0];
    // Of both there have to be some, however seldom the other process gets its turn.
    let rounds = 0;
    for (; rounds < ROUNDS || answered < 5 || broken < 5; rounds++) {
      rig.faults.length = 0;
      const driver = new Driver(front, 0, SIZE, packed);
      for (const [area, length] of Object.entries(driver.sizes)) {
        const from = driver.at[area as keyof Driver['at']];
        front.bytes.fill(0, from, from + length);
      }
      for (let slot = 0; slot < CHAINS; slot++) {
        const at = DATA + slot * 8192;
        const reads = slot % 2 === 0;
        const type = reads ? BlkType.IN : BlkType.OUT;
        driver.add(requestParts(front, slot, type, slot * 8, [{ at, length: 4096, write: reads }]).parts);
      }
      driver.start();
      const { parts, statusAt } = requestParts(front, SANE_SLOT, BlkType.FLUSH, 0);
      sane.add(parts);
      sane.kick.signal();
      await sane.used(1);
      expect(front.bytes[statusAt]).toBe(BlkStatus.OK);
      await front.call(Request.GET_VRING_BASE, encodeVringState({ index: 0, number: 0 }));
      driver.kick.close();
      driver.call.close();
      if (rig.faults.length > 0) broken++;
      for (let slot = 0; slot < CHAINS; slot++) if (front.bytes[requestAt(slot) + 16] === 0) answered++;
    }
    console.log(
      `${written()} scribbles, ${answered} requests answered, ${broken} rings broken in ${rounds} rounds`,
    );
  },
  LONG ? 1_200_000 : 120_000,
);
