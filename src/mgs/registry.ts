import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { checkInfoSize, type ServerInfo } from '../protocol/index.js';

export type Health = 'up' | 'late' | 'down';

/** Servers report every two seconds: silent for this long, one is late. */
export const LATE_MS = 6_000;
export const DOWN_MS = 20_000;
/** A gateway comes and goes; a server with data is never forgotten. */
const GATEWAY_FORGOTTEN_MS = 3_600_000;

export interface ServerStatus extends ServerInfo {
  readonly health: Health;
  readonly lastSeenWallMs: number;
}

/** What outlives a restart. */
export interface RememberedServer {
  readonly info: ServerInfo;
  readonly lastSeenWallMs: number;
}

interface Known {
  info: ServerInfo;
  seenMs: number;
  seenWallMs: number;
}

export const ROLES = ['mds', 'ost', 'nbd', 'mount'] as const;

/** It comes and goes: nobody has to look for one that is not there any more. */
export function isGateway({ role }: Pick<ServerInfo, 'role'>): boolean {
  return role === 'nbd' || role === 'mount';
}

/** Who is in the cluster and when they were last heard; health is by the monotonic clock. */
export class Registry {
  private readonly clock: Clock;
  private readonly known = new Map<string, Known>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Servers known before a restart: late until they are heard again, down if they are not. */
  restore(servers: readonly RememberedServer[]): void {
    const seenMs = this.clock.nowMs() - LATE_MS;
    for (const { info, lastSeenWallMs } of servers) {
      const silentMs = this.clock.wallMs() - lastSeenWallMs;
      if (isGateway(info) && silentMs > GATEWAY_FORGOTTEN_MS) continue;
      this.known.set(keyOf(info), { info, seenMs, seenWallMs: lastSeenWallMs });
    }
  }

  /**
   * @returns whether there is something new to remember: not for free space alone
   * @throws RawstorError LIMIT
   */
  register(info: ServerInfo): boolean {
    checkInfoSize(info);
    const key = keyOf(info);
    const before = this.known.get(key);
    if (before === undefined && this.known.size >= LIMITS.serversPerCluster) {
      throw new RawstorError('LIMIT', `the registry is full: ${this.known.size} servers`);
    }
    if (before === undefined) this.supersede(info);
    this.known.set(key, { info, seenMs: this.clock.nowMs(), seenWallMs: this.clock.wallMs() });
    return before === undefined || !sameBesidesSpace(before.info, info);
  }

  /** @returns whether it was known */
  leave(server: Pick<ServerInfo, 'role' | 'id'>): boolean {
    return this.known.delete(keyOf(server));
  }

  servers(): ServerStatus[] {
    this.forgetGateways();
    const nowMs = this.clock.nowMs();
    const all = [...this.known.values()].map(({ info, seenMs, seenWallMs }) => ({
      ...info,
      health: healthOf(nowMs - seenMs),
      lastSeenWallMs: seenWallMs,
    }));
    return all.sort((a, b) => ROLES.indexOf(a.role) - ROLES.indexOf(b.role) || (a.id < b.id ? -1 : 1));
  }

  remembered(): RememberedServer[] {
    return this.servers().map(({ health: _, lastSeenWallMs, ...info }) => ({ info, lastSeenWallMs }));
  }

  /**
   * A gateway has a new id at each start, and so has an MDS that was rebuilt: one at the address, or on the
   * directory, of another has taken its place. There is one MDS: where it is on another machine now, the one before is silent.
   */
  private supersede(info: ServerInfo): void {
    if (info.role === 'ost') return;
    for (const [key, { info: other, seenMs }] of this.known) {
      if (other.role !== info.role) continue;
      if (info.role === 'mds' && this.clock.nowMs() - seenMs >= LATE_MS) this.known.delete(key);
      if (other.labels.host !== info.labels.host) continue;
      const sameMount = info.mount !== undefined && other.mount?.directory === info.mount.directory;
      if (sameMount || other.addresses.some((address) => info.addresses.includes(address))) {
        this.known.delete(key);
      }
    }
  }

  private forgetGateways(): void {
    const beforeMs = this.clock.nowMs() - GATEWAY_FORGOTTEN_MS;
    for (const [key, { info, seenMs }] of this.known) {
      if (isGateway(info) && seenMs < beforeMs) this.known.delete(key);
    }
  }
}

export function healthOf(silentMs: number): Health {
  if (silentMs < LATE_MS) return 'up';
  return silentMs < DOWN_MS ? 'late' : 'down';
}

function keyOf({ role, id }: Pick<ServerInfo, 'role' | 'id'>): string {
  return `${role}/${id}`;
}

function sameBesidesSpace(a: ServerInfo, b: ServerInfo): boolean {
  return (
    JSON.stringify([a.addresses, a.labels, a.capacityBytes, a.waitsFor]) ===
    JSON.stringify([b.addresses, b.labels, b.capacityBytes, b.waitsFor])
  );
}
