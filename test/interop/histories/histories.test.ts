import { writeFileSync } from 'node:fs';
import { execa } from 'execa';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { canMakeNamespaces } from '../namespaces/hosts.js';
import { DiskCluster } from './disk-cluster.js';
import { History, steps } from './history.js';

/**
 * Random lives of volumes, through the real client, MDS and OSTs, on real file systems that lose their power: they read as a simple
 * model. `SEED` and `PATH_OF` of a failure replay its steps.
 */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const RUNS = Number(process.env.RUNS ?? (LONG ? 2000 : 3));
const STEPS = 60;

async function canLoopMount(): Promise<boolean> {
  if (!(await canMakeNamespaces())) return false;
  const image = '/dev/shm/rawstor-can-mount.img';
  writeFileSync(image, '');
  const script = `truncate -s 8M ${image} && mkfs.ext4 -q ${image} && mount -o loop ${image} /mnt; rc=$?; rm ${image}; exit $rc`;
  return (await execa('unshare', ['--mount', 'sh', '-c', script], { reject: false })).exitCode === 0;
}

describe.skipIf(!(await canLoopMount()))('a life of volumes (long: more of them)', () => {
  describe.each(['ext4', 'xfs'] as const)('on %s', (kind) => {
    let rig: DiskCluster;
    beforeAll(async () => {
      rig = await DiskCluster.start(kind);
    }, 60_000);
    afterAll(() => rig?.end(), 60_000);

    it(`reads as the model does in ${RUNS} histories`, async () => {
      let number = 0;
      const property = fc.asyncProperty(steps(STEPS), async (all) => {
        const history = new History(rig, `h${++number}`);
        try {
          await history.run(all);
        } catch (error) {
          throw new Error(`${String(error)}\n${history.log.slice(-60).join('\n')}`);
        } finally {
          await history.remove();
        }
      });
      await fc.assert(property, {
        numRuns: RUNS,
        ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
        ...(process.env.PATH_OF === undefined ? {} : { path: process.env.PATH_OF }),
        interruptAfterTimeLimit: LONG ? 3_500_000 : 240_000,
        endOnFailure: true,
      });
      console.log(`${number} histories on ${kind}`);
    }, 3_600_000);
  });
});
