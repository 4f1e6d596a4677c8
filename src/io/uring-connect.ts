import { RawstorError } from '../common/errors.js';
import { loadNative } from '../native/index.js';
import { parseAddress, resolveHosts } from './address.js';
import { ECANCELED, EINVAL, errnoError } from './errno.js';
import type { Ring, RingUser } from './ring.js';
import { CANCEL_ALL_OF_FD, RingOp } from './ring-abi.js';
import type { Address } from './types.js';

const CONNECT = 0;
const CANCEL = 1;
const SHUT_RDWR = 2;
const SOCKADDR_MAX_BYTES = 128;

/** One attempt to connect on the ring. */
class Attempt implements RingUser {
  private readonly sockaddr: Buffer;
  private readonly fd: number;
  private readonly done: (result: number) => void;
  private connected = false;
  private shut = false;

  constructor(fd: number, sockaddr: Buffer, done: (result: number) => void) {
    this.fd = fd;
    this.sockaddr = sockaddr;
    this.done = done;
  }

  start(ring: Ring): void {
    ring.queue(this, CONNECT, null, 0);
  }

  cancel(ring: Ring): void {
    if (!this.connected) ring.queue(this, CANCEL, null, 0);
  }

  prepare(ring: Ring, kind: number): void {
    if (kind === CONNECT) {
      const address = ring.scratch.reserve(this.sockaddr.length);
      ring.scratch.view(address, this.sockaddr.length).set(this.sockaddr);
      // The length of the address stands in the offset field.
      ring.fill(RingOp.CONNECT, this.fd, this.sockaddr.length, address, 0, 0);
    } else {
      ring.fill(RingOp.ASYNC_CANCEL, this.fd, 0, 0, 0, CANCEL_ALL_OF_FD);
    }
  }

  completed(kind: number, _context: unknown, _progress: number, result: number): void {
    if (kind === CANCEL) {
      // A kernel that cannot cancel by descriptor ends it when the socket is shut down.
      if (result !== -EINVAL || this.connected) return;
      this.shut = true;
      loadNative().socketShutdown(this.fd, SHUT_RDWR);
      return;
    }
    this.connected = true;
    this.done(this.shut ? -ECANCELED : result);
  }
}

/** Attempts under way, so that closing can end them. */
export type Attempts = Set<() => void>;

/**
 * A connected descriptor. Of a name with several addresses each is tried: of `localhost`, of hosts with IPv4 and IPv6.
 * @throws RawstorError UNAVAILABLE, TIMEOUT, NOT_FOUND, naming the address
 */
export async function connectDescriptor(
  ring: Ring,
  address: Address,
  timeoutMs: number,
  attempts: Attempts,
): Promise<number> {
  const parsed = parseAddress(address);
  const untilMs = performance.now() + timeoutMs;
  const hosts = parsed.kind === 'unix' ? [parsed.path] : await resolveHosts(parsed.host, address, timeoutMs);
  const port = parsed.kind === 'unix' ? 0 : parsed.port;
  let result = 0;
  for (const [i, host] of hosts.entries()) {
    const leftMs = Math.max(1, (untilMs - performance.now()) / (hosts.length - i));
    const attempt = await attemptAt(ring, host, port, leftMs, attempts);
    if (attempt.fd !== null) return attempt.fd;
    result = attempt.result;
    if (attempt.ended) break;
  }
  throw result === -ECANCELED ? connectTimeout(address, timeoutMs) : connectError(result, address);
}

/** `ended`: all are being closed. */
async function attemptAt(
  ring: Ring,
  host: string,
  port: number,
  timeoutMs: number,
  attempts: Attempts,
): Promise<{ fd: number | null; result: number; ended: boolean }> {
  const native = loadNative();
  const sockaddr = Buffer.alloc(SOCKADDR_MAX_BYTES);
  const socket = native.socketOpen(host, port, sockaddr);
  if (typeof socket === 'number') return { fd: null, result: socket, ended: false };
  let ended = false;
  const result = await new Promise<number>((resolve) => {
    const attempt = new Attempt(socket.fd, sockaddr.subarray(0, socket.length), (outcome) => {
      clearTimeout(timer);
      attempts.delete(end);
      resolve(outcome);
    });
    const end = () => {
      ended = true;
      attempt.cancel(ring);
    };
    const timer = setTimeout(() => attempt.cancel(ring), timeoutMs);
    attempts.add(end);
    attempt.start(ring);
  });
  if (result === 0) return { fd: socket.fd, result, ended };
  native.closeFd(socket.fd);
  return { fd: null, result, ended };
}

export function connectTimeout(address: Address, timeoutMs: number): RawstorError {
  return new RawstorError('TIMEOUT', `no connection within ${timeoutMs} ms`, {
    where: address,
    hint: 'check that the host is up and that no firewall is between',
  });
}

/** ENOENT (Unix path), ECONNREFUSED, EHOSTUNREACH ... all mean that nobody is there. */
export function connectError(errno: number, address: Address): RawstorError {
  const cause = errnoError(errno, 'connect', address);
  const ETIMEDOUT = -110;
  if (errno === ETIMEDOUT) return new RawstorError('TIMEOUT', cause.message, { where: address, cause });
  if (cause.code === 'DENIED') return cause;
  return new RawstorError('UNAVAILABLE', `cannot connect: ${cause.message}`, {
    where: address,
    hint: 'check that the server runs, and the address',
    cause,
  });
}
