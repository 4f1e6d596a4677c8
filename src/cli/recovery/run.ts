import { hostname } from 'node:os';
import { type Cluster, type RecoverOutcome, recoverVolume, type VolumeStatus } from '../../client/index.js';
import { asRawstorError, type RawstorError } from '../../common/errors.js';
import { parseCopyRate } from '../../common/rates.js';
import type { ObjectInfo } from '../../protocol/index.js';
import type { OptionSpec } from '../command.js';
import type { Context } from '../context.js';
import { shortId } from '../volumes.js';

/** Recovery by a command: volumes that nobody holds are opened here, the others are left to their holders. */

export interface RecoveryOptions {
  rate?: number;
}

export const RATE_OPTION: OptionSpec = {
  flags: '--rate <size>',
  help: 'copy at most this much a second from here; holders of volumes have a rate of their own',
  parse: parseCopyRate,
};

/** Volumes opened at once. */
const AT_ONCE = 2;

export interface VolumeOutcome {
  name: string;
  id: string;
  outcome: RecoverOutcome | 'in use' | 'failed';
  /** Who has it, or why it failed. */
  detail: string;
  copiedBytes: number;
}

/** A cluster whose volumes are copied at the rate asked for. */
export async function recoveryCluster(context: Context, options: RecoveryOptions): Promise<Cluster> {
  return await context.cluster({ recoveryBytesPerSecond: options.rate ?? null });
}

/** Regions done and to do, over all volumes that are open here. */
export class RecoveryProgressLine {
  private readonly statuses = new Map<string, VolumeStatus>();

  update(id: string, status: VolumeStatus): void {
    this.statuses.set(id, status);
  }

  copiedBytes(id: string): number {
    return (this.statuses.get(id)?.members ?? []).reduce((sum, member) => sum + member.copiedBytes, 0);
  }

  /** Why a volume is not in order, as the last tries said. */
  waitsFor(id: string): string {
    const status = this.statuses.get(id);
    if (status?.recovered === true) return 'its clean close is not on record at the MDS';
    const members = status?.members ?? [];
    const reasons = members.filter((member) => member.waitsFor !== '');
    if (reasons.length === 0) return 'an OST is away';
    return reasons.map(({ ostId, waitsFor }) => `OST ${shortId(ostId)}: ${waitsFor}`).join('; ');
  }

  regions(): { done: number; total: number } {
    const members = [...this.statuses.values()].flatMap((status) => status.members);
    return {
      done: members.reduce((sum, member) => sum + member.regionsDone, 0),
      total: members.reduce((sum, member) => sum + member.regionsTotal, 0),
    };
  }
}

/** Each of the volumes once: opened and brought in order where nobody has it. */
export async function recoverAll(
  context: Context,
  cluster: Cluster,
  volumes: readonly ObjectInfo[],
  signal: AbortSignal,
  line: RecoveryProgressLine = new RecoveryProgressLine(),
): Promise<VolumeOutcome[]> {
  const outcomes: VolumeOutcome[] = [];
  const queue = volumes[Symbol.iterator]();
  const worker = async () => {
    for (const volume of queue) {
      if (signal.aborted) return;
      outcomes.push(await recoverOne(context, cluster, volume, signal, line));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (signal.aborted) throw signal.reason;
  return outcomes;
}

async function recoverOne(
  context: Context,
  cluster: Cluster,
  volume: ObjectInfo,
  signal: AbortSignal,
  line: RecoveryProgressLine,
): Promise<VolumeOutcome> {
  const { id, name } = volume;
  const told = (outcome: VolumeOutcome['outcome'], detail = ''): VolumeOutcome => ({
    name,
    id,
    outcome,
    detail,
    copiedBytes: line.copiedBytes(id),
  });
  try {
    const outcome = await recoverVolume(cluster, id, {
      clock: context.clock,
      holder: `${context.program} recover@${hostname()}:${process.pid}`,
      openTimeoutMs: Math.min(context.globals.timeout, 15_000),
      signal,
      onProgress: (status) => line.update(id, status),
    });
    return told(outcome, outcome === 'waiting' ? line.waitsFor(id) : '');
  } catch (error) {
    const failure: RawstorError = asRawstorError(error);
    if (failure.code === 'NOT_FOUND') return told('recovered', 'removed');
    if (failure.code === 'BUSY') return told('in use', volume.lease?.holder ?? failure.message);
    return told('failed', failure.toUserText().split('\n')[0]!);
  }
}
