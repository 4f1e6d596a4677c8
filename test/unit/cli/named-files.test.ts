import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ImageSource, inspectSource, type SourceOptions } from '../../../src/cli/copy/image-source.js';
import { checkImage, imageArgs, virtualSizeBytes } from '../../../src/cli/copy/qemu-img.js';
import { KiB, MiB } from '../../../src/common/units.js';

/** An image does not get at other files of this machine: as qemu-img makes them, and as somebody with bad intent does. */

let root: string;
const path = (name: string) => join(root, name);
const qemuImg = (...args: string[]) => execa('qemu-img', args, { cwd: root, stdin: 'ignore' });
const inspect = (name: string, options: Partial<SourceOptions> = {}): Promise<ImageSource> =>
  inspectSource(path(name), { backing: false, ...options }, new AbortController().signal);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'rawstor-named-'));
  writeFileSync(path('secret'), Buffer.alloc(64 * KiB, 'secret\n'));
  const make = (name: string, format: string, ...more: string[]) =>
    qemuImg('create', '-q', '-f', format, ...more, name);
  const over = ['-b', 'secret', '-F', 'raw'];
  await make('over.qcow2', 'qcow2', ...over);
  await make('over.qcow', 'qcow', ...over);
  await make('over.qed', 'qed', ...over);
  await qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${path('data')}`, 'data.qcow2', '1M');
  await qemuImg('create', '-q', '-f', 'vmdk', 'alone.vmdk', '1M');
  await make('over.vmdk', 'vmdk', '-b', 'alone.vmdk', '-F', 'vmdk');
  for (const format of ['qcow2', 'qcow', 'qed', 'vdi', 'vhdx', 'vpc']) {
    await qemuImg('create', '-q', '-f', format, `alone.${format}`, '10M');
  }
  for (const subformat of ['monolithicFlat', 'twoGbMaxExtentSparse', 'streamOptimized']) {
    await qemuImg('create', '-q', '-f', 'vmdk', '-o', `subformat=${subformat}`, `${subformat}.vmdk`, '1M');
  }
  // A descriptor with a magic before it, which QEMU follows when the capacity is 0.
  const hidden = Buffer.alloc(4 * KiB);
  hidden.write('KDMV');
  hidden.writeUInt32LE(1, 4);
  hidden.writeBigUInt64LE(2n, 28);
  hidden.writeBigUInt64LE(4n, 36);
  const begin = ['# Disk DescriptorFile', 'version=1', 'CID=fffffffe', 'parentCID=ffffffff'];
  const lines = [...begin, 'createType="monolithicFlat"'];
  const extent = 'RW 128 FLAT "secret" 0';
  hidden.write([...lines, extent, ''].join('\n'), 1024);
  writeFileSync(path('hidden.vmdk'), hidden);
  // Where QEMU still reads it, after what is looked at.
  const comment = `# ${'x'.repeat(20 * KiB)}`;
  writeFileSync(path('late.vmdk'), [...begin, comment, ...lines.slice(begin.length), extent, ''].join('\n'));
  const far = Buffer.alloc(4 * MiB);
  hidden.copy(far, 0, 0, 512);
  far.writeBigUInt64LE(BigInt((3 * MiB) / 512), 28);
  hidden.copy(far, 3 * MiB, 1024);
  writeFileSync(path('far.vmdk'), far);
  const twice = readFileSync(path('over.vmdk'));
  const end = twice.indexOf(0, 512);
  twice.write('\n# parentFileNameHint=""\n', end);
  writeFileSync(path('twice.vmdk'), twice);
});

afterAll(() => rmSync(root, { recursive: true }));

