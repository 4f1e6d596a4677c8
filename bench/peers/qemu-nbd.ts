import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needPackages } from '../packages.js';
import { startServer } from '../process.js';
import type { StartSubject, Subject, SubjectOptions } from '../types.js';
import { createImage } from './image.js';

/** Connections that a server takes at once; qemu-nbd's default of one refuses the load with four. */
const CLIENTS_MAX = 16;

/** @param image arguments that name it and its format */
export async function startExport(
  name: string,
  image: readonly string[],
  options: SubjectOptions,
): Promise<Subject> {
  const socketPath = join(options.dir, 'nbd.sock');
  const args = ['--persistent', `--shared=${CLIENTS_MAX}`, `--socket=${socketPath}`, '-x', 'disk', ...image];
  const server = await startServer('qemu-nbd', args, { socketPath, cpu: options.cpu });
  return {
    name,
    uri: `nbd+unix:///disk?socket=${socketPath}`,
    pids: [server.pid],
    stop: () => server.stop(),
  };
}

async function startRaw(name: string, how: readonly string[], options: SubjectOptions): Promise<Subject> {
  needPackages('qemu-utils');
  const image = await createImage(options.dir, 'disk.raw', options.sizeBytes);
  return await startExport(name, ['--format=raw', ...how, image], options);
}

export const startQemuNbd: StartSubject = (options) =>
  startRaw('qemu-nbd threads', ['--cache=writeback', '--aio=threads'], options);

export const startQemuNbdUring: StartSubject = (options) =>
  startRaw('qemu-nbd io_uring', ['--cache=writeback', '--aio=io_uring'], options);

/** Native AIO needs O_DIRECT: past the page cache, unlike the others. */
export const startQemuNbdNative: StartSubject = async (options) => ({
  ...(await startRaw('qemu-nbd native', ['--cache=none', '--aio=native'], options)),
  remark: 'O_DIRECT, as native AIO asks for: the disk, not the page cache',
});

/** LUKS by QEMU itself, over a raw file. */
export const startQemuNbdLuks: StartSubject = async (options) => {
  needPackages('qemu-utils');
  const { image, secret } = await createLuks(options);
  const how = { driver: 'luks', 'key-secret': 'key', file: { driver: 'file', filename: image } };
  const args = ['--cache=writeback', '--object', secret, `json:${JSON.stringify(how)}`];
  return await startExport('qemu-nbd LUKS', args, options);
};

/** AES-256-XTS as ours; the time that the passphrase takes is spent at the start. */
export async function createLuks(
  options: SubjectOptions,
): Promise<{ image: string; secret: string; passphraseFile: string }> {
  const image = join(options.dir, 'disk.luks');
  const passphraseFile = join(options.dir, 'passphrase');
  await writeFile(passphraseFile, 'for a benchmark', { mode: 0o600 });
  const secret = `secret,id=key,file=${passphraseFile}`;
  const luks = 'key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10';
  const args = ['create', '-q', '-f', 'luks', '--object', secret, '-o', luks, image, `${options.sizeBytes}`];
  await promisify(execFile)('qemu-img', args);
  return { image, secret, passphraseFile };
}
