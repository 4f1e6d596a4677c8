import { asRawstorError, RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import { defineVerb } from '../command.js';
import type { Context } from '../context.js';
import { type DamagedPlace, damagedPlaces, damageLines } from '../damaged-places.js';
import { EXIT } from '../exit-codes.js';
import { factLines, tableLines } from '../output.js';
import { rowOf, unwellText, type VolumeRow } from '../volume-row.js';
import { allObjects, allOsts, type KnownOst } from '../volumes.js';

/** In a table; `--output json` has all. */
const DAMAGED_SHOWN = 20;
/** It is there, and does not serve yet: a gateway without its MDS. */
const WAITING = 'waiting';

interface ServerRow {
  role: string;
  id: string;
  health: string;
  host: string;
  addresses: readonly string[];
  /** Longest time its event loop was held up, null where it has not told. */
  loopStallMaxMs: number | null;
  /** Of an OST: blocks with a wrong checksum now, and found and repaired since its start. */
  damage?: { badBlocks: number; foundTotal: number; repairedTotal: number };
}

type Health = 'ok' | 'degraded' | 'down';

interface Status {
  clusterId: string;
  health: Health;
  servers: ServerRow[];
  /** These are what the MDS knows: null while it does not answer. */
  capacityBytes: number | null;
  freeBytes: number | null;
  volumes: number | null;
  inUse: number | null;
  /** Only those that are not well. */
  unwell: VolumeRow[];
  /** Volumes with copies on their way. */
  recovering: VolumeRow[];
  /** Blocks that are not what was written. */
  damaged: DamagedPlace[];
  notes: string[];
}

export const status = defineVerb({
  name: 'status',
  summary: 'show servers, space and volumes that are not well',
  description: 'The exit code is 0 when all is well and 75 when something is not.',
  examples: [
    { command: 'rawstor status', what: 'the cluster at a glance' },
    { command: "rawstor status --output json | jq -r '.health'", what: 'ok, degraded or down' },
  ],
  async run(context) {
    const found = await gather(context);
    context.output.one(found, () => describe(found));
    return found.health === 'ok' ? 0 : EXIT.AGAIN;
  },
});

async function gather(context: Context): Promise<Status> {
  const [judged, registry] = await Promise.all([askMds(context), askRegistry(context)]);
  if (judged instanceof RawstorError) return withoutMds(judged, registry);
  const { stat, osts, volumes } = judged;
  const alive = new Set(osts.filter((ost) => ost.alive).map((ost) => ost.ostId));
  const rows = volumes.map((volume) => rowOf(volume, (id) => alive.has(id)));
  const made = volumes.filter(({ mode }) => mode === 'mutable');
  const unwell = rows.filter((row) => row.health !== 'ok');
  const damaged = osts.filter((ost) => (ost.damagedBlocks ?? 0) > 0);
  const answering = damaged.filter(({ alive }) => alive);
  const servers = [...serversOf(registry.servers, osts), ...registry.own];
  const down = servers.some(isMissed);
  const lost = unwell.some((row) => row.health === 'unavailable' || row.health === 'loss');
  return {
    clusterId: stat.clusterId,
    health: lost ? 'down' : down || unwell.length > 0 || damaged.length > 0 ? 'degraded' : 'ok',
    servers,
    capacityBytes: osts.reduce((sum, ost) => sum + ost.capacityBytes, 0),
    freeBytes: osts.reduce((sum, ost) => sum + ost.freeBytes, 0),
    volumes: made.length,
    inUse: made.filter((volume) => volume.lease !== null).length,
    unwell,
    recovering: rows.filter((row) => row.doing !== ''),
    damaged: await damagedPlaces(context, answering, volumes),
    notes: [...registry.notes, ...damaged.map(damageNote)],
  };
}

/** Gateways and mounts come and go: one that is gone is listed for a while, and is nothing to look after. */
export function isMissed({ role, health }: Pick<ServerRow, 'role' | 'health'>): boolean {
  if (health === WAITING) return true;
  return health === 'down' && role !== 'nbd' && role !== 'mount';
}

function damageNote({ ostId, damagedBlocks }: KnownOst): string {
  return `${damagedBlocks} damaged blocks on OST ${ostId}: \`rawstor scrub --ost ${ostId}\` repairs what it can`;
}

/** What the MDS knows, or why it does not say. */
async function askMds(context: Context) {
  const cluster = await context.cluster();
  const { timeout } = context.globals;
  try {
    const [stat, osts, volumes] = await Promise.all([
      cluster.mds.call('mds.stat', {}, timeout),
      allOsts(cluster, timeout),
      allObjects(cluster, timeout),
    ]);
    return { stat, osts, volumes };
  } catch (error) {
    return asRawstorError(error);
  }
}

/** What the MGS still tells when the MDS does not answer. @throws `failure` when that is nothing */
function withoutMds(failure: RawstorError, { servers, own, clusterId, notes }: Registry): Status {
  if (servers.length === 0) throw failure;
  const rows = servers.map((row) => (row.role === 'mds' ? { ...row, health: 'down' } : row));
  return {
    clusterId,
    health: 'down',
    servers: [...rows, ...own],
    capacityBytes: null,
    freeBytes: null,
    volumes: null,
    inUse: null,
    unwell: [],
    recovering: [],
    damaged: [],
    notes: [failure.toUserText(), ...notes],
  };
}

interface Registry {
  clusterId: string;
  servers: ServerRow[];
  own: ServerRow[];
  notes: string[];
}

/** What the MGS knows. It is not needed for anything, so its absence is only told. */
async function askRegistry(context: Context): Promise<Registry> {
  const { mgs } = await context.cluster();
  if (mgs === null) {
    return { clusterId: '', servers: [], own: [], notes: ['no MGS is known here: only OSTs are listed'] };
  }
  const place = context.location();
  const addresses = place.kind === 'config' ? place.config.mgs : place.addresses;
  const own = (health: string): ServerRow => ({
    role: 'mgs',
    id: '',
    health,
    host: '',
    addresses,
    loopStallMaxMs: null,
  });
  try {
    const { servers, clusterId } = await mgs.call('mgs.cluster', {}, context.globals.timeout);
    const rows = servers.map((server) => ({
      role: server.role,
      id: server.id,
      health: server.health === 'up' && server.waitsFor !== undefined ? WAITING : server.health,
      host: server.labels.host ?? '',
      addresses: server.mount === undefined ? server.addresses : [server.mount.directory],
      loopStallMaxMs: server.loopStallMaxMs ?? null,
    }));
    const notes = servers
      .filter(({ health, waitsFor }) => health !== 'down' && waitsFor !== undefined)
      .map(({ role, labels, waitsFor }) => `${role} on ${labels.host ?? 'a host'} waits for ${waitsFor}`);
    return { clusterId, servers: rows, own: [own('up')], notes };
  } catch (error) {
    return { clusterId: '', servers: [], own: [own('down')], notes: [asRawstorError(error).toUserText()] };
  }
}

/** The MDS is the judge of OSTs, the MGS of all others. */
function serversOf(registered: readonly ServerRow[], osts: readonly KnownOst[]): ServerRow[] {
  const rows = osts.map((ost) => ({
    role: 'ost',
    id: ost.ostId,
    health: ost.alive ? (ost.draining ? 'draining' : 'up') : 'down',
    host: ost.labels.host ?? '',
    addresses: ost.addresses,
    loopStallMaxMs: registered.find((server) => server.id === ost.ostId)?.loopStallMaxMs ?? null,
    damage: {
      badBlocks: ost.damagedBlocks ?? 0,
      foundTotal: ost.foundBlocks ?? 0,
      repairedTotal: ost.repairedBlocks ?? 0,
    },
  }));
  return [...rows, ...registered.filter((server) => server.role !== 'ost')];
}

/** Bad blocks now, and how many of those that were found are repaired. */
function damageText(damage: ServerRow['damage']): string {
  if (damage === undefined || damage.foundTotal + damage.badBlocks === 0) return '-';
  return `${damage.badBlocks} bad, ${damage.repairedTotal} of ${damage.foundTotal} repaired`;
}

/** Up to half a second is of no consequence: signs of life are due every second. */
function stallText(stallMs: number | null): string {
  return stallMs === null ? '-' : `${Math.round(stallMs)} ms`;
}

function describe(found: Status): string[] {
  const { freeBytes, capacityBytes, volumes, inUse } = found;
  const free = freeBytes === null ? '' : formatSizeBytes(freeBytes);
  const space =
    capacityBytes === null ? '?' : `${free} free of ${formatSizeBytes(capacityBytes)}, before replication`;
  const counts = volumes === null ? '?' : `${volumes}, ${inUse} in use, ${unwellText(found.unwell)}`;
  const lines = factLines([
    ['cluster', found.clusterId],
    ['health', found.health],
    ['space', space],
    ['volumes', counts],
  ]);
  lines.push('');
  lines.push(
    ...tableLines(found.servers, [
      { header: 'ROLE', cell: (row) => row.role },
      { header: 'HEALTH', cell: (row) => row.health },
      { header: 'HOST', cell: (row) => row.host },
      { header: 'DAMAGE', cell: ({ damage }) => damageText(damage) },
      { header: 'STALL', cell: (row) => stallText(row.loopStallMaxMs), right: true },
      { header: 'ADDRESSES', cell: (row) => row.addresses.join(' ') },
      { header: 'ID', cell: (row) => row.id },
    ]),
  );
  if (found.unwell.length > 0) {
    lines.push('');
    lines.push(
      ...tableLines(found.unwell, [
        { header: 'VOLUME', cell: (row) => row.name },
        { header: 'HEALTH', cell: (row) => row.health },
        { header: 'IN SYNC', cell: (row) => `${row.inSync} of ${row.members}`, right: true },
      ]),
    );
  }
  if (found.recovering.length > 0) {
    lines.push('');
    lines.push(
      ...tableLines(found.recovering, [
        { header: 'VOLUME', cell: (row) => row.name },
        { header: 'RECOVERY', cell: (row) => row.doing },
      ]),
    );
  }
  if (found.damaged.length > 0) lines.push('', ...damageLines(found.damaged.slice(0, DAMAGED_SHOWN)));
  for (const note of found.notes) lines.push('', note);
  return lines;
}
