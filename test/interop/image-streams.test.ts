import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GiB, KiB, MiB } from '../../src/common/units.js';
import { ok } from './cli/outcome.js';
import { UpCluster } from './cli/programs.js';

/** Disk images that come through pipes and from other NBD servers, and go there. */

const MINUTES = 60_000;
let up: UpCluster;
const path = (name: string) => join(up.cwd, name);
const shell = (script: string) => up.shell(script);
const sizeOf = async (volume: string) =>
  JSON.parse(ok(await up.volume('info', volume, '--output', 'json'))).sizeBytes as number;

beforeAll(async () => {
  up = await UpCluster.start([]);
}, 2 * MINUTES);

afterAll(() => up.remove(), MINUTES);

/** Data at both ends, and nothing between. */
function writeEnds(name: string, sizeBytes: number): void {
  const end = Buffer.alloc(70 * KiB, name);
  writeFileSync(path(name), end);
  truncateSync(path(name), sizeBytes - end.length);
  writeFileSync(path(name), end, { flag: 'a' });
}

describe('a pipe', () => {
  it(
    'becomes a volume as large as what it brought, however large that is',
    async () => {
      const sizeBytes = GiB + 5 * MiB + 700;
      writeEnds('long.raw', sizeBytes);
      const piped = await shell('set -o pipefail; cat long.raw | $VOLUME import - long');
      ok(piped);
      expect(await sizeOf('long')).toBe(Math.ceil(sizeBytes / 512) * 512);
      ok(await up.volume('export', 'long', 'back.raw'));
      truncateSync(path('back.raw'), sizeBytes);
      await execa('cmp', ['back.raw', 'long.raw'], { cwd: up.cwd });
      expect(statSync(path('back.raw')).blocks * 512).toBeLessThan(MiB);
    },
    3 * MINUTES,
  );

  it(
    'writes over a volume that is there, zeros and what is beyond its end included',
    async () => {
      ok(await up.volume('create', 'over', '--size', '8M'));
      const uri = up.uriOf('over');
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 8M', uri]);
      writeEnds('short.raw', 3 * MiB);
      const piped = await shell('cat short.raw | $VOLUME import - over --yes');
      ok(piped);
      ok(await up.volume('export', 'over', 'over.raw'));
      const image = readFileSync(path('over.raw'));
      expect(image.length).toBe(8 * MiB);
      expect(image.subarray(0, 3 * MiB).equals(readFileSync(path('short.raw')))).toBe(true);
      expect(image.subarray(3 * MiB).every((byte) => byte === 0)).toBe(true);
    },
    MINUTES,
  );

  it(
    'that is no raw image, too long, cut short by its reader or empty leaves no volume',
    async () => {
      await execa('qemu-img', ['create', '-q', '-f', 'qcow2', 'empty.qcow2', '1M'], { cwd: up.cwd });
      const failing: [string, number, RegExp][] = [
        ['cat empty.qcow2 | $VOLUME import - never', 64, /begins like a qcow2 image/],
        ['cat empty.qcow2 | $VOLUME import - never --format qcow2', 64, /cannot be read from a pipe/],
        ['head -c 3M /dev/zero | $VOLUME import - never --size 2M', 64, /longer than the volume/],
        ['cat empty.qcow2 | $VOLUME import - never --resume', 64, /does not come again/],
        ['$VOLUME import - never < /dev/null', 65, /the image is empty/],
      ];
      for (const [script, code, told] of failing) {
        const piped = await shell(script);
        expect([piped.code, piped.stderr], script).toEqual([code, expect.stringMatching(told)]);
      }
      expect(ok(await up.volume('ls'))).not.toContain('never');
      // Who sends it waits for ever: it ends all the same.
      const waiting = '(head -c 3M /dev/zero; exec sleep 30) | $VOLUME import - never';
      const begun = 'until $VOLUME ls | grep -q never; do sleep 0.2; done';
      const ended = await shell(`${waiting} & pid=$!; ${begun}; kill -TERM $pid; wait $pid`);
      expect([ended.code, ended.stderr]).toEqual([143, expect.stringMatching(/half-made volume never/)]);
      expect(ok(await up.volume('ls'))).not.toContain('never');
      ok(await shell('cat empty.qcow2 | $VOLUME import - wrapped --format raw'));
      expect(await sizeOf('wrapped')).toBe(Math.ceil(statSync(path('empty.qcow2')).size / 512) * 512);
    },
    2 * MINUTES,
  );
});

describe('another NBD server', () => {
  it(
    'gives its disk to a volume, and takes one',
    async () => {
      writeEnds('there.raw', 20 * MiB);
      const serve = (file: string, ...more: string[]) =>
        `nbdkit --exit-with-parent -U - file ${file} --run '${more.join(' ')}'`;
      const taken = await shell(serve('there.raw', '$VOLUME import "$uri" from-nbd'));
      ok(taken);
      expect(await sizeOf('from-nbd')).toBe(20 * MiB);
      writeFileSync(path('target.raw'), Buffer.alloc(24 * MiB, 9));
      const unsaid = await shell(serve('target.raw', '$VOLUME export from-nbd "$uri"'));
      expect([unsaid.code, unsaid.stderr]).toEqual([64, expect.stringContaining('--force')]);
      const given = await shell(serve('target.raw', '$VOLUME export from-nbd "$uri" --force'));
      ok(given);
      const target = readFileSync(path('target.raw'));
      expect(target.subarray(0, 20 * MiB).equals(readFileSync(path('there.raw')))).toBe(true);
      expect(target.subarray(20 * MiB).every((byte) => byte === 9)).toBe(true);
    },
    MINUTES,
  );

  it(
    'has an image that names a file here: it is not read unless that is said',
    async () => {
      const absolute = path('secret.raw');
      writeFileSync(absolute, Buffer.alloc(MiB, 'secret'));
      const create = ['create', '-q', '-f', 'qcow2', '-b', absolute, '-F', 'raw', path('over.qcow2')];
      await execa('qemu-img', create);
      const bring = (volume: string, ...more: string[]) =>
        shell(
          `nbdkit --exit-with-parent -U - file over.qcow2 --run '$VOLUME import "$uri" ${volume} --format qcow2 ${more.join(' ')}'`,
        );
      const refused = await bring('never');
      expect([refused.code, refused.stderr]).toEqual([77, expect.stringContaining(absolute)]);
      ok(await bring('trusted', '--backing'));
      ok(await shell('$VOLUME export trusted trusted.raw'));
      expect(readFileSync(path('trusted.raw')).equals(readFileSync(absolute))).toBe(true);
    },
    MINUTES,
  );
});
