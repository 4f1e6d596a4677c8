import { spawn } from 'node:child_process';
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { DescriptorSocket } from '../io/index.js';
import { loadNative } from '../native/index.js';
import { FileType } from './constants.js';
import { FUSE_TYPE, rawstorMounts } from './mounts.js';

export interface MountOptions {
  /** An empty directory: what it has is hidden. */
  readonly directory: string;
  /** Others than the user who mounts may look at it. Root always may allow that. */
  readonly allowOthers: boolean;
}

const SOURCE = 'rawstor';
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOATIME = 1024;
const MNT_DETACH = 2;
const EBUSY = 16;

/**
 * Mounts a file system whose requests come from the descriptor that is returned: by mount(2) where this is root, else with the help of
 * fusermount3. What a process that was killed has left there is taken away first.
 * @throws RawstorError BUSY where something of ours is mounted already, DENIED, NOT_FOUND
 */
export async function mountFuse(options: MountOptions): Promise<{ fd: number; blocks: boolean }> {
  const { directory } = options;
  if (rawstorMounts().includes(directory)) await dropDead(directory);
  const stats = asSystem(() => statSync(directory), directory);
  if (!stats.isDirectory()) throw new RawstorError('USAGE', 'it is no directory', { where: directory });
  if (process.geteuid?.() === 0) return { fd: mountAsRoot(options), blocks: false };
  return { fd: await mountByHelper(options), blocks: true };
}

/**
 * Off the loop: the kernel may have something to be written first.
 * @returns false when files of it are in use, and it was only taken out of sight
 */
export async function unmountFuse(directory: string): Promise<boolean> {
  if (process.geteuid?.() !== 0) return await helper(['-u', '--', directory]).then(({ code }) => code === 0);
  const result = await loadNative().unmountFileSystem(directory, 0);
  if (result === 0) return true;
  if (result !== -EBUSY) return false;
  await loadNative().unmountFileSystem(directory, MNT_DETACH);
  return false;
}

function mountAsRoot({ directory, allowOthers }: MountOptions): number {
  const fd = asSystem(() => openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK), '/dev/fuse');
  const [uid, gid] = [process.getuid!(), process.getgid!()];
  const data = [
    `fd=${fd},rootmode=${FileType.DIRECTORY.toString(8)},user_id=${uid},group_id=${gid},default_permissions`,
    ...(allowOthers ? ['allow_other'] : []),
  ].join(',');
  const mountFlags = MS_NOSUID | MS_NODEV | MS_NOATIME;
  const result = loadNative().mountFileSystem(SOURCE, directory, FUSE_TYPE, mountFlags, data);
  if (result === 0) return fd;
  closeSync(fd);
  const hint = 'as root of a container it also takes CAP_SYS_ADMIN, and the device /dev/fuse';
  throw new RawstorError('DENIED', `mount(2) fails with errno ${-result}`, { where: directory, hint });
}

/** fusermount3(1) opens /dev/fuse, mounts it and passes the descriptor. */
async function mountByHelper({ directory, allowOthers }: MountOptions): Promise<number> {
  const options = [
    `fsname=${SOURCE},subtype=rawstor,nosuid,nodev,default_permissions`,
    ...(allowOthers ? ['allow_other'] : []),
  ].join(',');
  const [ours, theirs] = DescriptorSocket.pair();
  try {
    const { code, said } = await helper(['-o', options, '--', directory], theirs.fd);
    if (code !== 0) {
      const hint = allowOthers
        ? 'others are allowed only with `user_allow_other` in /etc/fuse.conf'
        : undefined;
      throw new RawstorError('DENIED', `fusermount3: ${said.trim() || `it ends with ${code}`}`, {
        where: directory,
        hint,
      });
    }
    const fds: number[] = [];
    ours.receive(Buffer.alloc(1), 0, 1, fds);
    if (fds.length === 1) return fds[0]!;
    throw new RawstorError('PROTOCOL', 'fusermount3 passes no descriptor', { where: directory });
  } finally {
    ours.close();
    theirs.close();
  }
}

function helper(args: string[], fd?: number): Promise<{ code: number | null; said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('fusermount3', args, {
      stdio: ['ignore', 'ignore', 'pipe', ...(fd === undefined ? [] : [fd])],
      ...(fd === undefined ? {} : { env: { ...process.env, _FUSE_COMMFD: '3' } }),
    });
    let said = '';
    child.stderr!.on('data', (bytes: Buffer) => {
      if (said.length < 4096) said += bytes.toString();
    });
    child.on('error', (error) => {
      const hint = 'install the Debian package fuse3, or mount as root';
      reject(new RawstorError('NOT_FOUND', 'fusermount3 cannot be run', { hint, cause: error }));
    });
    child.on('close', (code) => resolve({ code, said }));
  });
}

/** @throws RawstorError BUSY when it is alive */
async function dropDead(directory: string): Promise<void> {
  try {
    statSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTCONN') throw asRawstorError(error, directory);
    if (process.geteuid?.() === 0) await loadNative().unmountFileSystem(directory, MNT_DETACH);
    else await helper(['-u', '-z', '--', directory]);
    return;
  }
  throw new RawstorError('BUSY', 'rawstor is mounted there already', {
    where: directory,
    hint: `end that one first: umount ${directory}`,
  });
}

function asSystem<T>(call: () => T, where: string): T {
  try {
    return call();
  } catch (error) {
    throw asRawstorError(error, where);
  }
}
