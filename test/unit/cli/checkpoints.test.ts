import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BlockOp, MemoryDevice } from '../../../src/block/index.js';
import { exportToFile } from '../../../src/cli/copy/export-raw.js';
import { Lane } from '../../../src/cli/copy/lane.js';
import { withResumableFile } from '../../../src/cli/copy/resumable-file.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { createIo } from '../../../src/io/index.js';
import { withFaults } from '../../fixtures/faulty-io.js';

/** Notes of how far a copy has come, on a disk whose syncs take longer than from one note to the next. */

const MiB = 2 ** 20;
const SIZE = 48 * MiB;
const source = { volumeId: 'v', version: 1, sizeBytes: SIZE };
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rawstor-checkpoints-'));
});
afterEach(() => rmSync(root, { recursive: true }));

async function copy(atSync: (underWay: number) => void): Promise<void> {
  const plain = createIo({ poolBytes: 128 * MiB });
  let underWay = 0;
  const hold = (_file: unknown, action: string) => {
    if (action !== 'sync') return null;
    atSync(++underWay);
    return systemClock.sleep(40).then(() => {
      underWay--;
    });
  };
  const io = withFaults(plain, { hold });
  // Each look at it is 3 s later: a note is due at every one.
  let nowMs = 0;
  const clock = {
    ...systemClock,
    nowMs: () => {
      nowMs += 3000;
      return nowMs;
    },
  };
  const resumable = { resume: false, clock, log: silentLogger };
  const device = new MemoryDevice(plain, { sizeBytes: SIZE });
  try {
    const lane = new Lane(plain);
    lane.bytes(0, MiB).fill(7);
    for (let at = 0; at < SIZE; at += MiB) await lane.device(device, BlockOp.WRITE, at, MiB);
    lane.release();
    await withResumableFile(
      join(root, 'out.raw'),
      source,
      resumable,
      async (path, fromBytes, checkpoints) => {
        const file = await io.openFile(path, {});
        const options = { io, signal: new AbortController().signal, onProgress: () => {} };
        await exportToFile(device, file, options, { fromBytes, checkpoints }).finally(() => file.close());
      },
    );
  } finally {
    await plain.close();
  }
}

it('are made one at a time', async () => {
  let most = 0;
  await copy((underWay) => {
    most = Math.max(most, underWay);
  });
  expect(most).toBe(1);
  expect(readFileSync(join(root, 'out.raw')).equals(Buffer.alloc(SIZE, 7))).toBe(true);
  expect(readdirSync(root)).toEqual(['out.raw']);
});

it('end no copy when they cannot be written', async () => {
  const inTheWay = join(root, 'out.raw.rawstor-partial.done.tmp');
  await copy(() => {
    if (!existsSync(inTheWay)) mkdirSync(inTheWay);
  });
  rmSync(inTheWay, { recursive: true });
  expect(readdirSync(root)).toEqual(['out.raw']);
});
