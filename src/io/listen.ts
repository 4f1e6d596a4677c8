import { lstatSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { openAsUsual } from '../common/private-files.js';
import { loadNative } from '../native/index.js';
import { formatTcp, parseAddress, resolveHost } from './address.js';
import { EADDRINUSE, ENAMETOOLONG, ENOENT, errnoError } from './errno.js';
import type { Address } from './types.js';

const BACKLOG = 1024;

/** A listening descriptor. */
export interface Listening {
  readonly fd: number;
  /** With the real port. */
  readonly address: Address;
  /** Unix: the path to remove, and the file it was when we made it. */
  readonly path: string | null;
  readonly inode: number;
}

/** A socket that listens already and was passed to this process as a descriptor. */
const INHERITED = /^fd:(\d+)$/;

/**
 * `fd:N` takes over a socket that the process was started with.
 * @throws RawstorError BUSY when somebody else listens there, USAGE, DENIED ... naming the address
 */
export async function openListening(address: Address): Promise<Listening> {
  const inherited = INHERITED.exec(address);
  if (inherited !== null) return adopt(Number(inherited[1]), address);
  const parsed = parseAddress(address);
  if (parsed.kind === 'unix') return listenUnix(parsed.path, address);
  const native = loadNative();
  const host = await resolveHost(parsed.host, address);
  const fd = native.socketListen(host, parsed.port, BACKLOG);
  if (fd === -EADDRINUSE) {
    throw new RawstorError('BUSY', 'another program listens on this address', {
      where: address,
      hint: `stop that program (\`ss -ltnp 'sport = :${parsed.port}'\` names it), or choose another port`,
    });
  }
  if (fd < 0) throw errnoError(fd, 'listen', address);
  const port = Number(/:(\d+)$/.exec(native.socketName(fd, false))![1]);
  return { fd, address: formatTcp(parsed.host, port), path: null, inode: 0 };
}

export function stopListening(listening: Listening): void {
  loadNative().closeFd(listening.fd);
  removeSocketFile(listening);
}

export function removeSocketFile(listening: Listening): void {
  // Another server may have taken the path over; its socket is not ours to remove.
  if (listening.path !== null && inodeOf(listening.path) === listening.inode) unlinkSync(listening.path);
}

/** Its socket file stays when we end: whoever made it goes on listening. */
function adopt(fd: number, where: Address): Listening {
  const native = loadNative();
  const address = native.socketName(fd, false);
  if (address === '' || address === 'unix:' || !native.socketListens(fd)) {
    throw new RawstorError('USAGE', 'this descriptor is no socket that listens', {
      where,
      hint: 'LISTEN_FDS says how many sockets there are from descriptor 3 on: see sd_listen_fds(3)',
    });
  }
  return { fd, address, path: null, inode: 0 };
}

/** What another process has listened on: its socket file, where it has one, is ours from here on. */
export function handedOn(fd: number, path: string | null): Listening {
  return { fd, address: `unix:${path ?? ''}`, path, inode: path === null ? 0 : inodeOf(path) };
}

function listenUnix(path: string, address: Address): Listening {
  const native = loadNative();
  let fd = native.socketListen(path, 0, BACKLOG);
  if (fd === -EADDRINUSE) {
    removeStaleSocket(path, address);
    fd = native.socketListen(path, 0, BACKLOG);
  }
  if (fd === -ENOENT) {
    throw new RawstorError('NOT_FOUND', 'there is no directory for this socket', {
      where: path,
      hint: `make it first: mkdir -p ${dirname(path)}`,
    });
  }
  if (fd === -ENAMETOOLONG) {
    throw new RawstorError('USAGE', 'the path is too long for a Unix socket, 107 bytes at most', {
      where: path,
      hint: 'choose a shorter one',
    });
  }
  if (fd < 0) throw errnoError(fd, 'listen', address);
  openAsUsual(path);
  return { fd, address, path, inode: inodeOf(path) };
}

/**
 * A socket file that nobody listens on was left behind by a process that was killed; nothing else is removed.
 * @throws RawstorError EXISTS where it is another kind of file, BUSY where somebody listens, DENIED
 */
export function removeStaleSocket(path: string, address: Address): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new RawstorError('EXISTS', 'a file that is no socket is in the way', {
      where: path,
      hint: 'remove it, or choose another path',
    });
  }
  const ECONNREFUSED = 111;
  const fd = loadNative().socketConnect(path, 0);
  if (fd >= 0) loadNative().closeFd(fd);
  if (fd !== -ECONNREFUSED) {
    throw new RawstorError('BUSY', 'another program listens on this socket', {
      where: address,
      hint: `stop that program (\`ss -lxp src ${path}\` names it), or choose another path`,
    });
  }
  try {
    unlinkSync(path);
  } catch (error) {
    throw asRawstorError(error, path);
  }
}

function inodeOf(path: string): number {
  try {
    return lstatSync(path).ino;
  } catch {
    return -1;
  }
}
