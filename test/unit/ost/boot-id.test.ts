import { expect, test } from 'vitest';
import { Opcode, sameBootId } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** The boot id stays exactly where nothing that was acknowledged can be missing (I8). */

const STEP_MS = 0.1;
const BLOCKS = 8;

const powerLoss = (ost: SimOst) => ost.disk.powerLoss();
const remount = (ost: SimOst) => ost.disk.remount();
const nothing = () => {};

function write(ost: SimOst, epoch: number, byte: number): void {
  const session = ost.attach(epoch);
  for (let block = 0; block < BLOCKS; block++) {
    expect(ost.answered(ost.begin(session, Opcode.WRITE, epoch, byte, block * BLOCK))).toBe(0);
  }
}

/** The bytes that the blocks have, each once. */
function bytesOf(ost: SimOst, epoch: number): number[] {
  const session = ost.attach(epoch);
  const found = new Set<number>();
  for (let block = 0; block < BLOCKS; block++) {
    const read = ost.begin(session, Opcode.READ, epoch, 0, block * BLOCK);
    expect(ost.answered(read)).toBe(0);
    for (const byte of read.memory.bytes) found.add(byte);
  }
  return [...found];
}

function started(): SimOst {
  const ost = new SimOst();
  ost.start({ checksums: false });
  return ost;
}

/** The process is killed, then that happens, then there is another process. */
function again(ost: SimOst, happens: (ost: SimOst) => void): void {
  ost.process.kill();
  happens(ost);
  ost.start({ checksums: false });
}

test.each([
  ['a restart', nothing],
  ['a reboot', powerLoss],
  ['another mount', remount],
])('after a stop in order it stays over %s, and all is there', (_what, happens) =>
  outsideReactions(() => {
    const ost = started();
    write(ost, 5, 0x50);
    const before = ost.core.bootId;
    ost.finish(ost.core.close());
    again(ost, happens);
    expect(ost.core.bootId).toEqual(before);
    expect(ost.core.boot.powerLost).toBe(false);
    expect(bytesOf(ost, 6)).toEqual([0x50]);
    // The stop counts once.
    write(ost, 7, 0x70);
    again(ost, powerLoss);
    expect(sameBootId(ost.core.bootId, before)).toBe(false);
  }),
);

test.each([
  ['power', powerLoss],
  ['the file system', remount],
])('%s lost at any step of a stop: it is another one, or all is there', (_what, happens) =>
  outsideReactions(() => {
    let kept = 0;
    let changed = 0;
    for (let afterMs = 0; afterMs < 8; afterMs += STEP_MS) {
      const ost = started();
      write(ost, 5, 0x50);
      const before = ost.core.bootId;
      ost.core.close().catch(nothing);
      ost.pass(afterMs);
      again(ost, happens);
      if (!sameBootId(ost.core.bootId, before)) {
        changed++;
        continue;
      }
      kept++;
      expect(bytesOf(ost, 6), `${afterMs} ms`).toEqual([0x50]);
    }
    expect(Math.min(kept, changed)).toBeGreaterThan(5);
  }),
);

test.each([
  ['power', powerLoss],
  ['the file system', remount],
])(
  '%s lost at any step of the start after a stop in order: it is another one, or nothing was written',
  (_what, happens) =>
    outsideReactions(() => {
      let kept = 0;
      let changed = 0;
      for (let afterMs = 0; afterMs < 12; afterMs += STEP_MS) {
        const ost = started();
        write(ost, 5, 0x50);
        const before = ost.core.bootId;
        ost.finish(ost.core.close());
        ost.process.kill();
        let acknowledged = false;
        ost.startSoon({ checksums: false }, () => {
          const session = ost.core.attaching.attach(RECORD, 6, 1, ost.holder());
          session.then((opened) => {
            const outcome = ost.begin(opened, Opcode.WRITE, 6, 0x60, 0, {
              done: () => {
                acknowledged = true;
              },
            });
            expect(outcome.status).toBe(-1);
          }, nothing);
        });
        ost.pass(afterMs);
        again(ost, happens);
        if (sameBootId(ost.core.bootId, before)) {
          kept++;
          expect(acknowledged, `${afterMs} ms`).toBe(false);
        } else changed++;
      }
      expect(Math.min(kept, changed)).toBeGreaterThan(3);
    }),
);

test('after a kill it stays while the kernel has the same file system mounted, and no longer', () =>
  outsideReactions(() => {
    const ost = started();
    write(ost, 5, 0x50);
    const { kernel, generation } = ost.core.bootId;
    again(ost, nothing);
    expect(ost.core.bootId).toEqual({ kernel, generation });
    expect(bytesOf(ost, 6)).toEqual([0x50]);
    write(ost, 7, 0x70);
    again(ost, remount);
    expect(ost.core.bootId).toEqual({ kernel, generation: generation + 1 });
    expect(ost.core.boot.powerLost).toBe(true);
    again(ost, nothing);
    expect(ost.core.bootId).toEqual({ kernel, generation: generation + 1 });
    again(ost, powerLoss);
    expect(ost.core.bootId).toEqual({ kernel: ost.disk.kernelBootId, generation: generation + 1 });
  }));

test('what an older program has noted says as much as it did then', () =>
  outsideReactions(() => {
    for (const [clean, happens, stays] of [
      [true, nothing, true],
      [true, powerLoss, false],
      [false, nothing, true],
      [false, powerLoss, false],
    ] as const) {
      const ost = started();
      const { kernel, generation } = ost.core.bootId;
      ost.process.kill();
      ost.noteBoot({ kernel, generation, clean });
      again(ost, happens);
      expect(sameBootId(ost.core.bootId, { kernel, generation })).toBe(stays);
    }
  }));
