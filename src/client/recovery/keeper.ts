import { hostname } from 'node:os';
import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import { mergeable } from '../../protocol/version-messages.js';
import type { ControlLink } from '../control-link.js';
import type { OpenVolumeOptions } from '../open-options.js';
import type { Volume } from '../volume.js';
import { needsRecovery, recoverVolume } from './recover.js';

export interface KeeperOptions {
  readonly cluster: {
    readonly mds: Pick<ControlLink, 'call'>;
    openVolume(ref: string, options: OpenVolumeOptions): Promise<Volume>;
  };
  readonly clock: Clock;
  readonly log: Logger;
  /** Of this process: only volumes with something there, or to come there, are looked after. */
  readonly ostId: string;
  readonly periodMs?: number;
}

const PERIOD_MS = 10_000;
const PAGE = 200;
const CALL_TIMEOUT_MS = 5000;
/** What a machine has left that died is looked at for seconds each, whether its writer may live on. */
const AT_ONCE = 4;
/** One that could not be brought in order is left alone for so many looks. */
const PAUSE_LOOKS = 6;

/**
 * Looks after volumes that nobody has open: an OST's process runs it near its data. A volume is opened only when it
 * needed it at two looks in a row, so that a guest which is being started again is not in each other's way; and
 * whoever opens it gets it at once.
 */
export class Keeper {
  private readonly options: KeeperOptions;
  private readonly timer: Timer;
  private readonly ending = new AbortController();
  private looking: Promise<void> | null = null;
  private look = 0;
  /** The look from which on a volume may be opened, by id and epoch. */
  private due = new Map<string, number>();

  constructor(options: KeeperOptions) {
    this.options = options;
    this.timer = options.clock.every(options.periodMs ?? PERIOD_MS, () => {
      this.looking ??= this.once()
        .catch((error) =>
          options.log.debug({ reason: asRawstorError(error).message }, 'no look at volumes now'),
        )
        .finally(() => {
          this.looking = null;
        });
    });
  }

  async close(): Promise<void> {
    this.timer.cancel();
    this.ending.abort();
    await this.looking;
  }

  private async once(): Promise<void> {
    this.look++;
    const { mds } = this.options.cluster;
    const { osts } = await mds.call('mds.listOsts', {}, CALL_TIMEOUT_MS);
    const alive = new Set(osts.filter((ost) => ost.alive).map((ost) => ost.ostId));
    const due = new Map<string, number>();
    const ready: { volume: ObjectInfo; key: string }[] = [];
    let after = '';
    for (;;) {
      const { objects } = await mds.call('mds.list', { after, limit: PAGE }, CALL_TIMEOUT_MS);
      if (objects.length === 0) break;
      after = objects.at(-1)!.name;
      for (const volume of objects) {
        if (!this.concerns(volume) || !worthwhile(volume, alive)) continue;
        const key = `${volume.id} ${volume.epoch}`;
        const from = this.due.get(key) ?? this.look + 1;
        due.set(key, from);
        if (this.look >= from) ready.push({ volume, key });
      }
    }
    this.due = due;
    const queue = ready.values();
    const worker = async () => {
      for (const { volume, key } of queue) {
        if (this.ending.signal.aborted) return;
        if (!(await this.recover(volume))) due.set(key, this.look + PAUSE_LOOKS);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  private concerns(volume: ObjectInfo): boolean {
    const { ostId } = this.options;
    const here = volume.members.some((member) => member.ostId === ostId) || volume.wanted?.to === ostId;
    return here && volume.lease === null && needsRecovery(volume);
  }

  private async recover(volume: ObjectInfo): Promise<boolean> {
    const { cluster, clock, log, ostId } = this.options;
    const { name, id } = volume;
    try {
      const outcome = await recoverVolume(cluster, id, {
        clock,
        holder: `recovery of OST ${ostId}@${hostname()}`,
        signal: this.ending.signal,
      });
      log.info({ volume: name, outcome }, 'looked after a volume');
      return outcome !== 'waiting';
    } catch (error) {
      log.debug(
        { volume: name, reason: asRawstorError(error).message },
        'a volume cannot be looked after now',
      );
      return false;
    }
  }
}

/** Something can be done about it with the OSTs that are there. */
function worthwhile(volume: ObjectInfo, alive: ReadonlySet<string>): boolean {
  if (!volume.members.some((member) => member.state === 'in-sync' && alive.has(member.ostId))) return false;
  const { wanted, members, left, clean } = volume;
  if (wanted !== null && alive.has(wanted.to)) return true;
  if (members.some((member) => member.state === 'stale' && alive.has(member.ostId))) return true;
  return left.length > 0 || !clean || (mergeable(volume).length > 0 && allAlive(volume, alive));
}

/** Versions are forgotten only when every member says that it has nothing of them. */
function allAlive({ members }: ObjectInfo, alive: ReadonlySet<string>): boolean {
  return members.every(({ ostId }) => alive.has(ostId));
}
