import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../src/common/clock.js';
import {
  type DumpedMds,
  makePlan,
  type OstScan,
  type RebuildPlan,
  scanOst,
  writeMdsDirectory,
} from '../../../src/mds/index.js';
import { ASKS_ONLY, Connection } from '../../../src/protocol/index.js';
import type { ClientRig } from './rig.js';

export const NOW = 1_800_000_000_000;

export async function scan(rig: ClientRig, index: number): Promise<OstScan> {
  const connection = await Connection.connect(rig.io, rig.ostAddress(index), {
    identity: { role: 'client', clusterId: '', name: 'test' },
    clock: systemClock,
    handler: ASKS_ONLY,
    timeoutMs: 3000,
  });
  const { clusterId, name } = connection.remote!;
  const ost = { clusterId, process: name, call: connection.call.bind(connection) };
  return scanOst(ost, 10_000).finally(() => connection.destroy());
}

export interface LoseOptions {
  /** Indices of the OSTs that are asked. */
  readonly from?: readonly number[];
  readonly restoreDoubtful?: boolean;
  readonly afterScan?: () => Promise<void>;
  readonly dump?: DumpedMds | null;
  /** Objects that no OST has any more, by name. */
  readonly without?: RegExp;
}

/** The MDS goes with its directory; a new one comes as `rawstor mds rebuild`, or `load`, makes it. */
export async function loseMds(rig: ClientRig, options: LoseOptions = {}): Promise<RebuildPlan> {
  const { from = [0, 1, 2], restoreDoubtful = false, afterScan = async () => {}, dump = null } = options;
  const { without } = options;
  const mdsDir = join(rig.dir, 'mds');
  const scans = await Promise.all(from.map((index) => scan(rig, index)));
  await afterScan();
  await rig.stopMds();
  await rm(mdsDir, { recursive: true });
  const made = makePlan(scans, dump, { silent: [], restoreDoubtful, nowWallMs: NOW });
  const plan = {
    ...made,
    objects: made.objects.filter(({ object }) => without?.test(object.name) !== true),
  };
  await writeMdsDirectory(mdsDir, plan, NOW);
  await rig.startMds();
  return plan;
}
