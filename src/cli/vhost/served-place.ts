import type { BlockDevice } from '../../block/index.js';
import type { Cluster } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { DescriptorSocket, type Io } from '../../io/index.js';
import { Giver, type TakenDevice, takeDevice, VhostServer } from '../../vhost/index.js';
import { holderAt } from '../gateway/holder.js';
import { VolumeExports } from '../gateway/volume-exports.js';

/** A volume, or VOLUME@SNAPSHOT to be read, and where it is served: a path, or `fd:N`. */
export interface VhostPlace {
  readonly name: string;
  readonly socket: string;
}

export interface VhostGatewayOptions {
  readonly cluster: Cluster;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly places: readonly VhostPlace[];
  readonly queues?: number;
  /** Where another process has a volume: waits until its guest goes over, instead of BUSY. */
  readonly standby?: boolean;
  /** Takes the place of the process that serves these, whose guests go on. */
  readonly replace?: boolean;
  /** Of a process that serves other things as well: volumes that are not served are tried again for ever, be it all of them. */
  readonly beside?: boolean;
  /** How long after a failure a volume is tried again, while others are served. Default 5 s. */
  readonly againMs?: number;
}

/** One volume as it is served. */
export interface Served {
  readonly place: VhostPlace;
  readonly server: VhostServer;
  readonly device: BlockDevice;
  giver: Giver | null;
  /** Why it can serve no more. */
  failure: RawstorError | null;
}

export interface Events {
  failed(served: Served, error: RawstorError): void;
  /** Another process serves it now, or nobody can come any more. */
  gone(served: Served): void;
}

/** @throws RawstorError when it cannot be opened, or not listened for */
export async function serve(
  place: VhostPlace,
  options: VhostGatewayOptions,
  events: Events,
): Promise<Served> {
  const { socket } = place;
  let served: Served | null = null;
  const onGone = () => {
    if (served !== null) events.gone(served);
  };
  // First: a second process on the same socket is the same holder, and would fence the one that serves there.
  const giver = await listenForTakers(place, options, onGone);
  try {
    served = await open(place, options, events, null);
    try {
      await begin(served.server, socket);
    } catch (error) {
      await drop(served);
      throw error;
    }
  } catch (error) {
    giver?.close();
    throw error;
  }
  served.giver = giver;
  if (giver !== null) giver.device = served.server;
  return served;
}

/** A descriptor has no place where one could ask for it: null. @throws RawstorError BUSY, USAGE ... */
async function listenForTakers(
  { name, socket }: VhostPlace,
  { clock, log }: VhostGatewayOptions,
  onGone: () => void,
): Promise<Giver | null> {
  if (socket.startsWith('fd:')) return null;
  return await Giver.listen({ path: controlPathOf(socket), log: log.child({ volume: name }), clock, onGone });
}

/**
 * All or none: nothing is let go of over there before everything is open here. Then each for itself: `onFailed` is
 * told of those that were not given. @throws RawstorError where nothing could be opened
 */
export async function replaceAll(
  options: VhostGatewayOptions,
  events: Events,
  onFailed: (place: VhostPlace, error: RawstorError) => void,
): Promise<Served[]> {
  const [first, ...others] = await takeAll(options, events);
  if (first === undefined) return [];
  try {
    // Until the first is given all can stay where they are.
    const gone = others.find(({ taken }) => taken.gone);
    if (gone !== undefined) throw wentOn(gone.place);
    await first.taken.confirm();
    first.served.server.thaw();
  } catch (error) {
    await putBack([first, ...others]);
    throw asRawstorError(error, first.place.name);
  }
  const confirmed = others.map(async (one) => {
    try {
      await one.taken.confirm();
      one.served.server.thaw();
      return one;
    } catch (error) {
      await drop(one.served);
      onFailed(one.place, asRawstorError(error, one.place.name));
      return null;
    }
  });
  const begun: Served[] = [];
  for (const each of [first, ...confirmed]) {
    const one = await each;
    if (one === null) continue;
    begun.push(one.served);
    try {
      one.served.giver = await listenForTakers(one.place, options, () => events.gone(one.served));
      if (one.served.giver !== null) one.served.giver.device = one.served.server;
    } catch (error) {
      // Its guest runs here already.
      options.log.error({ err: error, volume: one.place.name }, 'no process can take the place of this one');
    }
  }
  return begun;
}

interface Ready {
  readonly place: VhostPlace;
  readonly taken: TakenDevice;
  readonly served: Served;
}

