import type { Clock } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { FileFacts } from '../protocol/records.js';
import type { VersionChange } from '../protocol/version-messages.js';
import type { ControlLink } from './control-link.js';
import { givingWay, type Opener } from './giving-way.js';

export interface ChangeOptions {
  readonly clock: Clock;
  /** How long its holder may take, or an open waits for replicas. */
  readonly timeoutMs: number;
  readonly holder?: string | undefined;
}

interface Asker extends Opener {
  readonly mds: Pick<ControlLink, 'call'>;
}

const RETRY_MS = 200;
/** How long OSTs are waited for that delete or merge what was removed; who has it open next sees to the rest. */
const SETTLE_MS = 3000;
/** An MDS answers a little later than it was asked to. */
const ANSWER_MS = 3000;
/** Replicas that do not come within this are not waited for, however long the change itself may take. */
const OPEN_MS = 30_000;

/**
 * Has a change of a volume's versions or size carried out: by its holder, which goes on writing; or here, where nobody
 * has it open, giving way to whoever opens it.
 * @throws RawstorError TIMEOUT when it has not been done and will not be; NOT_FOUND, EXISTS, BUSY, LIMIT, INVALID
 */
export async function changeVolume(
  cluster: Asker,
  ref: string,
  change: VersionChange,
  options: ChangeOptions,
): Promise<ObjectInfo> {
  const { clock, timeoutMs } = options;
  const untilMs = clock.nowMs() + timeoutMs;
  for (;;) {
    const leftMs = Math.max(1000, untilMs - clock.nowMs());
    const asked = { ref, change, timeoutMs: leftMs };
    const { object } = await cluster.mds.call('mds.askChange', asked, leftMs + ANSWER_MS);
    if (object !== null) return object;
    let opened = false;
    try {
      const onOpened = () => {
        opened = true;
      };
      return await changeHere(cluster, ref, change, options, Math.min(leftMs, OPEN_MS), onOpened);
    } catch (error) {
      // Somebody has opened it since, or was cut off from the metadata server and comes back: that one does it, unless it was done here just before.
      const failure = asRawstorError(error);
      if (failure.code !== 'BUSY' && failure.code !== 'FENCED' && failure.code !== 'CONFLICT') throw error;
      const now = await cluster.mds.call('mds.getObj', { ref });
      const wasDone = failure.code === 'FENCED' && isDone(now, change);
      if (wasDone) return now;
      const othersHave = now.lease !== null || (failure.code === 'BUSY' && !opened && !now.clean);
      if (!othersHave || clock.nowMs() > untilMs) throw error;
      await clock.sleep(RETRY_MS);
    }
  }
}

function changeHere(
  cluster: Opener,
  ref: string,
  change: VersionChange,
  { holder }: ChangeOptions,
  timeoutMs: number,
  onOpened: () => void,
): Promise<ObjectInfo> {
  return givingWay(cluster, ref, { holder, timeoutMs }, async (volume) => {
    onOpened();
    const object = await volume.change(change);
    if (change.kind === 'remove') await volume.settleVersions(SETTLE_MS);
    return object;
  });
}

/** Told by the record, after a session that ended while its change was on its way. */
function isDone(object: ObjectInfo, change: VersionChange): boolean {
  const named = (name: string) => object.snapshots.some((one) => one.name === name);
  switch (change.kind) {
    case 'snapshot':
      return named(change.name);
    case 'rollback':
      return change.keepAs !== null && named(change.keepAs);
    case 'remove':
      return object.snapshots.find((one) => one.version === change.version)?.name == null;
    case 'rename':
      return object.snapshots.find((one) => one.version === change.version)?.name === change.name;
    case 'resize':
      return object.sizeBytes === change.sizeBytes && sameFile(object.file, change.file);
    case 'file':
      return sameFile(object.file, change.file);
    case 'rekey':
      return object.encryption?.wrapped === change.encryption.wrapped;
    case 'flattened':
      return object.parent === null;
    default:
      return false;
  }
}

function sameFile(a: FileFacts | null | undefined, b: FileFacts | undefined): boolean {
  return a?.sizeBytes === b?.sizeBytes && a?.modifiedWallMs === b?.modifiedWallMs;
}