describe('an image that names other files', () => {
  it.each([
    ['over.qcow2', '"secret"'],
    ['over.qcow', '"secret"'],
    ['over.qed', '"secret"'],
    ['data.qcow2', '/data"'],
    ['over.vmdk', '"alone.vmdk"'],
    ['monolithicFlat.vmdk', '"monolithicFlat-flat.vmdk"'],
    ['twoGbMaxExtentSparse.vmdk', '"twoGbMaxExtentSparse-s001.vmdk"'],
    ['hidden.vmdk', '"secret"'],
    ['late.vmdk', 'one without a name'],
    ['far.vmdk', 'one without a name'],
    ['twice.vmdk', '"alone.vmdk"'],
  ])('is refused: %s', async (name, named) => {
    const refusal = { code: 'DENIED', message: expect.stringContaining(named), where: path(name) };
    await expect(inspect(name)).rejects.toMatchObject(refusal);
    const format = name.split('.').at(-1)!;
    await expect(inspect(name, { format })).rejects.toMatchObject(refusal);
    expect(await inspect(name, { format: 'raw' })).toMatchObject({ format: 'raw' });
    if (['hidden.vmdk', 'far.vmdk'].includes(name)) return;
    expect(await inspect(name, { backing: true })).toMatchObject({ kind: 'file', format });
  });

  it('is refused without anything that it names being opened', async () => {
    await qemuImg('create', '-q', '-f', 'qcow2', '-u', '-b', 'nowhere', '-F', 'raw', 'lost.qcow2', '1M');
    await expect(inspect('lost.qcow2')).rejects.toMatchObject({ code: 'DENIED' });
    const opened = inspect('lost.qcow2', { backing: true });
    await expect(opened).rejects.toMatchObject({
      code: 'BAD_DATA',
      message: expect.stringContaining('nowhere'),
    });
  });
});

describe('an image that is whole in itself', () => {
  it.each([
    ['alone.qcow2', 'qcow2'],
    ['alone.qcow', 'qcow'],
    ['alone.qed', 'qed'],
    ['alone.vdi', 'vdi'],
    ['alone.vhdx', 'vhdx'],
    ['alone.vpc', 'vpc'],
    ['alone.vmdk', 'vmdk'],
    ['streamOptimized.vmdk', 'vmdk'],
  ])('is what it begins as: %s', async (name, format) => {
    const sizeBytes = format === 'vmdk' ? MiB : expect.any(Number);
    expect(await inspect(name)).toMatchObject({ kind: 'file', format, sizeBytes });
  });

  it('is not guessed of a file that is raw by its name: a guest may have written the header', async () => {
    await qemuImg('create', '-q', '-f', 'qcow2', 'guest', '1M');
    renameSync(path('guest'), path('guest.raw'));
    const hint = expect.stringMatching(/--format raw.*--format qcow2/);
    await expect(inspect('guest.raw')).rejects.toMatchObject({ code: 'USAGE', hint });
    expect(await inspect('guest.raw', { format: 'raw' })).toMatchObject({ format: 'raw' });
    expect(await inspect('guest.raw', { format: 'qcow2' })).toMatchObject({ sizeBytes: MiB });
  });

  it('is not of a format that nobody looked into', async () => {
    for (const format of ['vvfat', 'blkdebug', 'nonsense', '']) {
      await expect(inspect('secret', { format })).rejects.toMatchObject({ code: 'USAGE', where: '--format' });
    }
  });
});

it.each(['qcow2', 'qcow', 'qed'])(
  'an image that has got a backing file since has none read: %s',
  async (format) => {
    const { signal } = new AbortController();
    const image = { path: path(`over.${format}`), format, backing: false };
    const read = async (backing: boolean) => {
      await qemuImg('convert', '-O', 'raw', ...imageArgs({ ...image, backing }), 'read');
      return readFileSync(path('read')).includes('secret');
    };
    expect(await read(true)).toBe(true);
    expect(await read(false)).toBe(false);
    expect(await virtualSizeBytes(image, signal)).toBe(64 * KiB);
    await checkImage(image, signal);
  },
);

it('the name of a file is never taken for one of the protocols of QEMU', async () => {
  const before = process.cwd();
  try {
    process.chdir(root);
    await qemuImg('create', '-q', '-f', 'qcow2', 'x', '1M');
    renameSync(path('x'), path('json:{"driver":"raw","file.filename":"secret"}'));
    const name = 'json:{"driver":"raw","file.filename":"secret"}';
    const source = await inspectSource(name, { backing: false }, new AbortController().signal);
    expect(source).toMatchObject({ format: 'qcow2', sizeBytes: MiB, path: name });
  } finally {
    process.chdir(before);
  }
});
