import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ImageSource, inspectSource, type SourceOptions } from '../../../src/cli/copy/image-source.js';
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
  const lines = ['# Disk DescriptorFile', 'version=1', 'createType="monolithicFlat"'];
  hidden.write([...lines, 'RW 128 FLAT "secret" 0', ''].join('\n'), 1024);
  writeFileSync(path('hidden.vmdk'), hidden);
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
  ])('is refused: %s', async (name, named) => {
    const refusal = { code: 'DENIED', message: expect.stringContaining(named), where: path(name) };
    await expect(inspect(name)).rejects.toMatchObject(refusal);
    const format = name.split('.').at(-1)!;
    await expect(inspect(name, { format })).rejects.toMatchObject(refusal);
    expect(await inspect(name, { format: 'raw' })).toMatchObject({ format: 'raw' });
    if (name === 'hidden.vmdk') return;
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
