import type { BlockRequest } from '../../block/device.js';
import { RawstorError } from '../../common/errors.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { OstPeer } from '../../protocol/ost-peer.js';
import type { OstInfo } from '../../protocol/records.js';
import type { ControlLink } from '../control-link.js';
import { lookUp } from '../look-up.js';
import { awaitWriter, isLeft } from '../writer-signs.js';
import { SnapshotReader } from './reader.js';
import { ATTACH_TIMEOUT_MS, ReadReplicas, type SnapshotEnvironment } from './replicas.js';

/** What the metadata server said is relied on for so long. */
const RELIED_MS = 1000;
const RETRY_MS = 200;

/**
 * The replicas of a head that somebody may be writing. Each is read under the fence of the latest session, which ends at the
 * attach of a later one; then the record is looked at again.
 */
export class HeadReplicas extends ReadReplicas {
  /** When what is known was asked for. */
  askedAtMs: number;

  private constructor(
    env: SnapshotEnvironment,
    mds: Pick<ControlLink, 'call'>,
    object: ObjectInfo,
    osts: readonly OstInfo[],
    askedAtMs: number,
  ) {
    super(env, mds, object, osts);
    this.askedAtMs = askedAtMs;
  }

  /** @throws RawstorError NOT_FOUND, UNAVAILABLE */
  static async find(
    env: SnapshotEnvironment,
    mds: Pick<ControlLink, 'call'>,
    ref: string,
  ): Promise<HeadReplicas> {
    const askedAtMs = env.clock.nowMs();
    const { object, osts } = await lookUp(mds, ref);
    const replicas = new HeadReplicas(env, mds, object, osts, askedAtMs);
    try {
      if (isLeft(object)) await replicas.lookAgain();
      return replicas;
    } catch (error) {
      replicas.close();
      throw error;
    }
  }

  get version(): number {
    return this.object.headVersion;
  }

  get sizeBytes(): number {
    return this.object.sizeBytes;
  }

  get name(): string {
    return this.object.name;
  }

  /** While somebody writes. After a crash regions are not alike before they are reconciled, and nothing says here which they are (I7). */
  protected override get mayDiffer(): boolean {
    return !this.object.clean;
  }

  override get outdated(): boolean {
    return this.env.clock.nowMs() - this.askedAtMs > RELIED_MS;
  }

  /** @throws RawstorError NOT_FOUND where the volume is gone, or its writer is dead and did not close it: its replicas may differ */
  protected override async look(): Promise<void> {
    let askedAtMs = 0;
    const look = async () => {
      askedAtMs = this.env.clock.nowMs();
      await super.look();
      return { object: this.object, osts: this.osts };
    };
    const { object } = await look();
    if (!isLeft(object) || (await awaitWriter(this.env, look))) {
      this.askedAtMs = askedAtMs;
      return;
    }
    throw new RawstorError('NOT_FOUND', 'its last writer did not close it: its replicas may differ', {
      where: `volume ${this.name}`,
      hint: 'who opens it for writing has them made alike',
    });
  }

  protected take(): void {}

  protected async begin(peer: OstPeer): Promise<{ handle: number; epoch: number }> {
    const { id, sessionEpoch } = this.object;
    const asked = { objectId: id, sessionEpoch };
    const { handle } = await peer.call('ost.attachReader', asked, ATTACH_TIMEOUT_MS);
    return { handle, epoch: sessionEpoch };
  }
}

/**
 * A volume as a block device to read without a lease. What is read was written up to a second before, and never goes back further: who
 * has left the set of replicas in sync is not read from a second later, and a new head is known by then.
 */
export class HeadReader extends SnapshotReader {
  private readonly head: HeadReplicas;

  constructor(env: ConstructorParameters<typeof SnapshotReader>[0], head: HeadReplicas) {
    super(env, head);
    this.head = head;
  }

  override get sizeBytes(): number {
    return this.head.sizeBytes;
  }

  override submit(block: BlockRequest): void {
    if (!this.head.outdated) return super.submit(block);
    this.refreshed().then(
      () => super.submit(block),
      (error) => this.refuse(block, error),
    );
  }

  override async extents(offset: number, length: number) {
    await this.refreshed();
    return super.extents(offset, length);
  }

  /** Has the record as it is now, whenever it was asked for last. @throws RawstorError NOT_FOUND, or that it was closed */
  refresh(): Promise<void> {
    return this.refreshed(0);
  }

  /** A metadata server that is away is a pause. @throws RawstorError NOT_FOUND, or that it was closed */
  private async refreshed(reliedMs = RELIED_MS): Promise<void> {
    const { clock } = this.env;
    const beganMs = clock.nowMs();
    while (beganMs - this.head.askedAtMs > reliedMs) {
      if (this.fatal !== null) throw this.fatal;
      try {
        // One that was on its way already may have been asked for too early.
        await this.head.lookAgain();
      } catch (error) {
        if (error instanceof RawstorError && error.code === 'NOT_FOUND') {
          this.fail(error);
          throw error;
        }
        await clock.sleep(RETRY_MS);
      }
    }
  }
}