/** At the same time: guests stand still for the slowest, not for the sum. @throws RawstorError of the first that fails */
async function takeAll(options: VhostGatewayOptions, events: Events): Promise<Ready[]> {
  const takens: TakenDevice[] = [];
  const ready: Ready[] = [];
  let failure: RawstorError | null = null;
  const takeOne = async (place: VhostPlace) => {
    const taken = await takeDevice(controlPathOf(place.socket));
    takens.push(taken);
    if (failure !== null) throw failure;
    const served = await open(place, options, events, taken);
    ready.push({ place, taken, served });
    served.server.adopt(taken);
  };
  const fail = (error: unknown, { name }: VhostPlace) => {
    failure ??= asRawstorError(error, name);
    // Whatever the others still wait for: their guests go on meanwhile.
    for (const taken of takens) taken.abandon();
  };
  await Promise.all(options.places.map((place) => takeOne(place).catch((error) => fail(error, place))));
  if (failure === null) return ready;
  await putBack(ready);
  throw failure;
}

/** Given up there first: who goes on has the volume again at once. */
async function putBack(ready: readonly Ready[]): Promise<void> {
  for (const { taken } of ready) taken.abandon();
  for (const { served } of ready) await drop(served);
}

function wentOn({ name, socket }: VhostPlace): RawstorError {
  return new RawstorError('TIMEOUT', `'${name}' was not taken over in time: it goes on where it was`, {
    where: socket,
    hint: 'all go on there; a replica that is away holds this up',
  });
}

async function drop({ server, device }: Served): Promise<void> {
  server.letGo();
  await device.close();
}

/** Where a process asks that is to take the place of the one that serves this socket. */
export function controlPathOf(socket: string): string {
  return `${socket}.control`;
}

async function open(
  { name, socket }: VhostPlace,
  { cluster, io, clock, log: common, queues, standby = false }: VhostGatewayOptions,
  events: Events,
  taken: TakenDevice | null,
): Promise<Served> {
  const log = common.child({ volume: name });
  let server: VhostServer | null = null;
  let served: Served | null = null;
  const state: Pick<Served, 'failure'> = { failure: null };
  const exports = new VolumeExports({
    cluster,
    clock,
    only: name,
    holder: () => holderAt('rawstor-vhost', `unix:${socket}`, ownName(socket)),
    standby,
    tellsStops: true,
    // Where the process before goes on after all, it has opened the volume again, and this one opens nothing.
    ...(taken?.state.after === undefined ? {} : { after: taken.state.after }),
    onFatal: (_name, error) => {
      state.failure ??= error;
      if (served !== null) events.failed(served, error);
    },
    onResized: () => server?.configChanged(),
  });
  if (taken !== null) await checkSame(exports, name, taken);
  const device = await exports.open(name);
  const identity = exports.identityOf(device);
  const onOver = () => {
    if (served !== null) events.gone(served);
  };
  const more = queues === undefined ? {} : { queues };
  server = new VhostServer({ io, log, device, identity, serial: name, standby, onOver, ...more });
  served = Object.assign(state, { place: { name, socket }, server, device, giver: null });
  return served;
}

/** The guest goes on with what it has in its memory of the disk before. @throws RawstorError USAGE */
async function checkSame(exports: VolumeExports, name: string, { state }: TakenDevice): Promise<void> {
  const { identity } = state;
  if (identity === undefined || identity === (await exports.identify(name))) return;
  throw new RawstorError('USAGE', `the process that serves this socket does not serve '${name}' there`, {
    where: state.listens?.path ?? undefined,
    hint: 'give the volumes and sockets that it was started with',
  });
}

/** No other process has the same: descriptors have the same numbers everywhere. */
function ownName(socket: string): string {
  return socket.startsWith('fd:') ? `${socket} of process ${process.pid}` : socket;
}

/** A descriptor may be of a socket that listens, or of a front-end that is connected already. */
async function begin(server: VhostServer, socket: string): Promise<void> {
  const connected = socket.startsWith('fd:') ? DescriptorSocket.inherited(Number(socket.slice(3))) : null;
  if (connected === null) await server.listen(socket);
  else server.accept(connected);
}

/** Closes the volume cleanly. */
export async function end({ server, device, giver }: Served): Promise<void> {
  // Who takes the place is let in when this one has closed the volume, which it would fence else.
  if (giver !== null) giver.device = null;
  await server.close();
  await device.close();
  giver?.close();
}
