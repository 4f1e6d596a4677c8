import { RawstorError } from '../../common/errors.js';
import { DescriptorSocket, EventFd } from '../../io/index.js';
import { DirtyLog } from '../dirty-log.js';
import { InflightArea } from '../inflight-area.js';
import type { Session } from '../session.js';
import type { SessionState } from './device-state.js';

/** Of a frozen session; the descriptors stay its own. Appended to `fds` is all but its socket. */
export function exportSession(session: Session, fds: number[]): SessionState {
  const { features, protocolFeatures, status, writeback, writebackKnown, inflight, dirtyLog, backend } =
    session;
  const regions = session.memory.shared().map(({ fd, guestAddress, sizeBytes, userAddress, mapOffset }) => {
    fds.push(fd);
    return { guestAddress, sizeBytes, userAddress, mapOffset };
  });
  const rings = session.rings.map((ring) => {
    const own = [ring.kick, ring.call, ring.error];
    for (const eventFd of own) if (eventFd !== null) fds.push(eventFd.fd);
    const { size, base, addresses, enabled, frozen, broken } = ring;
    const [kick = false, call = false, error = false] = own.map((eventFd) => eventFd !== null);
    const named: [boolean, boolean, boolean] = [kick, call, error];
    return { size, base, addresses, enabled, started: frozen, broken, fds: named };
  });
  for (const part of [inflight, dirtyLog, backend]) if (part !== null) fds.push(part.fd);
  return {
    features: String(features),
    protocolFeatures: String(protocolFeatures),
    status: String(status),
    writeback,
    writebackKnown,
    regions,
    rings,
    inflight: inflight?.description ?? null,
    dirtyLog: dirtyLog?.description ?? null,
    backend: backend !== null,
  };
}

/**
 * Into a new session, which goes on with `thaw`. Takes descriptors out of `fds` as it uses them up.
 * @throws RawstorError INVALID where this process cannot serve what the other one did, OS_ERROR
 */
export function importSession(session: Session, state: SessionState, fds: number[]): void {
  const { rings } = state;
  const isUsed = ({ size, fds: named }: SessionState['rings'][number]) => size > 0 || named.includes(true);
  if (rings.slice(session.rings.length).some(isUsed)) {
    throw new RawstorError(
      'INVALID',
      `a device of ${rings.length} queues, here are ${session.rings.length}`,
      {
        hint: 'start the process that takes over with as many --queues',
      },
    );
  }
  session.features = BigInt(state.features);
  session.protocolFeatures = BigInt(state.protocolFeatures);
  session.status = BigInt(state.status);
  session.writeback = state.writeback;
  session.writebackKnown = state.writebackKnown;
  for (const region of state.regions) session.memory.add(region, taken(fds));
  for (const [index, { size, base, addresses, enabled, started, broken, fds: named }] of rings.entries()) {
    const ring = session.rings[index];
    if (ring === undefined) continue;
    Object.assign(ring, { size, base, addresses, enabled });
    const [kick, call, error] = named.map((there) => (there ? new EventFd(taken(fds)) : null));
    Object.assign(ring, { kick, call, error, frozen: started, broken });
  }
  if (state.inflight !== null) session.setInflight(new InflightArea(state.inflight, taken(fds)));
  if (state.dirtyLog !== null) session.setDirtyLog(new DirtyLog(state.dirtyLog, taken(fds)));
  if (state.backend) session.backend = new DescriptorSocket(taken(fds));
}

export function taken(fds: number[]): number {
  const fd = fds.shift();
  if (fd !== undefined) return fd;
  throw new RawstorError('PROTOCOL', 'fewer descriptors came than the state of the device names');
}
