import type { BlockDevice } from '../../block/index.js';
import type { Cluster } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
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
}

interface Served {
  readonly server: VhostServer;
  readonly device: BlockDevice;
  giver: Giver | null;
}

interface Events {
  failed(error: RawstorError): void;
  /** Another process serves it now, or nobody can come any more. */
  gone(served: Served): void;
}

/** Volumes of a cluster as vhost-user block devices, each on its socket; all are open from start to end. */
export class VhostGateway {
  readonly places: readonly VhostPlace[];
  /** Resolved when one of the volumes can serve no more. */
  readonly failed: Promise<RawstorError>;
  /** Resolved when there is nothing left to serve: other processes have taken over, or front-ends by descriptor are gone. */
  readonly done: Promise<string>;
  private readonly served: Served[] = [];
  private allGone!: (reason: string) => void;

  private constructor(places: readonly VhostPlace[], failed: Promise<RawstorError>) {
    this.places = places;
    this.failed = failed;
    this.done = new Promise((resolve) => {
      this.allGone = resolve;
    });
  }

  /** @throws RawstorError BUSY, NOT_FOUND ... when a volume cannot be opened or a socket not listened on */
  static async start(options: VhostGatewayOptions): Promise<VhostGateway> {
    let fail!: (error: RawstorError) => void;
    const failed = new Promise<RawstorError>((resolve) => {
      fail = resolve;
    });
    const gateway = new VhostGateway(options.places, failed);
    const events = { failed: fail, gone: (served: Served) => void gateway.gone(served) };
    const { served } = gateway;
    try {
      if (options.replace === true) served.push(...(await replaceAll(options, events)));
      else for (const place of options.places) served.push(await serve(place, options, events));
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return gateway;
  }

  /** Closes every volume cleanly. */
  async close(): Promise<void> {
    await Promise.all(
      this.served.map(async ({ server, device, giver }) => {
        // Who takes the place is let in when this one has closed the volume, which it would fence else.
        if (giver !== null) giver.device = null;
        await server.close();
        await device.close();
        giver?.close();
      }),
    );
  }

  private async gone(served: Served): Promise<void> {
    this.served.splice(this.served.indexOf(served), 1);
    await served.device.close();
    if (this.served.length === 0) this.allGone('there is nothing left to serve');
  }
}

async function serve(place: VhostPlace, options: VhostGatewayOptions, events: Events): Promise<Served> {
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

/** All or none: nothing is let go of over there before everything is open here. */
async function replaceAll(options: VhostGatewayOptions, events: Events): Promise<Served[]> {
  const ready: { place: VhostPlace; taken: TakenDevice; served: Served }[] = [];
  try {
    for (const place of options.places) {
      const taken = await takeDevice(controlPathOf(place.socket));
      try {
        const served = await open(place, options, events, taken);
        ready.push({ place, taken, served });
        served.server.adopt(taken);
      } catch (error) {
        taken.abandon();
        throw error;
      }
    }
  } catch (error) {
    // Given up there first: who goes on has the volume again at once.
    for (const { taken } of ready) taken.abandon();
    for (const { served } of ready) await drop(served);
    throw error;
  }
  const served: Served[] = [];
  for (const one of ready) {
    try {
      await one.taken.confirm();
      one.served.server.thaw();
      served.push(one.served);
    } catch (error) {
      await drop(one.served);
      options.log.error({ err: error, volume: one.place.name }, 'not taken over: it stays where it was');
      if (ready.length === 1) throw error;
      continue;
    }
    try {
      one.served.giver = await listenForTakers(one.place, options, () => events.gone(one.served));
      if (one.served.giver !== null) one.served.giver.device = one.served.server;
    } catch (error) {
      // Its guest runs here already.
      options.log.error({ err: error, volume: one.place.name }, 'no process can take the place of this one');
    }
  }
  return served;
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
  const exports = new VolumeExports({
    cluster,
    clock,
    only: name,
    holder: () => holderAt('rawstor-vhost', `unix:${socket}`, ownName(socket)),
    standby,
    tellsStops: true,
    // Where the process before goes on after all, it has opened the volume again, and this one opens nothing.
    ...(taken?.state.after === undefined ? {} : { after: taken.state.after }),
    onFatal: (_name, error) => events.failed(error),
    onResized: () => server?.configChanged(),
  });
  const device = await exports.open(name);
  const onOver = () => events.gone(served);
  const more = queues === undefined ? {} : { queues };
  server = new VhostServer({ io, log, device, serial: name, onOver, ...more });
  const served: Served = { server, device, giver: null };
  return served;
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

/**
 * Where the volumes are served. @throws RawstorError USAGE
 * @param only path or `fd:N` for the one volume there is
 * @param directory of a socket for each, by the volume's name
 */
export function placesOf(
  names: readonly string[],
  only: string | undefined,
  directory: string,
): VhostPlace[] {
  if (only !== undefined) {
    if (names.length === 1) return [{ name: names[0]!, socket: only }];
    throw new RawstorError('USAGE', `one socket for ${names.length} volumes`, {
      hint: 'give --socket-dir, where each volume has a socket of its own',
    });
  }
  return names.map((name) => ({ name, socket: `${directory}/${name}.vhost` }));
}
